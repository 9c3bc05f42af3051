"""Figures against what can be counted by hand."""

import numpy as np
import pytest

from recycle_tf.evaluation import metrics, temperature

NAMES = ["can", "jar", "tube"]
PROBABILITIES = np.float32([[0.7, 0.2, 0.1], [0.4, 0.5, 0.1], [0.1, 0.8, 0.1], [0.3, 0.6, 0.1]])
LABELS = np.array([0, 0, 1, 2])


def test_summary():
    found = metrics.summarise(PROBABILITIES, LABELS, NAMES)
    assert found["accuracy"] == 0.5
    assert found["confusion"] == [[1, 1, 0], [0, 1, 0], [0, 1, 0]]
    assert found["per_class"]["can"] == {
        "precision": 1.0,
        "recall": 0.5,
        "f1": pytest.approx(2 / 3),
        "examples": 2,
    }
    assert found["per_class"]["jar"]["precision"] == pytest.approx(1 / 3)
    assert found["per_class"]["tube"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "examples": 1}
    assert found["log_loss"] == pytest.approx(-np.log([0.7, 0.4, 0.8, 0.1]).mean())


def test_calibration_error_of_a_model_that_is_as_sure_as_it_is_right():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 20000)
    labels = (rng.uniform(size=20000) > confidence).astype(int)
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    assert metrics.summarise(probabilities, labels, ["a", "b"])["calibration_error"] < 0.01
    overconfident = np.stack([np.full(20000, 0.99), np.full(20000, 0.01)], axis=1)
    assert metrics.summarise(overconfident, labels, ["a", "b"])["calibration_error"] == pytest.approx(
        0.24, abs=0.02
    )


def test_table_lists_every_class():
    lines = metrics.table(metrics.summarise(PROBABILITIES, LABELS, NAMES)).splitlines()
    assert [line.split()[0] for line in lines] == ["class", *NAMES, "all", "averages", "confused", "trust"]
    assert "can as jar 1 (50 %), tube as jar 1 (100 %)" in lines[-2]


def test_a_class_without_images_is_not_tested():
    found = metrics.summarise(PROBABILITIES[:3], LABELS[:3], NAMES)
    assert found["per_class"]["tube"] == {"precision": 0.0, "recall": None, "f1": None, "examples": 0}
    assert found["macro_recall"] == pytest.approx((0.5 + 1) / 2)
    assert "not tested" in metrics.table(found)


def test_the_threshold_divides_the_answers():
    found = metrics.summarise(PROBABILITIES, LABELS, NAMES, threshold=0.6)
    assert found["answered"] == 0.75
    assert found["accuracy_answered"] == pytest.approx(2 / 3)
    assert metrics.summarise(PROBABILITIES, LABELS, NAMES, threshold=1.01)["accuracy_answered"] is None


@pytest.mark.parametrize(
    ("hits", "examples", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (394, 431, 0.8838, 0.9371)],
)
def test_wilson_interval(hits, examples, low, high):
    """Values of the published formula."""
    assert metrics.wilson(hits, examples) == pytest.approx([low, high], abs=2e-4)


def test_the_share_is_in_its_interval():
    for examples in range(1, 200):
        assert metrics.wilson(examples, examples)[1] == 1
        assert metrics.wilson(0, examples)[0] == 0


def test_confident_mistakes():
    found = metrics.confident_mistakes(PROBABILITIES, LABELS, most=5)
    assert found.tolist() == [3, 1]
    assert metrics.confident_mistakes(PROBABILITIES, LABELS, most=1).tolist() == [3]


def test_comparison_has_a_row_per_dataset():
    summary = metrics.summarise(PROBABILITIES, LABELS, NAMES, threshold=0.6)
    lines = metrics.comparison({"kitchen all": summary, "street test": summary}, reference=0.9).splitlines()
    assert [line.split()[0] for line in lines] == ["dataset", "kitchen", "street"]
    assert lines[1].endswith("-40.0")


def test_confused_pairs():
    found = metrics.confused_pairs(np.array([[8, 2, 0], [5, 4, 1], [0, 0, 3]]), ["can", "jar", "tube"])
    assert [(pair["true"], pair["predicted"], pair["count"]) for pair in found] == [
        ("jar", "can", 5),
        ("can", "jar", 2),
        ("jar", "tube", 1),
    ]
    assert found[0]["share"] == 0.5
    assert metrics.confused_pairs(np.eye(3, dtype=int), ["a", "b", "c"]) == []


def random_predictions(classes=4, examples=300):
    rng = np.random.default_rng(3)
    probabilities = rng.dirichlet(np.full(classes, 0.4), examples)
    labels = np.array([rng.choice(classes, p=row) for row in probabilities])
    return probabilities, labels


def test_the_figures_are_those_of_scikit_learn():
    from sklearn import metrics as sklearn
    from sklearn.calibration import calibration_curve

    probabilities, labels = random_predictions()
    names, predicted = list("abcd"), probabilities.argmax(axis=1)
    found = metrics.summarise(probabilities, labels, names)
    assert found["accuracy"] == pytest.approx(sklearn.accuracy_score(labels, predicted))
    assert found["confusion"] == sklearn.confusion_matrix(labels, predicted).tolist()
    assert found["log_loss"] == pytest.approx(sklearn.log_loss(labels, probabilities))
    assert found["top_k"].keys() == {"2", "3"}
    for k, share in found["top_k"].items():
        assert share == pytest.approx(sklearn.top_k_accuracy_score(labels, probabilities, k=int(k)))
    rows = zip(*sklearn.precision_recall_fscore_support(labels, predicted), strict=True)
    for name, (precision, recall, f1, examples) in zip(names, rows, strict=True):
        assert found["per_class"][name] == {
            "precision": pytest.approx(precision),
            "recall": pytest.approx(recall),
            "f1": pytest.approx(f1),
            "examples": examples,
        }
    averages = sklearn.precision_recall_fscore_support(labels, predicted, average="macro")
    assert [found[f"macro_{name}"] for name in ("precision", "recall", "f1")] == pytest.approx(averages[:3])
    shares, _, accuracy, confidence = metrics.calibration(probabilities, labels)
    right = calibration_curve(predicted == labels, probabilities.max(axis=1), n_bins=10)
    np.testing.assert_allclose((accuracy[shares > 0], confidence[shares > 0]), right)


def test_without_the_temperature():
    logits = np.random.default_rng(0).normal(0, 3, (50, 4))
    cold, warm = temperature.softmax(logits), temperature.softmax(logits / 2.5)
    np.testing.assert_allclose(metrics.without(warm, 2.5), cold, rtol=1e-9)
    labels = logits.argmax(axis=1)
    before = metrics.summarise(warm, labels, list("abcd"), temperature=2.5)["before_temperature"]
    expected = metrics.summarise(cold, labels, list("abcd"))
    assert before == {key: pytest.approx(expected[key]) for key in ("log_loss", "calibration_error")}


def test_a_rank_counts_equal_probabilities_in_order():
    probabilities = np.full((4, 4), 0.25)
    assert metrics.top_k(probabilities, np.arange(4), 1) == 0.25
    assert metrics.top_k(probabilities, np.arange(4), 3) == 0.75


def test_without_the_temperature_of_an_image_that_nothing_resembles():
    found = metrics.without(np.float32([[0, 0, 0], [0.2, 0.3, 0.5], [1e-30, 2e-30, 0]]), 30.0)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(axis=1), 1)
    np.testing.assert_allclose(found[0], 1 / 3)
    assert found[2].argmax() == 1
    metrics.summarise(np.float32([[0, 0], [0.4, 0.6]]), np.array([0, 1]), ("a", "b"), temperature=2.0)


def test_before_the_temperature_the_same_images_are_unlike():
    """Rows whose sum is below 1 are images unlike those of training, with and without the temperature."""
    sharper = np.float32([[0.72, 0.2, 0.08], [0.42, 0.5, 0.08], [0.1, 0.83, 0.07], [0.3, 0.62, 0.08]])
    softer = np.float32(temperature.softmax(np.log(sharper) / 2))
    sums = np.float32([[1.0], [1.0], [0.05], [1.0]])
    found = metrics.summarise(sums * softer, LABELS, NAMES, temperature=2.0)["before_temperature"]
    expected = metrics.summarise(sums * sharper, LABELS, NAMES)
    assert found["log_loss"] == pytest.approx(expected["log_loss"], rel=1e-4)
    assert found["calibration_error"] == pytest.approx(expected["calibration_error"], abs=1e-4)

"""Figures against what can be counted by hand."""

import numpy as np
import pytest

from recycle_tf.evaluation import metrics

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
    assert [line.split()[0] for line in lines] == ["class", *NAMES, "all"]


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


def test_confident_mistakes():
    found = metrics.confident_mistakes(PROBABILITIES, LABELS, most=5)
    assert found.tolist() == [3, 1]
    assert metrics.confident_mistakes(PROBABILITIES, LABELS, most=1).tolist() == [3]


def test_comparison_has_a_row_per_dataset():
    summary = metrics.summarise(PROBABILITIES, LABELS, NAMES, threshold=0.6)
    lines = metrics.comparison({"kitchen all": summary, "street test": summary}, reference=0.9).splitlines()
    assert [line.split()[0] for line in lines] == ["dataset", "kitchen", "street"]
    assert lines[1].endswith("-40.0")

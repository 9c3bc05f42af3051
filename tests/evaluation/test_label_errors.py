"""Confident learning: its formulas on small numbers, the regression, and the findings of an audit."""

import json
import shutil

import numpy as np
import pytest

from recycle_tf import runs
from recycle_tf.data import audit, sources
from recycle_tf.errors import UserError
from recycle_tf.evaluation import audit_report, label_errors
from tests.conftest import run_python, write_photos


def test_the_confident_joint_by_hand():
    labels = np.array([0, 0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6]])
    # Thresholds 0.6 and 0.65: the last example reaches neither, the third is confidently of class 1.
    np.testing.assert_array_equal(label_errors.confident_joint(labels, probabilities), [[2, 1], [0, 1]])
    errors = label_errors.find(labels, probabilities)
    assert (errors.indices.tolist(), errors.suggested.tolist()) == ([2], [1])
    np.testing.assert_allclose(errors.margins, [0.8, 0.4, -0.6, 0.4, 0.2])


def test_of_two_classes_above_their_thresholds_the_more_probable_counts():
    labels = np.array([0, 1, 2, 0])
    probabilities = np.array([[0.2, 0.2, 0.6], [0.1, 0.3, 0.6], [0.1, 0.4, 0.5], [0.1, 0.45, 0.45]])
    joint = label_errors.confident_joint(labels, probabilities)
    assert joint[0].tolist() == [0, 1, 1]


def blobs(number=300, classes=3, dimensions=20, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(number) % classes
    return rng.normal(0, 1, (classes, dimensions))[labels] * 2 + rng.normal(
        0, 1, (number, dimensions)
    ), labels


def test_changed_labels_are_found():
    features, true = blobs()
    wrong = np.random.default_rng(1).choice(len(true), 15, replace=False)
    labels = true.copy()
    labels[wrong] = (labels[wrong] + 1) % 3
    errors = label_errors.find(labels, label_errors.out_of_fold(features, labels))
    # The count is an estimate: a few may be left out, but what is found is wrong.
    assert set(errors.indices.tolist()) <= set(wrong.tolist())
    assert len(errors.indices) >= 12
    np.testing.assert_array_equal(errors.suggested, true[errors.indices])
    assert (np.diff(errors.margins[errors.indices]) >= 0).all()


def test_clean_labels_have_no_errors():
    features, labels = blobs()
    assert not len(label_errors.find(labels, label_errors.out_of_fold(features, labels)).indices)


def test_probabilities_are_out_of_fold():
    # A classifier that had learned these would know them by heart.
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(200) % 2)
    probabilities = label_errors.out_of_fold(rng.normal(size=(200, 400)), labels)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert 0.35 < (probabilities.argmax(axis=1) == labels).mean() < 0.65


def test_the_regression_reaches_the_minimum():
    features, labels = blobs(120)
    inputs = np.concatenate([features, np.ones((120, 1))], axis=1)
    weights = label_errors.fit_logistic(inputs, labels, penalty=0.01, steps=2000, tolerance=1e-9)
    targets = np.eye(3)[labels]

    def loss(weights):
        logits = inputs @ weights
        log_sum = np.log(np.exp(logits).sum(axis=1))
        return (log_sum - (targets * logits).sum(axis=1)).mean() + 0.005 * (weights**2).sum()

    least = loss(weights)
    rng = np.random.default_rng(0)
    for size in (1e-1, 1e-2, 1e-3):
        for _ in range(20):
            assert loss(weights + size * rng.normal(size=weights.shape)) > least


@pytest.fixture(scope="module")
def mislabeled(tmp_path_factory):
    """Photographs of which two lie in the folder of another class, and one is damaged."""
    root = write_photos(tmp_path_factory.mktemp("mislabeled") / "photos", count=20, seed=1)
    shutil.move(root / "can" / "can3.png", root / "jar" / "can3.png")
    shutil.move(root / "tube" / "tube5.png", root / "can" / "tube5.png")
    (root / "jar" / "jar0.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    return root


def test_findings_of_the_audit(mislabeled, finished_run, tmp_path):
    source = sources.open_source(str(mislabeled), on_bad_image=sources.REPORT)
    before = audit.audit(source)
    found = label_errors.add_to(before, source, finished_run)
    errors = found.of("label_error")
    assert {error.files[0]: error.suggested for error in errors} == {
        "jar/can3.png": "can",
        "can/tube5.png": "tube",
    }
    for error in errors:
        assert len(error.files) == len(error.labels) == len(error.splits) == 1 + label_errors.NEIGHBORS
        assert set(error.labels[1:]) == {error.suggested}
        assert 0.5 < error.probability <= 1
        assert "jar/jar0.png" not in error.files
    assert [f for f in found.findings if f.kind != "label_error"] == list(before.findings)
    audit_report.write(found, source, tmp_path, "mislabeled")
    (record, _) = [
        f for f in json.loads((tmp_path / "audit.json").read_text())["findings"] if f["kind"] == "label_error"
    ]
    assert {"suggested", "probability", "margin"} <= set(record)
    assert "can3.png" in (tmp_path / "audit.html").read_text(encoding="utf-8")
    assert "jar/can3.png" in audit_report.summary(found)


def test_by_the_command(mislabeled, finished_run, tmp_path):
    result = run_python(
        "-m",
        "recycle_tf",
        "audit",
        f"--dataset={mislabeled}",
        f"--labels={finished_run}",
        f"--out={tmp_path}",
    )
    assert result.returncode == 0, result.stderr
    assert "probable label errors" in result.stdout
    assert "jar/can3.png" in result.stdout


def test_features_of_other_weights(finished_run):
    run = runs.open_run(finished_run)
    own, _ = label_errors.open_extractor(run)
    same, resize = label_errors.open_extractor(run, weights=str(run.model_file))
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    np.testing.assert_allclose(own.predict_on_batch(images), same.predict_on_batch(images), atol=1e-5)
    assert resize == "stretch"


def test_a_class_that_is_too_small(mislabeled, finished_run):
    source = sources.open_source(str(mislabeled), on_bad_image=sources.REPORT)
    most = [name for name, label, *_ in source.manifest() if label == "tube"][3:]
    with pytest.raises(UserError, match="'tube'"):
        label_errors.find_in_source(source, finished_run, unusable=most)


def test_not_a_run(mislabeled, tmp_path):
    source = sources.open_source(str(mislabeled), on_bad_image=sources.REPORT)
    with pytest.raises(UserError, match=f"`labels={tmp_path}`"):
        label_errors.find_in_source(source, tmp_path)

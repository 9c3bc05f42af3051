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

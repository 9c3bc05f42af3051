"""What the gates accept, and what is saved of the flips."""

import time
import types

import numpy as np
import pytest
import tensorflow as tf

from export import flips, verify
from export.formats import FORMATS

LABELS = np.array([0, 1, 1, 0])
EXPECTED = np.float32([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3]])


def judge(name, found, expected=EXPECTED, max_drop=1.0):
    names, max_gap = ["can", "jar"], FORMATS[name].max_gap
    return verify.judge(np.float32(found), np.float32(expected), LABELS, names, max_drop, max_gap)


def test_a_gap():
    assert judge("tflite_float32", EXPECTED).failure is None
    slightly = EXPECTED + np.float32([[2e-3, -2e-3]])
    assert "differs by 0.002" in judge("tflite_float32", slightly).failure
    assert judge("tflite_float16", slightly).failure is None


@pytest.mark.parametrize(("margin", "passes"), [(0.8e-4, True), (1.2e-4, False)])
def test_a_float_format_may_flip_only_a_tie(margin, passes):
    expected, found = EXPECTED.copy(), EXPECTED.copy()
    expected[3] = [0.5 + margin / 2, 0.5 - margin / 2]
    found[3] = [0.5 - 2e-5, 0.5 + 2e-5]
    verdict = judge("tflite_float32", found, expected)
    assert verdict.flips == 1
    assert verdict.max_gap < 1e-4
    assert verdict.largest_margin == pytest.approx(margin, rel=1e-2)
    if passes:
        assert verdict.failure is None
    else:
        assert "margin of Keras is 0.00012" in verdict.failure


def test_accuracy_lost():
    flipped = EXPECTED.copy()
    flipped[0] = [0.4, 0.6]
    verdict = judge("tflite_int8", flipped)
    assert (verdict.accuracy, verdict.drop, verdict.flips, verdict.flips_beyond_tie) == (0.75, 25.0, 1, 1)
    assert verdict.recall_change == {"can": -50.0, "jar": 0.0}
    assert "loses 25.0 points" in verdict.failure
    # A single flip is always accepted.
    assert judge("tflite_int8", flipped, max_drop=30).failure is None
    assert judge("tflite_int8", EXPECTED * 0.9 + 0.05).failure is None


def test_flips_beyond_a_near_tie():
    found = EXPECTED[:, ::-1]
    assert "4 of 4" in judge("tflite_int8", found, max_drop=100).failure
    near = 0.5 + (EXPECTED - 0.5) * 0.1
    assert judge("tflite_int8", near[:, ::-1], near, max_drop=100).failure is None


def test_not_finite():
    verdict = judge("tflite_int8", EXPECTED * np.nan)
    assert "NaN" in verdict.failure
    assert np.isfinite(verdict.max_gap)


def test_a_class_without_images_has_no_recall():
    verdict = verify.judge(EXPECTED, EXPECTED, np.zeros(4, int), ["can", "jar"], 1.0)
    assert verdict.recall_change == {"can": 0.0, "jar": None}


def test_flips_most_confident_first():
    found = EXPECTED[:, ::-1].copy()
    found[1] = EXPECTED[1]
    indices, margins = verify.find_flips(found, EXPECTED)
    assert indices.tolist() == [0, 3, 2]
    np.testing.assert_allclose(margins, [0.8, 0.4, 0.2], atol=1e-6)


def test_flipped_images_are_saved(tmp_path):
    split = types.SimpleNamespace(
        ids=["can/a.png", "jar/b.png", "jar/c.png", "can/d.png"],
        encoded=lambda index: tf.strings.as_string(index),
    )
    found = EXPECTED.copy()
    found[[0, 2]] = found[[0, 2], ::-1]
    names = ["a/can", "jar"]
    flips.write(tmp_path / "flips", "tflite_int8", split, names, found, EXPECTED)
    first, second = sorted((tmp_path / "flips").iterdir())
    assert first.name == "01_keras-a_can-0.90_tflite_int8-jar-0.90_a.png"
    assert first.read_bytes() == b"0"
    assert second.name == "02_keras-jar-0.60_tflite_int8-a_can-0.60_c.png"
    flips.write(tmp_path / "none", "tflite_int8", split, names, EXPECTED, EXPECTED)
    assert not (tmp_path / "none").exists()


def test_predictors_are_timed_in_turn():
    calls = []

    def predictor(name, seconds):
        def predict(image):
            calls.append(name)
            time.sleep(seconds)

        return predict

    found = verify.time_alternately(
        {"slow": predictor("slow", 0.004), "fast": predictor("fast", 0.0)}, np.zeros((8, 8, 3), np.uint8)
    )
    assert found["slow"] >= 4 > found["fast"]
    turn = 1 + verify.TIMED_CALLS
    assert calls == (["slow"] * turn + ["fast"] * turn) * verify.TURNS

"""Temperature and threshold."""

import numpy as np
import pytest

from recycle_tf import create_model, list_models
from recycle_tf.evaluation import temperature as calibrate


def overconfident(examples=4000, temperature=2.5):
    """Logits, `temperature` times as large as is right, and labels drawn from what would be right."""
    rng = np.random.default_rng(0)
    right = rng.normal(0, 2, (examples, 4))
    labels = np.array([rng.choice(4, p=row) for row in calibrate.softmax(right)])
    return temperature * right, labels


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_that_the_logits_were_made_with_is_found(temperature):
    logits, labels = overconfident(temperature=temperature)
    assert calibrate.find_temperature(logits, labels) == pytest.approx(temperature, rel=0.06)


def test_it_is_the_least_log_loss():
    logits, labels = overconfident(500)
    found = calibrate.find_temperature(logits, labels)

    def loss(temperature):
        return -np.log(calibrate.softmax(logits / temperature)[np.arange(500), labels]).mean()

    assert all(loss(found) < loss(found * factor) for factor in (0.99, 1.01))


def test_what_is_said_of_it():
    logits, labels = overconfident()
    found = calibrate.calibrate(logits, labels, list("abcd"))
    measured = found["calibration"]
    assert measured["log_loss_after"] < measured["log_loss_before"] - 0.1
    assert measured["calibration_error_after"] < 0.02 < 0.1 < measured["calibration_error_before"]
    probabilities = calibrate.softmax(logits / found["temperature"])
    given = probabilities.max(axis=1) >= found["threshold"]
    right = (probabilities.argmax(axis=1) == labels)[given].mean()
    assert measured["accuracy_above_threshold"] == pytest.approx(right)
    assert calibrate.RIGHT <= right < calibrate.RIGHT + 0.002
    assert measured["share_above_threshold"] == pytest.approx(given.mean())


def test_the_lowest_threshold():
    confidences = [0.9, 0.8, 0.8, 0.7]
    probabilities = np.array([[p, 1 - p] for p in confidences])
    assert calibrate.find_threshold(probabilities, np.array([0, 0, 0, 1])) == 0.8
    # The two of one confidence stand and fall together.
    assert calibrate.find_threshold(probabilities, np.array([0, 0, 1, 0])) == 0.9
    assert calibrate.find_threshold(probabilities, np.array([1, 1, 1, 1])) > 1
    assert calibrate.calibrate(np.log(probabilities), np.array([1, 1, 1, 1]), ["a", "b"])["threshold"] > 1


@pytest.mark.parametrize("arch", list_models("test_*"))
def test_a_temperature_divides_the_logits_of_every_family(arch):
    model = create_model(arch, 3)
    pictures = np.random.default_rng(0).integers(0, 256, (2, *model.input_shape[1:])).astype(np.float32)
    before = np.array(model(pictures))
    calibrate.set_temperature(model, 2.5)
    np.testing.assert_allclose(np.array(model(pictures)), before / 2.5, rtol=1e-4, atol=1e-6)

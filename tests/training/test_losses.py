"""Losses and class weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from recycle_tf.training import losses

ONE_HOT = np.eye(3, dtype=np.float32)
LABELS = np.float32([[1, 0, 0], [0.3, 0.7, 0], [0.2, 0, 0.8]])
LOGITS = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
LOG_PROBABILITIES = np.log(np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True))


def pure(gamma, label_smoothing):
    """The loss of each example with a single label c, `[class, example]`."""
    focal = (1 - np.exp(LOG_PROBABILITIES)) ** (gamma or 0) * LOG_PROBABILITIES
    return -np.einsum("ck,ek->ce", (1 - label_smoothing) * ONE_HOT + label_smoothing / 3, focal)


@pytest.mark.parametrize("gamma", [None, 1.0, 2.0])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_the_loss_of_a_mixture_is_the_mixture_of_the_losses(gamma, label_smoothing):
    """Each of them multiplied by the weight of its class."""
    class_weights = losses.class_weights("weights", [60, 30, 10])
    expected = np.einsum("ec,c,ce->e", LABELS, class_weights, pure(gamma, label_smoothing))
    found = losses.make_loss([1.0], label_smoothing, class_weights, gamma)(LABELS, LOGITS)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_focal_equals_that_of_keras_where_that_is_correct():
    ours = losses.make_loss([1.0], 0.1, np.ones(3, np.float32), 2.0)(LABELS, LOGITS)
    keras_own = keras.losses.categorical_focal_crossentropy(
        LABELS, LOGITS, alpha=1.0, gamma=2.0, from_logits=True, label_smoothing=0.1
    )
    np.testing.assert_allclose(ours, keras_own, rtol=1e-5)


def test_focal_has_a_gradient_for_an_entirely_wrong_prediction():
    """And is finite for an entirely right one."""
    loss = losses.make_loss([1.0], 0.0, np.ones(3, np.float32), 2.0)
    logits = tf.Variable([[-30.0, 0.0, 0.0], [200.0, 0.0, 0.0]])
    with tf.GradientTape() as tape:
        values = loss(ONE_HOT[[0, 0]], logits)
    gradient = tape.gradient(values, logits).numpy()
    assert gradient[0, 0] == pytest.approx(-1, rel=1e-3)
    assert np.abs(gradient[1]).max() == pytest.approx(0, abs=1e-6)


def test_class_weights():
    class_weights = losses.class_weights("weights", [60, 30, 10])
    np.testing.assert_allclose(class_weights, [100 / 180, 100 / 90, 100 / 30])
    assert np.average(class_weights, weights=[60, 30, 10]) == pytest.approx(1)
    assert losses.class_weights("none", [60, 30, 10]).tolist() == [1, 1, 1]

"""Gradient accumulation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from recycle_tf import create_model
from recycle_tf.config import TrainConfig
from recycle_tf.training import loop


def batch():
    rng = np.random.default_rng(0)
    labels = np.eye(3, dtype=np.float32)[np.arange(8) % 3]
    return rng.uniform(0, 255, (8, 32, 32, 3)).astype(np.float32), labels


def compiled(arch, **settings):
    keras.utils.set_random_seed(0)
    config = TrainConfig(arch=arch, optimizer="sgd", learning_rate=0.1, epochs="2", warmup="0", **settings)
    model = create_model(arch, 3, 32)
    return loop.prepare(model, config, tf.distribute.get_strategy(), [1, 1, 1], 1, None).model


@pytest.mark.parametrize("passes", [2, 4])
def test_several_passes_give_the_gradient_of_the_whole_batch(passes):
    whole, parts = compiled("test_lenet"), compiled("test_lenet", accumulate=passes)
    expected, found = (model.train_on_batch(*batch(), return_dict=True) for model in (whole, parts))
    assert found == pytest.approx(expected, rel=1e-5)
    assert parts.optimizer.iterations == 1
    for a, b in zip(whole.trainable_variables, parts.trainable_variables, strict=True):
        np.testing.assert_allclose(b, a, atol=1e-6)


def test_with_several_classifiers_and_clipping():
    whole, parts = compiled("test_googlenet"), compiled("test_googlenet", accumulate=2, clip_norm=0.01)
    before = [np.array(v) for v in parts.trainable_variables]
    assert whole.output.shape == parts.output.shape == (None, 3, 3)
    parts.train_on_batch(*batch())
    moved = sum(
        np.square(np.array(v) - b).sum() for v, b in zip(parts.trainable_variables, before, strict=True)
    )
    # The first step of Nesterov momentum 0.9 is 1.9 times the gradient.
    assert np.sqrt(moved) <= 0.1 * 0.01 * 1.9 + 0.1 * 0.05 * np.sqrt(sum((b**2).sum() for b in before))


def test_with_recomputation():
    recomputed = compiled("test_plain", accumulate=2, remat=True)
    retained = compiled("test_plain", accumulate=2)
    for model in (recomputed, retained):
        model.train_on_batch(*batch())
    for a, b in zip(recomputed.variables, retained.variables, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)

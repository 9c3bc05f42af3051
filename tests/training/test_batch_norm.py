"""Batch normalization in training."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from recycle_tf import create_model
from recycle_tf.training.batch_norm import fuse_batch_norm, synchronize_batch_norm
from tests.conftest import run_python, tiny_training


class TwoDevices:
    num_replicas_in_sync = 2


@pytest.mark.parametrize(
    ("strategy", "mode", "device_batch_size", "expected"),
    [
        (TwoDevices, "auto", 31, True),
        (TwoDevices, "auto", 32, False),
        (TwoDevices, "on", 256, True),
        (TwoDevices, "off", 4, False),
        (tf.distribute.get_strategy(), "on", 4, False),
    ],
)
def test_auto_synchronizes_small_parts(strategy, mode, device_batch_size, expected):
    model = create_model("test_resnet", 3)
    synchronize_batch_norm(model, strategy, mode, device_batch_size)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert {layer.synchronized for layer in norms} == {expected}


def one_step(model, images):
    """Logits in training, gradients of all weights, and the statistics after it."""
    with tf.GradientTape() as tape:
        logits = model(images, training=True)
        loss = keras.ops.mean(keras.ops.logsumexp(logits, axis=1) - logits[:, 0])
    gradients = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
    return [logits], gradients, [weight.value for weight in model.non_trainable_weights]


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("arch", ["test_resnet", "test_densenet", "test_efficientnet"])
def test_fused_it_computes_what_keras_does(arch, frozen, tmp_path):
    keras.utils.set_random_seed(0)
    still = {"drop_rate": 0.0, "drop_path_rate": 0.0} if arch == "test_efficientnet" else {}
    model, fused = create_model(arch, 3, **still), create_model(arch, 3, **still)
    fused.set_weights(model.get_weights())
    fuse_batch_norm(fused)
    norms = [layer for layer in fused.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert norms
    assert all("call" in vars(layer) for layer in norms)
    for layer in [*model.layers, *fused.layers]:
        layer.trainable = not (frozen and isinstance(layer, keras.layers.BatchNormalization))
    images = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype("float32")
    for ours, theirs in zip(one_step(fused, images), one_step(model, images), strict=True):
        # Relative to the largest of a kind: the gradient before a norm is what remains of sums that cancel.
        scale = max((np.abs(value).max() for value in theirs if tf.size(value)), default=1.0)
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one / scale, other / scale, rtol=0, atol=1e-3)
    np.testing.assert_allclose(fused.predict_on_batch(images), model.predict_on_batch(images), atol=2e-5)
    fused.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict_on_batch(images), fused.predict_on_batch(images), atol=2e-5)


@pytest.mark.parametrize(("frozen", "training"), [(False, True), (False, False), (True, True)])
def test_in_bfloat16_it_computes_what_keras_does(frozen, training):
    x = keras.Input((8, 8, 3))
    norms = [keras.layers.BatchNormalization(dtype="mixed_bfloat16") for _ in range(2)]
    model, fused = (keras.Model(x, norm(x)) for norm in norms)
    fuse_batch_norm(fused)
    assert "call" in vars(norms[1])
    images = tf.constant(np.random.default_rng(0).normal(1, 3, (16, 8, 8, 3)), tf.float32)

    @tf.function
    def run(network):
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = network(images, training=training)
            loss = tf.reduce_sum(tf.sin(tf.cast(outputs, tf.float32)))
        return [outputs, tape.gradient(loss, images), *(weight.value for weight in network.weights)]

    found = []
    for network, norm in ((fused, norms[1]), (model, norms[0])):
        norm.trainable = not frozen
        found.append(run(network))
    assert found[0][0].dtype == found[1][0].dtype == tf.bfloat16
    for ours, theirs in zip(*found, strict=True):
        ours, theirs = (tf.cast(value, tf.float32).numpy() for value in (ours, theirs))
        # bfloat16 has a precision of 1/128.
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=np.abs(theirs).max() / 64)


def test_synchronized_and_float16_norms_remain_those_of_keras():
    model, rounded = create_model("test_resnet", 3), None
    synchronize_batch_norm(model, TwoDevices, "on", 8)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        rounded = create_model("test_resnet", 3)
    finally:
        keras.config.set_dtype_policy("float32")
    for network in (model, rounded):
        fuse_batch_norm(network)
        assert not any("call" in vars(layer) for layer in network.layers)


PRINT_DIFFERENCES = """
import sys, train
from recycle_tf.training.checkpoint import Checkpoint
def write(self):
    moving = [v.value for v in self.model.non_trainable_variables if "moving" in v.path]
    difference = max(abs(v.values[0] - v.values[1]).numpy().max() for v in moving)
    print("within" if self.progress.step else "after", difference)
Checkpoint.write = write
train.main(sys.argv[1:])
"""
"""`train.py` that, instead of writing checkpoints, prints how far the statistics of two devices differ."""


def test_separate_statistics_are_averaged_before_the_model_is_saved(photos, tmp_path):
    flags = ("--epochs=2", "--strategy=mirrored", "--logical_cpus=2", "--sync_batch_norm=off")
    flags += ("--arch=test_resnet_a", "--checkpoint_every=2steps", f"--run_dir={tmp_path / 'run'}")
    result = run_python("-c", PRINT_DIFFERENCES, *tiny_training(photos), *flags)
    assert result.returncode == 0, result.stderr
    differences = {when: re.findall(rf"^{when} (\S+)", result.stdout, re.M) for when in ("within", "after")}
    assert min(map(float, differences["within"])) > 1e-3
    assert max(map(float, differences["after"])) == 0

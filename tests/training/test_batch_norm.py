"""Batch normalization on several devices."""

import re

import keras
import pytest
import tensorflow as tf

from recycle_tf import create_model
from recycle_tf.training.batch_norm import synchronize_batch_norm
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

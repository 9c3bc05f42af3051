"""Saving the best model."""

import keras
import numpy as np
import pytest

from recycle_tf import create_model, runs
from recycle_tf.training.best_model import BestModel
from recycle_tf.training.precision import set_policy


@pytest.fixture(scope="module")
def model():
    return create_model("test_lenet", 3)


def test_saves_the_most_accurate_and_then_the_lowest_loss(model, tmp_path):
    path = tmp_path / "model.keras"

    def saves(callback, **logs):
        path.unlink(missing_ok=True)
        callback.set_model(model)
        callback.on_epoch_end(0, logs)
        assert [p.name for p in tmp_path.iterdir()] == ([path.name] if path.exists() else [])
        return path.exists()

    best = BestModel(model, path)
    assert saves(best, val_accuracy=0.5, val_loss=1.0)
    assert not saves(best, val_accuracy=0.4, val_loss=0.1)
    assert saves(best, val_accuracy=0.5, val_loss=0.9)
    assert not saves(best, val_accuracy=0.9, val_loss=np.nan)
    resumed = BestModel(model, path, [{"val_accuracy": 0.5, "val_loss": 0.9}])
    assert not saves(resumed, val_accuracy=0.5, val_loss=1.0)
    assert saves(resumed, val_accuracy=0.6, val_loss=2.0)


@pytest.mark.parametrize("arch", ["test_resnet_a", "test_densenet"])
def test_a_model_trained_in_bfloat16_is_loaded_in_float32(tmp_path, arch):
    """Also one with operations that are not layers: the padding of identity shortcuts."""
    keras.utils.set_random_seed(0)
    run = runs.Run(tmp_path)
    set_policy("bfloat16")
    try:
        trained = create_model(arch, 3)
        BestModel(trained, run.model_file).consider(0.5, 1.0)
    finally:
        set_policy("off")
    loaded = run.load_model()
    assert {layer.compute_dtype for layer in loaded.layers} == {"float32"}
    for a, b in zip(trained.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(b, a)
    images = np.random.default_rng(0).uniform(0, 255, (2, *loaded.input_shape[1:])).astype(np.float32)
    np.testing.assert_allclose(loaded(images), trained(images), rtol=0.02, atol=0.1)


def test_a_resumed_run_knows_the_averaged_weights_of_its_history(model, tmp_path):
    row = {"val_accuracy": 0.1, "val_loss": 1.0, "val_ema_accuracy": 0.7, "val_ema_loss": 2.0}
    resumed = BestModel(model, tmp_path / "model.keras", [row, {**row, "val_ema_accuracy": 0.6}])
    assert resumed.best == (0.7, -2.0)
    assert resumed.epochs_since == 1

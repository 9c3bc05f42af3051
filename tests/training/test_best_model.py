"""Saving the best model."""

import numpy as np
import pytest

from recycle_tf import create_model
from recycle_tf.training.best_model import BestModel


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


def test_a_resumed_run_knows_the_averaged_weights_of_its_history(model, tmp_path):
    row = {"val_accuracy": 0.1, "val_loss": 1.0, "val_ema_accuracy": 0.7, "val_ema_loss": 2.0}
    resumed = BestModel(model, tmp_path / "model.keras", [row, {**row, "val_ema_accuracy": 0.6}])
    assert resumed.best == (0.7, -2.0)
    assert resumed.epochs_since == 1

"""What ends training before its last epoch."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from recycle_tf import create_model
from recycle_tf.errors import UserError
from recycle_tf.training import progress as progress_module
from recycle_tf.training.best_model import BestModel
from recycle_tf.training.checkpoint import Checkpoint, restore
from recycle_tf.training.progress import Progress
from recycle_tf.training.stopping import EarlyStopping, TerminateOnDivergence, TimeLimit


def test_patience_counts_from_the_best_epoch_and_over_a_restart(tmp_path):
    model = create_model("test_lenet", 3)
    rows = [{"val_accuracy": accuracy, "val_loss": 1.0} for accuracy in (0.5, 0.6, 0.6, 0.4, 0.7)]
    rows.insert(3, {"val_accuracy": 0.9, "val_loss": np.nan})

    def stops(best, patience, logs, epoch):
        progress = Progress(1, epoch)
        stopping = EarlyStopping(progress, best, patience)
        for callback in (progress, best, stopping):
            callback.set_model(model)
        for callback in (progress, best, stopping):
            callback.on_epoch_end(epoch, logs)
        assert model.stop_training == stopping.due
        return stopping.due

    for start, (last, expected) in enumerate([(0, 0), (1, 0), (2, 1), (3, 2), (4, 3), (5, 0)]):
        for patience in (1, 2, 3, None):
            best = BestModel(model, tmp_path / "model.keras", rows[:start])
            assert stops(best, patience, rows[last], start) == (patience is not None and expected >= patience)
            assert best.epochs_since == expected


def test_patience_does_not_count_while_only_the_head_is_trained(tmp_path):
    rows = [{"val_accuracy": 0.5, "val_loss": 1.0}] * 5
    best = BestModel(create_model("test_lenet", 3), tmp_path / "model.keras", rows)
    assert best.epochs_since == 4
    assert not EarlyStopping(Progress(1, 5), best, 3, start=5).due
    assert not EarlyStopping(Progress(1, 7), best, 3, start=5).due
    assert EarlyStopping(Progress(1, 8), best, 3, start=5).due


class Clock:
    """A clock that advances by one second whenever it is read."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1
        return self.now


def compiled():
    model = keras.Sequential([keras.Input([4]), keras.layers.Dense(3)])
    model.compile(keras.optimizers.SGD(0.01), "mse")
    return model


def test_training_ends_when_the_time_is_up(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress_module.time, "monotonic", Clock())
    progress = Progress(4)
    data = tf.data.Dataset.from_tensors((np.ones([2, 4]), np.ones([2, 3]))).repeat()
    history = (
        compiled()
        .fit(
            data,
            epochs=5,
            steps_per_epoch=4,
            shuffle=False,
            verbose=0,
            validation_data=data.take(1),
            callbacks=[progress, TimeLimit(progress, "7s"), Checkpoint(tmp_path, progress, "500steps")],
        )
        .history
    )
    # The clock is read six times: after four steps, at the end of the epoch, and after one more step.
    assert len(history["val_loss"]) == progress.epoch == 2
    output = capsys.readouterr().out
    assert "7s" in output
    assert "epoch 2" in output
    assert [path.name for path in tmp_path.iterdir()] == ["epoch0002.npz"]


def test_the_time_before_training_does_not_count(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress_module.time, "monotonic", clock)
    progress = Progress(4, seconds=10)
    clock.now += 1000
    progress.start_clock()
    assert progress.seconds == pytest.approx(10, abs=2)


def test_the_time_of_all_parts_of_a_run_counts(tmp_path, monkeypatch):
    model, clock = compiled(), Clock()
    monkeypatch.setattr(progress_module.time, "monotonic", clock)
    checkpoint = Checkpoint(tmp_path, Progress(4, epoch=1), "500steps")
    checkpoint.set_model(model)
    clock.now += 1000
    checkpoint.write()
    clock.now += 5000
    resumed = restore(model, tmp_path, 4)
    assert resumed.seconds == pytest.approx(1001, abs=4)
    assert TimeLimit(resumed, "16m").due
    assert not TimeLimit(resumed, "17m").due
    assert not TimeLimit(resumed, None).due


def test_a_loss_far_above_guessing_has_diverged():
    callback = TerminateOnDivergence(Progress(10, epoch=2, step=7), max_loss=100.0)
    callback.set_model(compiled())
    callback.on_train_batch_end(7, {"loss": 99.0})
    for loss, text in ((101.0, "101"), (np.nan, "NaN"), (np.inf, "infinite")):
        with pytest.raises(UserError, match=f"{text}.*epoch 3, step 7 of 10.*0\\.01.*`learning_rate`"):
            callback.on_train_batch_end(7, {"loss": loss})

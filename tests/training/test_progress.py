"""Position and speed of a training run."""

import re
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from recycle_tf.training.checkpoint import Checkpoint
from recycle_tf.training.progress import Progress, Throughput


def compiled():
    model = keras.Sequential([keras.Input([4]), keras.layers.Dense(3)])
    model.compile("sgd", "mse")
    return model


def data():
    return tf.data.Dataset.from_tensors((np.ones([2, 4]), np.ones([2, 3]))).repeat()


@pytest.mark.parametrize("start", [(0, 0), (1, 0), (1, 2)])
def test_the_last_epoch_has_the_steps_that_are_left(tmp_path, start):
    model, progress = compiled(), Progress(4, *start, end=7)
    before = progress.steps
    model.fit(
        data(),
        epochs=2,
        initial_epoch=progress.epoch,
        steps_per_epoch=4,
        shuffle=False,
        verbose=0,
        callbacks=[progress, Checkpoint(tmp_path, progress, "1steps")],
    )
    assert int(model.optimizer.iterations.numpy()) == 7 - before
    assert [path.name for path in tmp_path.iterdir()] == ["epoch0002.npz"]


class EndsEpochs(keras.callbacks.Callback):
    """Ends every epoch after two steps, and training after the second epoch."""

    def __init__(self, progress):
        super().__init__()
        self.progress = progress

    def on_train_batch_end(self, batch, logs=None):
        if self.progress.step == 2:
            self.progress.end_epoch()

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            self.progress.end_training()


def test_to_end_an_epoch_does_not_end_training():
    model, progress = compiled(), Progress(4)
    callbacks = [progress, EndsEpochs(progress)]
    history = model.fit(
        data(),
        epochs=5,
        steps_per_epoch=4,
        shuffle=False,
        verbose=0,
        validation_data=data().take(1),
        callbacks=callbacks,
    ).history
    assert len(history["val_loss"]) == 2
    assert int(model.optimizer.iterations.numpy()) == 4


def test_the_progress_bar_shows_images_per_second_while_it_runs(capsys):
    slow = keras.callbacks.LambdaCallback(on_train_batch_begin=lambda *_, **__: time.sleep(0.1))
    compiled().fit(data(), steps_per_epoch=4, shuffle=False, verbose=1, callbacks=[Throughput(2), slow])
    bars = [bar for bar in capsys.readouterr().out.split("\r") if "/4" in bar and "4/4" not in bar]
    speeds = [float(re.search(r"images_per_second: ([\d.]+)", bar)[1]) for bar in bars]
    assert speeds
    assert all(0 < speed < 2 / 0.1 for speed in speeds)

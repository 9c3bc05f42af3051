"""The callbacks of a training run and their order."""

import keras
import pytest
import tensorflow as tf

from recycle_tf import create_model, runs
from recycle_tf.config import TrainConfig
from recycle_tf.training import loop
from recycle_tf.training.best_model import BestModel
from recycle_tf.training.callbacks import TrainingCallbacks
from recycle_tf.training.checkpoint import Checkpoint
from recycle_tf.training.ema import AveragedWeights
from recycle_tf.training.progress import Progress, Throughput
from recycle_tf.training.source_accuracy import SourceAccuracy
from recycle_tf.training.stopping import EarlyStopping, Interruption, TerminateOnDivergence, TimeLimit


def built(run, by_source=(), **settings):
    config = TrainConfig(arch="test_lenet", **settings)
    model = create_model("test_lenet", 3)
    training = loop.prepare(model, config, tf.distribute.get_strategy(), [1, 1, 1], 4, None)
    return TrainingCallbacks(training, run, None, by_source, config, keras.callbacks.Callback())


def test_the_order(tmp_path):
    kinds = [type(callback) for callback in built(runs.Run(tmp_path), ("a",), ema=0.9).in_order]
    assert kinds == [
        Progress,
        TerminateOnDivergence,
        Throughput,
        BestModel,
        AveragedWeights,
        SourceAccuracy,
        EarlyStopping,
        TimeLimit,
        keras.callbacks.CSVLogger,
        keras.callbacks.TensorBoard,
        keras.callbacks.Callback,
        Checkpoint,
        Interruption,
    ]


def test_a_worker_that_is_not_the_chief_writes_nothing():
    callbacks = built(None, ema=0.9).in_order
    writers = (BestModel, keras.callbacks.CSVLogger, keras.callbacks.TensorBoard)
    assert not [callback for callback in callbacks if isinstance(callback, writers)]
    assert [callback.folder for callback in callbacks if isinstance(callback, Checkpoint)] == [None]
    # All workers must compute with the model together.
    assert [type(callback) for callback in callbacks if isinstance(callback, AveragedWeights)]


@pytest.mark.parametrize(
    ("settings", "epoch", "step", "finished"),
    [
        ({}, 3, 0, False),
        ({"patience": 2}, 3, 0, True),
        ({"patience": 3}, 3, 0, False),
        ({"time_limit": "0s"}, 3, 0, True),
        # The epoch that the time limit has cut short is not validated yet.
        ({"time_limit": "0s"}, 3, 1, False),
        ({"time_limit": "0s"}, 0, 0, False),
    ],
)
def test_a_run_that_was_stopped_for_good_is_finished(tmp_path, settings, epoch, step, finished):
    run = runs.Run(tmp_path)
    rows = "".join(f"{number},0.{5 - number},1.0\n" for number in range(3))
    run.history.write_text(f"epoch,val_accuracy,val_loss\n{rows}")
    callbacks = built(run, **settings)
    progress = callbacks.in_order[0]
    progress.epoch, progress.step = epoch, step
    assert callbacks.finished == finished

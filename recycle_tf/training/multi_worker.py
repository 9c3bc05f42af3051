"""Training on several hosts: what `MultiWorkerMirroredStrategy` needs to work with `fit` of Keras 3.

Keras 3.15 fails under it in two places (github.com/keras-team/keras, issues 20585 and 20329): it takes the
first batch for a single tensor, and it reduces the scalars that a step returns along an axis that they do not
have. `MultiWorkerModel` works around both and can be removed when those issues are resolved.

Only the first worker, the chief, writes the run. `from_chief` sends values that it alone has to the other
workers, so that the hosts need no shared folder.
"""

import contextlib
import json
import os
import sys

import keras
import numpy as np
import tensorflow as tf

from recycle_tf.errors import UserError
from recycle_tf.training.keras_internals import BuildFromShapes

EXAMPLE = '{"cluster": {"worker": ["host0:12345", "host1:12345"]}, "task": {"type": "worker", "index": 0}}'


class MultiWorkerModel(BuildFromShapes):
    """Base class to put before `keras.Model` for training on several workers."""

    def train_step(self, data):
        """Like that of `keras.Model`, but every value is a vector of length 1."""
        return _as_vectors(super().train_step(data))

    def test_step(self, data):
        """Like that of `keras.Model`, but every value is a vector of length 1."""
        return _as_vectors(super().test_step(data))


def _as_vectors(logs):
    return keras.tree.map_structure(lambda value: tf.reshape(value, [1]), logs)


def make_strategy():
    """Creates the strategy that `TF_CONFIG` describes; waits until all workers have started.

    Raises:
        UserError: `TF_CONFIG` is missing or invalid.
    """
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text)
        workers, task = config["cluster"]["worker"], config["task"]
        valid = set(config["cluster"]) == {"worker"} and task["type"] == "worker"
        valid = valid and 0 <= int(task["index"]) < len(workers)
    except (ValueError, KeyError, TypeError):
        valid = False
    if not valid:
        raise UserError(
            f"`strategy=multi_worker`: TF_CONFIG is {text or 'not set'}; expected for example {EXAMPLE}, "
            "with a different index on each host"
        )
    return tf.distribute.MultiWorkerMirroredStrategy()


def index_and_count(strategy):
    """`(index of this worker, number of workers)`; `(0, 1)` on a single host."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 0, 1
    resolver = strategy.cluster_resolver
    return resolver.task_id, resolver.cluster_spec().num_tasks("worker")


def is_chief(strategy):
    """Whether this process writes the run; always true on a single host."""
    return index_and_count(strategy)[0] == 0


def from_chief(strategy, value):
    """The chief's value, at every worker. All workers must call this at the same point.

    Args:
        strategy: the run's distribution strategy.
        value: a number or an array, of the same shape and type at every worker.

    Returns:
        A NumPy array.
    """
    if index_and_count(strategy)[1] == 1:
        return np.asarray(value)
    values = strategy.experimental_distribute_values_from_function(lambda _: tf.constant(value)[None])
    return strategy.gather(values, axis=0)[0].numpy()


def check_same_data(strategy, source):
    """Checks that this worker has the chief's dataset: each host reads it from its own disk.

    Raises:
        UserError: the images or their split differ.
    """
    fingerprint = int(source.fingerprint[:15], 16)
    if fingerprint != from_chief(strategy, np.int64(fingerprint)):
        raise UserError(
            f"{source.name}: images or split differ from the chief's; copy the dataset from the chief's host"
        )


def distribute(strategy, build, batch_size):
    """The training batches of this worker.

    Args:
        strategy: the run's distribution strategy.
        build: function that `pipeline.training_batches` returned, with its first step bound.
        batch_size: images per step, over all workers.

    Returns:
        A `tf.data.Dataset` on one worker, else a `tf.distribute.DistributedDataset`.
    """
    index, count = index_and_count(strategy)
    if count == 1:
        return build(share=(0, 1))

    def part(_):
        # `fit` takes the batch of one device for the batch of this worker.
        return build(share=(index, count)).rebatch(batch_size // strategy.num_replicas_in_sync)

    return strategy.distribute_datasets_from_function(part)


class StopWithChief(keras.callbacks.Callback):
    """Ends training at every worker when it ends at the chief.

    Args:
        strategy: the run's distribution strategy.
        progress: this worker's `Progress`.
    """

    def __init__(self, strategy, progress):
        super().__init__()
        self.strategy = strategy
        self.progress = progress

    def on_epoch_end(self, epoch, logs=None):
        """Asks the chief."""
        if from_chief(self.strategy, int(self.model.stop_training)):
            self.progress.end_training()


@contextlib.contextmanager
def restart_on_worker_loss():
    """Restarts this process when another worker is lost; it then waits until that worker is back.

    TensorFlow does not let a worker rejoin. All workers resume from the last checkpoint, whichever was lost.
    """
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError):
        print("another worker was lost; waiting for its command to be run again", file=sys.stderr, flush=True)
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

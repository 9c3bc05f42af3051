"""Several hosts: what `MultiWorkerMirroredStrategy` needs to work with `fit` of Keras 3.

Keras 3.15 fails in it at two places (github.com/keras-team/keras, issues 20585 and 20329): it takes the first
batch for a single tensor, and reduces the scalars that a step returns along an axis they do not have.
`MultiWorker` steps round both; those issues resolved would remove it.

Only the first worker, the chief, writes the run; what it alone knows `from_chief` brings to the others, so
that they need no folder in common.
"""

import contextlib
import json
import os
import sys

import keras
import numpy as np
import tensorflow as tf

from recycle_tf.errors import UserError
from recycle_tf.training import callbacks

EXAMPLE = '{"cluster": {"worker": ["host0:12345", "host1:12345"]}, "task": {"type": "worker", "index": 0}}'


class MultiWorker:
    """Goes before `keras.Model` among the bases of a class whose models several workers train."""

    def train_step(self, data):
        """As Keras' own, but every figure is a vector of one."""
        return _as_vectors(super().train_step(data))

    def test_step(self, data):
        """Likewise."""
        return _as_vectors(super().test_step(data))

    def _maybe_symbolic_build(self, *args, **kwargs):
        """Makes the metrics from the model's shapes, not from a batch."""
        labels = keras.KerasTensor((None, self.output.shape[-1]))
        with self.distribute_strategy.scope():
            self._symbolic_build(data_batch=(self.input, labels))


def _as_vectors(logs):
    return keras.tree.map_structure(lambda value: tf.reshape(value, [1]), logs)


def make_strategy():
    """The strategy that `TF_CONFIG` describes; waits until all its workers are there.

    Raises:
        UserError: `TF_CONFIG` is missing, or is not what TensorFlow expects.
    """
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text)
        workers, task = config["cluster"]["worker"], config["task"]
        right = set(config["cluster"]) == {"worker"} and task["type"] == "worker"
        right = right and 0 <= int(task["index"]) < len(workers)
    except (ValueError, KeyError, TypeError):
        right = False
    if not right:
        raise UserError(
            f"--strategy=multi_worker: TF_CONFIG is {text or 'not set'}; expected something like {EXAMPLE}, "
            f"with another index on each host"
        )
    return tf.distribute.MultiWorkerMirroredStrategy()


def share(strategy):
    """(number of this worker, number of workers); (0, 1) on one machine."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 0, 1
    resolver = strategy.cluster_resolver
    return resolver.task_id, resolver.cluster_spec().num_tasks("worker")


def is_chief(strategy):
    """Whether this process writes the run: on one machine always."""
    return share(strategy)[0] == 0


def from_chief(strategy, value):
    """The chief's value, at every worker; all of them have to call this, at the same place.

    Args:
        strategy: of the training.
        value: a number or an array; of the same shape and type everywhere.
    """
    if share(strategy)[1] == 1:
        return np.asarray(value)
    values = strategy.experimental_distribute_values_from_function(lambda _: tf.constant(value)[None])
    return strategy.gather(values, axis=0)[0].numpy()


def go_on_as_chief(strategy, model, progress):
    """Puts a worker where the chief has restored itself to, which alone has the checkpoint.

    Args:
        strategy: of the training.
        model: compiled.
        progress: the `callbacks.Progress` of this worker; changed in place.
    """
    if share(strategy)[1] == 1:
        return
    model._maybe_symbolic_build()
    for variable in callbacks.state(model).values():
        variable.assign(from_chief(strategy, variable.numpy()))
    sums = progress.metrics or [np.zeros(variable.shape, np.float32) for variable in model.metrics_variables]
    sums = [from_chief(strategy, value) for value in sums]
    progress.epoch, progress.step = (int(n) for n in from_chief(strategy, [progress.epoch, progress.step]))
    progress.metrics = sums if progress.step else ()


def refuse_other_data(strategy, source):
    """Holds every worker to the chief's data set: each reads it from its own disk.

    Raises:
        UserError: this worker's differs.
    """
    mine = int(source.fingerprint[:15], 16)
    if mine != from_chief(strategy, np.int64(mine)):
        raise UserError(
            f"{source.name}: not the pictures that the chief has, or another split of them; copy the chief's"
        )


def distribute(strategy, build, batch_size):
    """The batches of a training: at each of several workers its part of them.

    Args:
        strategy: of the training.
        build: `build(share=(number, count))` makes a part, as `pipeline.training_batches` does.
        batch_size: of the whole.
    """
    number, count = share(strategy)
    if count == 1:
        return build(share=(0, 1))

    def part(_):
        # What `fit` takes for a whole batch is each device's.
        return build(share=(number, count)).rebatch(batch_size // strategy.num_replicas_in_sync)

    return strategy.distribute_datasets_from_function(part)


class StopTogether(keras.callbacks.Callback):
    """Ends the training at every worker where it ends at the chief. The last of the callbacks."""

    def __init__(self, strategy):
        super().__init__()
        self.strategy = strategy

    def on_epoch_end(self, epoch, logs=None):
        """Asks the chief."""
        self.model.stop_training = bool(from_chief(self.strategy, int(self.model.stop_training)))


@contextlib.contextmanager
def restart_on_worker_loss():
    """Where another worker is lost, this one starts itself again, and waits until that one is back.

    TensorFlow cannot let a worker join again; all go on from the last checkpoint, whichever was lost.
    """
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError):
        print("another worker is gone; waiting for its command to be run again", file=sys.stderr, flush=True)
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

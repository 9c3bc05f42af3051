"""Checkpoints: the complete state of a training run between two steps."""

import math
import time

import keras
import numpy as np

from recycle_tf import files
from recycle_tf.config import duration
from recycle_tf.training import multi_worker
from recycle_tf.training.keras_internals import build_metrics
from recycle_tf.training.progress import Progress
from recycle_tf.training.stopping import divergence_error


class Checkpoint(keras.callbacks.Callback):
    """Writes all state that the next step depends on: weights, optimizer, dropout seeds, metrics.

    `keras.callbacks.BackupAndRestore` leaves out the seeds of dropout and stochastic depth and restarts the
    epoch, so that a resumed run would differ from an uninterrupted one.

    Args:
        folder: folder of the checkpoint. It holds one file: `epochNNNN.npz` after NNNN epochs, or
            `epochNNNN_stepNNNNNN.npz` within the epoch after them. None at a worker that is not the chief:
            it writes nothing, but all workers must read the metrics together.
        progress: the run's `Progress`.
        every: interval within an epoch that `config.duration` reads, for example `5m` or `500steps`; None for
            checkpoints only at the end of an epoch.
    """

    def __init__(self, folder, progress, every):
        super().__init__()
        self.folder = folder
        self.progress = progress
        self.every, self.unit = duration(every) if every else (math.inf, "steps")
        self.written = self._now()

    def on_train_batch_end(self, batch, logs=None):
        """Writes a checkpoint if it is due; that of an epoch's last step is left to `on_epoch_end`."""
        if not self.progress.at_epoch_end and self._now() - self.written >= self.every:
            self.write()

    def on_epoch_end(self, epoch, logs=None):
        """Writes a checkpoint."""
        self.write()

    def write(self):
        """Replaces the previous checkpoint, which is retained if this fails.

        Raises:
            UserError: a weight is NaN or infinite.
        """
        progress = self.progress
        step = f"_step{progress.step:06d}" if progress.step else ""
        values = {key: variable.numpy() for key, variable in state(self.model).items()}
        if not all(np.isfinite(value).all() for value in values.values()):
            raise divergence_error("a weight became NaN or infinite", progress, self.model)
        # Between epochs the metrics hold values that are never read again.
        for number, variable in enumerate(self.model.metrics_variables if progress.step else ()):
            values[f"metric{number:03d}"] = variable.numpy()
        values["seconds"] = progress.seconds
        self.written = self._now()
        if self.folder is None:
            return
        self.folder.mkdir(exist_ok=True)
        previous = set(self.folder.glob("epoch*.npz"))
        path = self.folder / f"epoch{progress.epoch:04d}{step}.npz"
        with files.replacing(path) as temporary:
            np.savez(temporary, **values)
        for old in previous - {path}:
            old.unlink()

    def _now(self):
        return self.progress.steps if self.unit == "steps" else time.monotonic()


def last_checkpoint(folder):
    """Finds the last checkpoint.

    Args:
        folder: folder of the checkpoints; None for a new run.

    Returns:
        `(epochs, steps, path)`: complete epochs, steps of the epoch after them, and the file;
        `(0, 0, None)` without a checkpoint.
    """
    files = sorted(folder.glob("epoch*.npz")) if folder else []
    if not files:
        return 0, 0, None
    epoch, _, step = files[-1].stem.removeprefix("epoch").partition("_step")
    return int(epoch), int(step or 0), files[-1]


def restore(model, folder, steps_per_epoch, end=None, phase_starts=()):
    """Restores a compiled model from its last checkpoint.

    Args:
        model: a compiled model.
        folder: folder of the checkpoints; None for a new run.
        steps_per_epoch: batches per epoch.
        end: number of steps of the whole run.
        phase_starts: epochs at which a new optimizer starts; a checkpoint between the epoch before and this
            one holds the previous optimizer, which is not restored.

    Returns:
        The `Progress` to resume from; at the very start if there is no checkpoint.

    Raises:
        UserError: the checkpoint is damaged, or was written by another version.
    """
    epoch, step, path = last_checkpoint(folder)
    if path is None:
        return Progress(steps_per_epoch, end=end)
    kinds = ("model",) if not step and epoch in phase_starts else ("model", "optimizer")
    variables = {key: variable for key, variable in state(model).items() if key.startswith(kinds)}
    remedy = "if another version wrote it, use that; else remove it, and training is restarted"
    with files.reading(path, remedy), np.load(path, allow_pickle=False) as values:
        if {key for key in values if key.startswith(kinds)} != set(variables):
            raise ValueError(f"{len(variables)} variables are expected")
        for key, variable in variables.items():
            variable.assign(values[key])
        metrics = [values[key] for key in sorted(values) if key.startswith("metric")]
        seconds = float(values["seconds"])
    return Progress(steps_per_epoch, epoch, step, metrics, end, seconds)


def restore_from_chief(strategy, model, progress):
    """Copies the state that the chief has restored to the other workers: only the chief has the checkpoint.

    Every worker must call this at the same point.

    Args:
        strategy: the run's distribution strategy.
        model: a compiled model.
        progress: what `restore` returned at this worker.

    Returns:
        The chief's `Progress`.
    """
    if multi_worker.index_and_count(strategy)[1] == 1:
        return progress
    build_metrics(model)
    for variable in state(model).values():
        variable.assign(multi_worker.from_chief(strategy, variable.numpy()))
    sums = progress.metrics or [np.zeros(variable.shape, np.float32) for variable in model.metrics_variables]
    sums = [multi_worker.from_chief(strategy, value) for value in sums]
    epoch, step = (int(n) for n in multi_worker.from_chief(strategy, [progress.epoch, progress.step]))
    metrics = sums if step else ()
    return Progress(progress.steps_per_epoch, epoch, step, metrics, progress.end, progress.seconds)


def state(model):
    """All variables of a compiled model that a step changes, except the metrics.

    Returns:
        `{kind and number: variable}`, for example `model00003` or `optimizer00012`. The keys have numbers,
        not names, because Keras numbers the names of seeds and optimizers across the whole process.
    """
    model.optimizer.build(model.trainable_variables)
    return {
        f"{kind}{number:05d}": variable
        for kind, variables in (("model", model.variables), ("optimizer", model.optimizer.variables))
        for number, variable in enumerate(variables)
    }

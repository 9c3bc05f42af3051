"""The callbacks that Keras does not have, or has otherwise than a run needs."""

import contextlib
import math
import signal
import sys
import time
import zipfile

import keras
import numpy as np

from recycle_tf.config import duration
from recycle_tf.errors import UserError
from recycle_tf.files import replacing


class BestModel(keras.callbacks.Callback):
    """Keeps the model with the highest validation accuracy, among equals the lowest loss.

    Keras' `ModelCheckpoint` writes under the final name, so that a killed process leaves half a file, and
    forgets the best value when a run goes on.

    Args:
        inference_model: what is saved; it shares its layers with the model that is trained.
        path: the `.keras` file.
        rows: of the epochs that were run before, dicts with `val_accuracy` and `val_loss`, and `val_ema_…`
            where averaged weights were considered too.

    Attributes:
        epochs_since: how many epochs have been run since the one that was the best.
    """

    def __init__(self, inference_model, path, rows=()):
        super().__init__()
        self.inference_model = inference_model
        self.path = path
        self.best = (-1.0, 0.0)
        self.epochs_since = 0
        for row in rows:
            self.epochs_since += 1
            for kind in ("val", "val_ema") if "val_ema_loss" in row else ("val",):
                self._is_best(row[f"{kind}_accuracy"], row[f"{kind}_loss"])

    def on_epoch_end(self, epoch, logs=None):
        """Saves if this epoch is the best so far."""
        self.epochs_since += 1
        self.consider(logs["val_accuracy"], logs["val_loss"])

    def consider(self, accuracy, loss):
        """Saves the model as it is now if it is the best so far; one whose loss is no number is not."""
        if self._is_best(accuracy, loss):
            # Not compiled: an optimizer would triple the file and need our classes to load.
            model = keras.Model(
                self.inference_model.inputs, self.inference_model.outputs, name=self.inference_model.name
            )
            with replacing(self.path) as temporary:
                model.save(temporary)

    def _is_best(self, accuracy, loss):
        better = bool(np.isfinite(loss)) and (accuracy, -loss) > self.best
        if better:
            self.best = (accuracy, -loss)
            self.epochs_since = 0
        return better


class EarlyStopping(keras.callbacks.Callback):
    """Ends a training that has not become better for a while.

    Keras' own looks at one figure, where the best model is chosen by two, and counts anew when a run goes on.

    Args:
        best: a `BestModel`, before this one among the callbacks.
        patience: epochs; None for all that are wanted.
    """

    def __init__(self, best, patience):
        super().__init__()
        self.best = best
        self.patience = patience

    @property
    def due(self):
        """Whether no more epochs should be run."""
        return self.patience is not None and self.best.epochs_since >= self.patience

    def on_epoch_end(self, epoch, logs=None):
        """Ends it."""
        if self.due:
            self.model.stop_training = True
            print(f"no better model for {self.patience} epochs: training ends after epoch {epoch + 1}")


class TimeLimit(keras.callbacks.Callback):
    """Ends a training after a time, with an epoch that is shorter than others but validated like them.

    Args:
        progress: a `Progress`.
        limit: as `duration` reads it; None for no end.
    """

    def __init__(self, progress, limit):
        super().__init__()
        self.progress = progress
        self.limit = limit

    @property
    def due(self):
        """Whether the time is used up."""
        return self.limit is not None and self.progress.seconds >= duration(self.limit)[0]

    def on_train_batch_end(self, batch, logs=None):
        """Ends the epoch."""
        if self.due:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        """Ends the training."""
        if self.due:
            self.model.stop_training = True
            print(f"--time_limit={self.limit}: training ends after {self.progress}")


class Progress(keras.callbacks.Callback):
    """Where the training is. It can begin in the middle of an epoch, which `fit` by itself cannot.

    It stands first among the callbacks: the others read from it.

    Args:
        steps_per_epoch: batches an epoch.
        epoch: epochs that have been run.
        step: steps that have been run of the epoch after them.
        metrics: what the metrics had summed up by then, as arrays.
        end: steps of the whole training, if its last epoch is a short one.

    Attributes:
        epoch: the epoch that is being run, from 0.
        step: its steps that have been run.
    """

    def __init__(self, steps_per_epoch, epoch=0, step=0, metrics=(), end=None):
        super().__init__()
        self.steps_per_epoch = steps_per_epoch
        self.end = end
        self.epoch = epoch
        self.step = step
        self.metrics = metrics
        self.cut = False
        self.begun = time.monotonic()

    def __str__(self):
        if self.step:
            return f"epoch {self.epoch + 1}, step {self.step} of {self.steps_per_epoch}"
        return f"epoch {self.epoch}"

    @property
    def steps(self):
        """Steps that have been run since the training began."""
        return self.epoch * self.steps_per_epoch + self.step

    @property
    def seconds(self):
        """Seconds that it has taken, in all processes that had a part in it."""
        return time.monotonic() - self.begun

    @property
    def epoch_ends(self):
        """Whether the step that was run is the last of an epoch."""
        return self.step == self.steps_per_epoch or self.steps == self.end

    def on_epoch_begin(self, epoch, logs=None):
        """Notes whether a part of this epoch was run before."""
        self.cut = self.step > 0

    def on_train_batch_end(self, batch, logs=None):
        """Counts, and ends an epoch that is shorter than `fit` would run it."""
        self.step += 1
        if self.metrics:
            # Keras resets metrics at an epoch's begin and makes their variables in its first step: only now
            # can what they had summed up be added.
            for variable, value in zip(self.model.metrics_variables, self.metrics, strict=True):
                variable.assign(variable.numpy() + value)
            self.metrics = ()
        if (self.cut or self.steps == self.end) and self.epoch_ends:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        """Lets the next epoch begin."""
        if self.cut:
            self.model.stop_training = False
        self.epoch, self.step = epoch + 1, 0


class Diverged(keras.callbacks.Callback):
    """Stops where training on is of no use, before a checkpoint of it is written.

    Keras' `TerminateOnNaN` lets the epoch end, with a row in the history, and knows no finite divergence.

    Args:
        progress: a `Progress`.
        highest: mean loss of an epoch's steps from which on it has diverged.
    """

    def __init__(self, progress, highest):
        super().__init__()
        self.progress = progress
        self.highest = highest

    def on_train_batch_end(self, batch, logs=None):
        """Looks at the loss.

        Raises:
            UserError: it is no number, or too high.
        """
        if not logs["loss"] < self.highest:
            loss = f"{logs['loss']:.3g}" if np.isfinite(logs["loss"]) else "infinite or no number"
            raise diverged(f"the loss became {loss}", self.progress, self.model)


def diverged(what, progress, model):
    """The error that says where and at which rate a training left the path."""
    rate = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
    return UserError(
        f"{what} in {progress}, at a learning rate of {rate:.3g}; what was good before is kept, "
        f"try a lower --learning_rate in another --run_dir"
    )


class Checkpoint(keras.callbacks.Callback):
    """Writes everything that the next step depends on: weights, optimizer, seeds of dropout, metrics.

    Keras' `BackupAndRestore` leaves out the seeds of dropout and stochastic depth, and begins an epoch anew,
    so that a resumed run would not be the run it resumes.

    Args:
        folder: where; it holds one file, `epochNNNN.npz` after NNNN epochs, or `epochNNNN_stepNNNNNN.npz`
            within the epoch after them. None at a worker that is not the chief: of several all have to read
            the metrics for one to write them.
        progress: a `Progress`.
        every: how often one is written within an epoch, as `duration` reads it; None for not at all.
    """

    def __init__(self, folder, progress, every):
        super().__init__()
        self.folder = folder
        self.progress = progress
        self.every, self.unit = duration(every) if every else (math.inf, "steps")
        self.written = self._now()

    def on_train_batch_end(self, batch, logs=None):
        """Writes if it is time; at the last step, `on_epoch_end` does."""
        if not self.progress.epoch_ends and self._now() - self.written >= self.every:
            self.write()

    def on_epoch_end(self, epoch, logs=None):
        """Writes."""
        self.write()

    def write(self):
        """Replaces the file before, which stays if this fails.

        Raises:
            UserError: a weight is infinite or no number.
        """
        progress = self.progress
        step = f"_step{progress.step:06d}" if progress.step else ""
        values = {key: variable.numpy() for key, variable in state(self.model).items()}
        if not all(np.isfinite(value).all() for value in values.values()):
            raise diverged("a weight became infinite or no number", progress, self.model)
        # Between epochs the metrics hold what nobody will ask for again.
        for number, variable in enumerate(self.model.metrics_variables if progress.step else ()):
            values[f"metric{number:03d}"] = variable.numpy()
        values["seconds"] = progress.seconds
        self.written = self._now()
        if self.folder is None:
            return
        self.folder.mkdir(exist_ok=True)
        before = set(self.folder.glob("epoch*.npz"))
        path = self.folder / f"epoch{progress.epoch:04d}{step}.npz"
        with replacing(path) as temporary:
            np.savez(temporary, **values)
        for old in before - {path}:
            old.unlink()

    def _now(self):
        return self.progress.steps if self.unit == "steps" else time.monotonic()


def last_checkpoint(folder, steps_per_epoch, end=None):
    """Where a training has come to.

    Args:
        folder: of the checkpoints; None for a run that is yet to begin.
        steps_per_epoch: batches an epoch.
        end: steps of the whole training.

    Returns:
        The `Progress` from which to go on, and the checkpoint's file; that of a beginning, and None.
    """
    files = sorted(folder.glob("epoch*.npz")) if folder else []
    if not files:
        return Progress(steps_per_epoch, end=end), None
    epoch, _, step = files[-1].stem.removeprefix("epoch").partition("_step")
    return Progress(steps_per_epoch, int(epoch), int(step or 0), end=end), files[-1]


def restore(model, folder, steps_per_epoch, end=None, phases=()):
    """Puts a compiled model where its last checkpoint was.

    Args:
        model: compiled.
        folder: of the checkpoints; None for a run that is yet to begin.
        steps_per_epoch: batches an epoch.
        end: steps of the whole training.
        phases: epochs before which the optimizer is made anew; there a checkpoint holds the one before it.

    Returns:
        The `Progress` from which to go on; that of a beginning without a checkpoint.

    Raises:
        UserError: the checkpoint is damaged, or of another version.
    """
    progress, path = last_checkpoint(folder, steps_per_epoch, end)
    if path is None:
        return progress
    kinds = ("model",) if not progress.step and progress.epoch in phases else ("model", "optimizer")
    variables = {key: variable for key, variable in state(model).items() if key.startswith(kinds)}
    try:
        with np.load(path, allow_pickle=False) as values:
            if {key for key in values if key.startswith(kinds)} != set(variables):
                raise ValueError(f"{len(variables)} variables are expected")
            for key, variable in variables.items():
                variable.assign(values[key])
            progress.begun -= values["seconds"]
            progress.metrics = [values[key] for key in sorted(values) if key.startswith("metric")]
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path}: damaged, or written by another version; remove {folder} to begin again"
        ) from error
    return progress


def state(model):
    """`{kind and number: variable}` of all that a step changes, but for the metrics, of a compiled model."""
    model.optimizer.build(model.trainable_variables)
    # By number, because Keras numbers the names of seeds and optimizers through a whole process.
    return {
        f"{kind}{number:05d}": variable
        for kind, variables in (("model", model.variables), ("optimizer", model.optimizer.variables))
        for number, variable in enumerate(variables)
    }


class Interruption(keras.callbacks.Callback):
    """Turns Ctrl-C into a stop after the batch that is being run, with a checkpoint.

    While validation runs, it is finished first: a checkpoint lies between two steps or two epochs.

    Args:
        checkpoint: the `Checkpoint`, before this one among the callbacks.
    """

    def __init__(self, checkpoint):
        super().__init__()
        self.checkpoint = checkpoint
        self.asked = False

    @contextlib.contextmanager
    def listening(self):
        """Within it the first Ctrl-C waits; the second does what Ctrl-C always does."""
        usual = signal.getsignal(signal.SIGINT)

        def ask(*_):
            self.asked = True
            signal.signal(signal.SIGINT, usual)
            print("\nCtrl-C: finishing what is being computed; again to stop at once", file=sys.stderr)

        signal.signal(signal.SIGINT, ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, usual)

    def on_train_batch_end(self, batch, logs=None):
        """Saves and stops, but at an epoch's last step, after which it is validated."""
        if self.asked and not self.checkpoint.progress.epoch_ends:
            self.checkpoint.write()
            self._stop()

    def on_epoch_end(self, epoch, logs=None):
        """Stops; the checkpoint has been written."""
        if self.asked:
            self._stop()

    def _stop(self):
        raise KeyboardInterrupt(f"stopped after {self.checkpoint.progress}; the same command goes on")


class Throughput(keras.callbacks.Callback):
    """Adds `images_per_second` of the training steps to the logs, and `learning_rate` to the epoch's.

    Args:
        batch_size: images a step.
    """

    def __init__(self, batch_size):
        super().__init__()
        self.batch_size = batch_size

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the clock."""
        self.begin = time.perf_counter()
        self.images = 0

    def on_train_batch_end(self, batch, logs=None):
        """Stops it, again and again, so that validation does not count; the progress bar shows the rate."""
        self.end = time.perf_counter()
        self.images += self.batch_size
        logs["images_per_second"] = self.images / (self.end - self.begin)

    def on_epoch_end(self, epoch, logs=None):
        """Notes the figures where CSVLogger and TensorBoard find them."""
        logs["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        logs["images_per_second"] = self.images / (self.end - self.begin)

"""What ends training before its last epoch: no improvement, a time limit, divergence, Ctrl-C."""

import contextlib
import signal
import sys
import threading

import keras
import numpy as np

from recycle_tf.config import duration
from recycle_tf.errors import UserError


class EarlyStopping(keras.callbacks.Callback):
    """Ends training after a number of epochs without a better model.

    `keras.callbacks.EarlyStopping` watches a single metric, while the best model is chosen by two, and starts
    to count again when a run is resumed.

    Args:
        progress: the run's `Progress`.
        best: the run's `BestModel`.
        patience: number of epochs; None to train all epochs.
        start: epoch from which on they are counted: a head that is trained first may stagnate.
    """

    def __init__(self, progress, best, patience, start=0):
        super().__init__()
        self.start = start
        self.progress = progress
        self.best = best
        self.patience = patience

    @property
    def due(self):
        """Whether training should end."""
        counted = min(self.best.epochs_since, self.progress.epoch - self.start)
        return self.patience is not None and counted >= self.patience

    def on_epoch_end(self, epoch, logs=None):
        """Ends training if it is due."""
        if self.due:
            self.progress.end_training()
            print(f"no better model for {self.patience} epochs: training ends after epoch {epoch + 1}")


class TimeLimit(keras.callbacks.Callback):
    """Ends training after a time. The last epoch is then shorter than the others, but validated like them.

    Args:
        progress: the run's `Progress`; the time of all parts of a resumed run counts.
        limit: a time that `config.duration` reads, for example `90m`; None for no limit.
    """

    def __init__(self, progress, limit):
        super().__init__()
        self.progress = progress
        self.limit = limit

    @property
    def due(self):
        """Whether the time is up."""
        return self.limit is not None and self.progress.seconds >= duration(self.limit)[0]

    def on_train_batch_end(self, batch, logs=None):
        """Ends the epoch if the time is up."""
        if self.due:
            self.progress.end_epoch()

    def on_epoch_end(self, epoch, logs=None):
        """Ends training if the time is up."""
        if self.due:
            self.progress.end_training()
            print(f"time limit of {self.limit} reached: training ends after {self.progress}")


class TerminateOnDivergence(keras.callbacks.Callback):
    """Raises an error as soon as the loss is not finite or far too high.

    `keras.callbacks.TerminateOnNaN` lets the epoch end, so that it gets a row in the history and a
    checkpoint, and does not notice a loss that is finite but has diverged.

    Args:
        progress: the run's `Progress`.
        max_loss: mean loss of an epoch's steps from which on training has diverged.
    """

    def __init__(self, progress, max_loss):
        super().__init__()
        self.progress = progress
        self.max_loss = max_loss

    def on_train_batch_end(self, batch, logs=None):
        """Checks the loss.

        Raises:
            UserError: it is NaN, infinite or at least `max_loss`.
        """
        if not logs["loss"] < self.max_loss:
            loss = f"{logs['loss']:.3g}" if np.isfinite(logs["loss"]) else "NaN or infinite"
            raise divergence_error(f"the loss became {loss}", self.progress, self.model)


def divergence_error(event, progress, model):
    """The `UserError` that says where, and at which learning rate, training diverged."""
    learning_rate = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
    return UserError(
        f"{event} in {progress}, at a learning rate of {learning_rate:.3g}; the best model and the last "
        "checkpoint are retained, try a lower `learning_rate` in another `run_dir`"
    )


class Interruption(keras.callbacks.Callback):
    """Turns Ctrl-C into a stop after the current batch, with a checkpoint.

    During validation, it waits for the end of the epoch: a checkpoint lies between two steps or two epochs.

    Args:
        checkpoint: the run's `Checkpoint`.
    """

    def __init__(self, checkpoint):
        super().__init__()
        self.checkpoint = checkpoint
        self.requested = False

    @contextlib.contextmanager
    def listening(self):
        """Within this context the first Ctrl-C requests a stop; a second one interrupts at once."""
        if threading.current_thread() is not threading.main_thread():
            yield  # Only the main thread receives signals.
            return
        previous = signal.getsignal(signal.SIGINT)

        def request(*_):
            self.requested = True
            signal.signal(signal.SIGINT, previous)
            print("\nCtrl-C: finishing the batch or the validation; again to stop at once", file=sys.stderr)

        signal.signal(signal.SIGINT, request)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)

    def on_train_batch_end(self, batch, logs=None):
        """Writes a checkpoint and stops; not at the last step of an epoch, which is validated first."""
        if self.requested and not self.checkpoint.progress.at_epoch_end:
            self.checkpoint.write()
            self._stop()

    def on_epoch_end(self, epoch, logs=None):
        """Stops; the checkpoint of the epoch is already written."""
        if self.requested:
            self._stop()

    def _stop(self):
        raise KeyboardInterrupt(
            f"stopped after {self.checkpoint.progress}; run the same command again to resume"
        )

"""The callbacks that Keras does not have, or has otherwise than a run needs."""

import time
import zipfile

import keras
import numpy as np

from recycle_tf.errors import UserError
from recycle_tf.runs import replacing


class BestModel(keras.callbacks.Callback):
    """Keeps the model with the highest validation accuracy, among equals the lowest loss.

    Keras' `ModelCheckpoint` writes under the final name, so that a killed process leaves half a file, and
    forgets the best value when a run goes on.

    Args:
        kept: what is saved; it shares its layers with the model that is trained.
        path: the `.keras` file.
        rows: of the epochs that were run before, dicts with `val_accuracy` and `val_loss`.
    """

    def __init__(self, kept, path, rows=()):
        super().__init__()
        self.kept = kept
        self.path = path
        self.best = max((self._merit(row) for row in rows), default=(-1.0, 0.0))

    def on_epoch_end(self, epoch, logs=None):
        """Saves if this epoch is the best so far; one whose loss is no number is not."""
        if np.isfinite(logs["val_loss"]) and self._merit(logs) > self.best:
            self.best = self._merit(logs)
            with replacing(self.path) as temporary:
                self.kept.save(temporary)

    @staticmethod
    def _merit(logs):
        return logs["val_accuracy"], -logs["val_loss"]


class Checkpoint(keras.callbacks.Callback):
    """Writes everything that the next epoch depends on: weights, optimizer, seeds of dropout.

    Keras' `BackupAndRestore` leaves out the seeds of dropout and stochastic depth, so that a resumed run
    would not be the run it resumes.

    Args:
        folder: where; it holds one file, `epochNNNN.npz`, NNNN epochs having been run.
    """

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_epoch_end(self, epoch, logs=None):
        """Replaces the file of the epoch before, unless the loss is no number any more."""
        if not np.isfinite(logs["loss"]):
            return
        self.folder.mkdir(exist_ok=True)
        before = list(self.folder.glob("epoch*.npz"))
        with replacing(self.folder / f"epoch{epoch + 1:04d}.npz") as temporary:
            np.savez(temporary, **{key: v.numpy() for key, v in _state(self.model).items()})
        for path in before:
            path.unlink()


def restore(model, folder):
    """Puts a compiled model where its last checkpoint was.

    Returns:
        How many epochs have been run; 0 without a checkpoint.

    Raises:
        UserError: the checkpoint is damaged, or of another version.
    """
    files = sorted(folder.glob("epoch*.npz"))
    if not files:
        return 0
    try:
        with np.load(files[-1], allow_pickle=False) as values:
            for key, variable in _state(model).items():
                variable.assign(values[key])
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{files[-1]}: damaged, or written by another version; remove {folder} to begin again"
        ) from error
    return int(files[-1].stem.removeprefix("epoch"))


def _state(model):
    model.optimizer.build(model.trainable_variables)
    # By number, because Keras numbers the names of seeds and optimizers through a whole process. Metrics
    # are left out: they start anew with each epoch.
    variables = [*model.trainable_variables, *model.non_trainable_variables, *model.optimizer.variables]
    return {f"{number:05d}": variable for number, variable in enumerate(variables)}


class Throughput(keras.callbacks.Callback):
    """Adds `images_per_second` of the training steps, and `learning_rate`, to the epoch's logs.

    Args:
        images: how many an epoch has.
    """

    def __init__(self, images):
        super().__init__()
        self.images = images

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the clock."""
        self.begin = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        """Stops it, again and again, so that validation does not count."""
        self.end = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Notes the figures where CSVLogger and TensorBoard find them."""
        logs["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        logs["images_per_second"] = self.images / (self.end - self.begin)

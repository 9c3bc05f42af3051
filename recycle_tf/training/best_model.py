"""Saving the best model."""

import keras
import numpy as np

from recycle_tf.files import replacing


class BestModel(keras.callbacks.Callback):
    """Saves the model with the highest validation accuracy, and the lowest loss among equal accuracies.

    `keras.callbacks.ModelCheckpoint` writes under the final name, so that a killed process leaves half a
    file, and forgets the best value when a run is resumed.

    Args:
        inference_model: the model to save; it shares its layers with the model that is trained.
        path: the `.keras` file.
        rows: earlier epochs of the run: dicts with `val_accuracy` and `val_loss`, and with `val_ema_accuracy`
            and `val_ema_loss` if averaged weights are evaluated too.

    Attributes:
        epochs_since: number of epochs since the best one.
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
        """Saves the model if this epoch is the best so far."""
        self.epochs_since += 1
        self.consider(logs["val_accuracy"], logs["val_loss"])

    def consider(self, accuracy, loss):
        """Saves the model in its present state if it is the best so far; never if its loss is not finite."""
        if self._is_best(accuracy, loss):
            # Not compiled: an optimizer would triple the size, and could not be loaded without our classes.
            model = keras.Model(
                self.inference_model.input, self.inference_model.output, name=self.inference_model.name
            )
            with replacing(self.path) as temporary:
                model.save(temporary)

    def _is_best(self, accuracy, loss):
        better = bool(np.isfinite(loss)) and (accuracy, -loss) > self.best
        if better:
            self.best = (accuracy, -loss)
            self.epochs_since = 0
        return better

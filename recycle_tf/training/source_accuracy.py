"""Validation accuracy of each of several sources."""

import math

import keras


class SourceAccuracy(keras.callbacks.Callback):
    """Evaluates the model on the validation images of each source: adds `val_accuracy_SOURCE` to the logs.

    The best model is chosen by the accuracy on all of them.

    Args:
        batches: `{name of a source: validation batches}`; None for a source that is not measured.
    """

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def on_epoch_end(self, epoch, logs=None):
        """Evaluates the model; a second pass over the validation images, which tells their sources apart."""
        for name, batches in self.batches.items():
            # Columns of the history must not depend on the number of devices.
            logs[f"val_accuracy_{name}"] = math.nan
            if batches is not None:
                results = self.model.evaluate(batches, verbose=0, return_dict=True)
                logs[f"val_accuracy_{name}"] = results["accuracy"]

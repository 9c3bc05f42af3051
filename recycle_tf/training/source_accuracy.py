"""Validation accuracy of each of several sources."""

import keras


class SourceAccuracy(keras.callbacks.Callback):
    """Evaluates the model on the validation images of each source: adds `val_accuracy_SOURCE` to the logs.

    The best model is chosen by the accuracy on all of them.

    Args:
        batches: `{name of a source: validation batches}`.
    """

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def on_epoch_end(self, epoch, logs=None):
        """Evaluates the model; a second pass over the validation images, which tells their sources apart."""
        for name, batches in self.batches.items():
            results = self.model.evaluate(batches, verbose=0, return_dict=True)
            logs[f"val_accuracy_{name}"] = results["accuracy"]

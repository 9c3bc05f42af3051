"""Exponential moving average (EMA) of the weights."""

import keras

from recycle_tf.training.keras_internals import weight_averages


class AveragedWeights(keras.callbacks.Callback):
    """Evaluates the moving average of the weights that the optimizer maintains; saves it if it is the best.

    It adds `val_ema_accuracy` and `val_ema_loss` to the logs of an epoch. The statistics of batch
    normalization remain those of the weights themselves; towards the end of a schedule the two agree.

    A running average of the weights was used, for example, for Inception-v3 (Szegedy et al., arXiv
    1512.00567, section 8). The average of Polyak and Juditsky (1992) differs: it weights all steps equally.

    `keras.callbacks.SwapEMAWeights` exchanges weights by addition and subtraction, which rounds them in every
    epoch.

    Args:
        validation: batches of the validation split.
        best: the run's `BestModel`; None at a worker that saves nothing.
    """

    def __init__(self, validation, best):
        super().__init__()
        self.validation = validation
        self.best = best

    def on_epoch_end(self, epoch, logs=None):
        """Evaluates the model with the averages in place of its weights, and restores the weights."""
        weights = [variable.numpy() for variable in self.model.trainable_variables]
        averages = weight_averages(self.model.optimizer)
        for variable, average in zip(self.model.trainable_variables, averages, strict=True):
            variable.assign(average.numpy())
        results = self.model.evaluate(self.validation, verbose=0, return_dict=True)
        logs.update({f"val_ema_{name}": results[name] for name in ("accuracy", "loss")})
        if self.best:
            self.best.consider(results["accuracy"], results["loss"])
        for variable, value in zip(self.model.trainable_variables, weights, strict=True):
            variable.assign(value)

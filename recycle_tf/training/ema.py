"""Means: of the weights over the steps, and of the moving statistics over the devices."""

import keras
import tensorflow as tf


class AveragedWeights(keras.callbacks.Callback):
    """Evaluates the moving average of the weights that the optimizer keeps, and lets it be saved when better.

    Polyak and Juditsky 1992. It adds `val_ema_accuracy` and `val_ema_loss` to an epoch's logs. The statistics
    of batch normalisation are those of the weights themselves; towards a schedule's end the two agree.

    Keras' `SwapEMAWeights` swaps by adding and subtracting, which rounds the weights at each epoch.

    Args:
        validation: batches of the validation split.
        best: a `BestModel`, before this one among the callbacks; None at a worker that saves nothing.
    """

    def __init__(self, validation, best):
        super().__init__()
        self.validation = validation
        self.best = best

    def on_epoch_end(self, epoch, logs=None):
        """Puts the average into the model, evaluates it, and puts the weights back."""
        # With float16 the loss is scaled by an optimizer round the one that averages.
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        weights = [variable.numpy() for variable in self.model.trainable_variables]
        averages = optimizer._model_variables_moving_average
        for variable, average in zip(self.model.trainable_variables, averages, strict=True):
            variable.assign(average.numpy())
        found = self.model.evaluate(self.validation, verbose=0, return_dict=True)
        logs.update({f"val_ema_{name}": found[name] for name in ("accuracy", "loss")})
        if self.best:
            self.best.consider(found["accuracy"], found["loss"])
        for variable, value in zip(self.model.trainable_variables, weights, strict=True):
            variable.assign(value)


class SharedStatistics(keras.callbacks.Callback):
    """Gives every device the mean of all devices' moving statistics, before the model is validated and saved.

    Where batch normalisation is not synchronised, each device has statistics of its own, and what is saved
    would be the first one's.

    Args:
        strategy: of the training, with several devices.
    """

    def __init__(self, strategy):
        super().__init__()
        self.strategy = strategy
        self.average = tf.function(lambda: strategy.run(self._average))

    def on_train_begin(self, logs=None):
        """Finds the statistics."""
        self.statistics = [
            variable
            for layer in self.model.layers
            if isinstance(layer, keras.layers.BatchNormalization) and not layer.synchronized
            for variable in (layer.moving_mean, layer.moving_variance)
        ]

    def on_test_begin(self, logs=None):
        """Averages."""
        if self.statistics:
            self.average()

    def _average(self):
        values = [tf.convert_to_tensor(variable.value) for variable in self.statistics]
        context = tf.distribute.get_replica_context()
        means = context.all_reduce(tf.distribute.ReduceOp.MEAN, values)
        for variable, mean in zip(self.statistics, means, strict=True):
            variable.assign(mean)

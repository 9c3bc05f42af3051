"""Batch normalization on several devices: whose statistics it uses."""

import keras
import tensorflow as tf

SMALL_DEVICE_BATCH = 32
"""Images on one device below which `auto` synchronizes: statistics of so few images are too noisy."""


def synchronize_batch_norm(model, strategy, mode, device_batch_size):
    """Decides whether batch normalization uses statistics of the whole batch or of each device's part.

    Args:
        model: the model that is trained.
        strategy: the run's distribution strategy.
        mode: one of `options.SYNC_BATCH_NORM`; `auto` synchronizes if a device's part is small.
        device_batch_size: images of a batch on one device.
    """
    several = strategy.num_replicas_in_sync > 1
    synchronized = several and (mode == "on" or (mode == "auto" and device_batch_size < SMALL_DEVICE_BATCH))
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = synchronized


class AverageBatchNormStatistics(keras.callbacks.Callback):
    """Averages the moving statistics over the devices before the model is validated and saved.

    Without synchronization each device has its own statistics, and those of the first one would be saved.

    Args:
        strategy: a distribution strategy with several devices.
    """

    def __init__(self, strategy):
        super().__init__()
        self.strategy = strategy
        self.average = tf.function(lambda: strategy.run(self._average))

    def on_train_begin(self, logs=None):
        """Collects the statistics of all layers that are not synchronized."""
        self.statistics = [
            variable
            for layer in self.model.layers
            if isinstance(layer, keras.layers.BatchNormalization) and not layer.synchronized
            for variable in (layer.moving_mean, layer.moving_variance)
        ]

    def on_test_begin(self, logs=None):
        """Averages them."""
        if self.statistics:
            self.average()

    def _average(self):
        values = [tf.convert_to_tensor(variable.value) for variable in self.statistics]
        context = tf.distribute.get_replica_context()
        means = context.all_reduce(tf.distribute.ReduceOp.MEAN, values)
        for variable, mean in zip(self.statistics, means, strict=True):
            variable.assign(mean)

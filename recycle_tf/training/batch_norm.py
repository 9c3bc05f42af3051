"""Batch normalization in training: whose statistics it uses on several devices, and how a CPU computes it."""

import functools

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
        device_batch_size: images of a batch, or of a pass with `accumulate`, on one device.
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


def fuse_batch_norm(model):
    """Lets a CPU compute each batch normalization in one operation.

    Keras composes it of means, differences, products and sums, each of which reads and writes a whole feature
    map. XLA fuses them on a GPU. Layers that are synchronized over devices or compute in float16 keep Keras'
    way. Configuration, weights and saved files are not affected.

    Args:
        model: the model that is trained.
    """
    if tf.config.get_visible_devices("GPU"):
        return
    for layer in model.layers:
        if _can_be_fused(layer):
            layer.call = functools.partial(_fused, layer)


def _can_be_fused(layer):
    return (
        isinstance(layer, keras.layers.BatchNormalization)
        and not layer.synchronized
        and layer.input_spec.ndim == 4
        and layer.compute_dtype in ("float32", "bfloat16")
    )


def _fused(layer, inputs, training=None, mask=None):
    """Computes what `keras.layers.BatchNormalization.call` does, of `[batch, height, width, channels]`."""
    learns = bool(training) and layer.trainable
    mean, variance = layer.moving_mean, layer.moving_variance
    outputs, batch_mean, batch_variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=layer.gamma,
        offset=layer.beta,
        mean=[] if learns else mean,
        variance=[] if learns else variance,
        epsilon=layer.epsilon,
        is_training=learns,
    )
    if learns:
        # The operation returns an unbiased variance (divided by n - 1), Keras averages the biased one.
        count = tf.cast(tf.size(inputs) / tf.shape(inputs)[-1], tf.float32)
        batch_variance *= (count - 1) / count
        for average, value in ((mean, batch_mean), (variance, batch_variance)):
            average.assign(average * layer.momentum + value * (1 - layer.momentum))
    return outputs

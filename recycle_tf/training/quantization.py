"""Quantization-aware training: fine-tunes a network as the int8 file will compute it.

Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference,
arXiv 1712.05877, section 3. The network that is trained is the one that an int8 file computes, in float:
batch normalization is folded into kernels, with the statistics of the trained network (Krishnamoorthi, arXiv
1806.08342, section 3.2.2: they are frozen, so that training and inference agree); kernels and feature maps
are rounded; and gradients pass the rounding as if it was not there. Its variables are those of the original
network, which is saved as ever, so that a run stays an ordinary run.

The ranges of the feature maps are measured once, before training, and stay. The run holds them in
`quantization.json`, and the export hands them to the converter.
"""

import keras
import tensorflow as tf
from keras import layers

from recycle_tf.errors import UserError
from recycle_tf.quantization import fake_quantization, fold, ranges


@tf.custom_gradient
def round_kernel(kernel, scale):
    """A kernel rounded to multiples of a scale, and the gradient of the identity.

    In float64, as the export rounds: `tf.quantization.fake_quant_with_min_max_vars_per_channel` computes in
    float32, where a weight halfway between two integers may become the other one.
    """
    return tf.round(kernel / scale) * scale, lambda gradient: (gradient, None)


class QuantizedLayer(layers.Layer):
    """A convolution or dense layer with the normalizations that it absorbs, computed with a rounded kernel.

    Args:
        multiplication: the `fold.Multiplication`; the variables stay those of its layers.

    Attributes:
        parts: these layers.
    """

    def __init__(self, multiplication):
        super().__init__(name=multiplication.layer.name)
        self.multiplication = multiplication
        self.parts = [multiplication.layer, *multiplication.norms]

    def call(self, inputs):
        """A feature map or a vector per image."""
        layer = self.multiplication.layer
        kernel, bias = self.multiplication.weights()
        if fake_quantization.is_quantized(layer):
            # As precise as the export stores it before it is rounded.
            kernel = tf.cast(tf.cast(kernel, tf.float32), tf.float64)
            axes = fake_quantization.output_axes(layer)
            largest = tf.reduce_max(tf.abs(kernel), axis=axes, keepdims=True)
            kernel = round_kernel(kernel, tf.maximum(largest, 1e-12) / fake_quantization.LEVELS)
        kernel, bias = tf.cast(kernel, inputs.dtype), tf.cast(bias, inputs.dtype)
        if isinstance(layer, layers.Dense):
            return tf.matmul(inputs, kernel) + bias
        convolve = keras.ops.depthwise_conv if isinstance(layer, layers.DepthwiseConv2D) else keras.ops.conv
        found = convolve(inputs, kernel, layer.strides, layer.padding, layer.data_format, layer.dilation_rate)
        return found + bias

    def compute_output_shape(self, input_shape):
        """That of the layer."""
        return self.multiplication.layer.compute_output_shape(input_shape)

    def get_config(self):
        """Only for TensorBoard's graph: what is saved is the original network."""
        return {**super().get_config(), "parts": [part.name for part in self.parts]}


def find_ranges(config, source, model, run):
    """The ranges of the feature maps in a training run.

    Args:
        config: a `TrainConfig`.
        source: the `data.sources.Source` of the run.
        model: a model from `create_model`, with trained weights.
        run: the `Run` that is resumed, or None.

    Returns:
        `{name: (low, high)}`; None without `config.quantize`.

    Raises:
        UserError: the network cannot compute in integers.
    """
    if config.quantize == "none":
        return None
    if reason := fake_quantization.why_not(model):
        raise UserError(f"`quantize={config.quantize}`: {reason}")
    if run:
        if run.trained_ranges is None:
            raise UserError(f"{run.path}: its quantization.json is missing; start again in another `run_dir`")
        return run.trained_ranges
    images = ranges.representative_images(
        source.splits["train"], model.input_shape[1], config.resize, config.seed
    )
    return ranges.measure(fold.fold(model, through_relu=False), images)


def training_model(model, found, model_class=keras.Model):
    """The model to train.

    Args:
        model: a model from `create_model`.
        found: what `find_ranges` returned.
        model_class: `keras.Model` or a subclass with another training step.

    Returns:
        A model with the variables of `model` that computes what the int8 file will compute, and a list with
        the loss weight of its only classifier.
    """
    folded = fold.fold(model, through_relu=False, multiply=lambda one, x: QuantizedLayer(one)(x))
    rounded = fake_quantization.insert(folded, found)
    return model_class(rounded.input, rounded.output, name=model.name), [1.0]

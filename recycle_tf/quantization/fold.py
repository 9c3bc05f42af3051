"""Rewrites a network for inference before conversion: the same outputs with fewer operations.

Normalizations, including `preprocess`, are not computed where they stand. Their scale and offset per channel
are carried along until another layer absorbs them:

* Convolutions and dense layers absorb scales before and after them into their kernel, and offsets into their
  bias. An offset before a convolution with padding cannot be absorbed, because the zeros of the padding do
  not have it: it is computed as an addition.
* A positive scale passes a ReLU, relu(a x + c) = a relu(x + c / a), so that a normalization in front of a
  convolution (DenseNet, pre-activation ResNets) becomes one addition.
* Scale and offset pass pooling layers.

An average pooling after a 1x1 convolution moves in front of it, which saves three of four multiply-adds; the
order does not matter because both are linear.
"""

import collections
import dataclasses
import functools

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from recycle_tf.layers import DropPath

LARGEST_SHIFT = 1e4
"""Limit of c / a; a larger number might overflow in a float16 file."""

AVERAGES = (layers.AveragePooling2D, layers.GlobalAveragePooling2D)


@dataclasses.dataclass(frozen=True)
class Affine:
    """`scale * tensor + offset`, not computed yet.

    Attributes:
        tensor: a tensor of a model, `[batch, …, channels]`.
        scale: a number per channel.
        offset: a number per channel.
    """

    tensor: keras.KerasTensor
    scale: np.ndarray
    offset: np.ndarray

    def of(self, tensor):
        """Another tensor with the same scale and offset."""
        return Affine(tensor, self.scale, self.offset)

    @functools.cached_property
    def without_offset(self):
        """The same values as a positive multiple of a tensor."""
        if not ((self.scale > 0).all() and (abs(self.offset) < LARGEST_SHIFT * self.scale).all()):
            return Affine(self.computed, *_identity(self.tensor))
        tensor = self.tensor
        if self.offset.any():
            shift = np.float32(self.offset / self.scale)
            # For the three channels of an image the offset is repeated along the width: long rows add faster.
            tensor = tensor + (np.tile(shift, (tensor.shape[2], 1)) if len(shift) < 4 else shift)
        return Affine(tensor, self.scale, 0 * self.offset)

    @functools.cached_property
    def computed(self):
        """The tensor of these values."""
        tensor = self.tensor if (self.scale == 1).all() else self.tensor * np.float32(self.scale)
        return tensor + np.float32(self.offset) if self.offset.any() else tensor


@dataclasses.dataclass(frozen=True)
class Multiplication:
    """A convolution or dense layer with the normalizations that it absorbs.

    Attributes:
        layer: the layer; its weights stay as they are.
        scale: by which each channel of its input is multiplied first, `[channels]`.
        offset: what is then added to it.
        norms: the batch normalizations behind the layer, in order.
    """

    layer: keras.Layer
    scale: np.ndarray
    offset: np.ndarray
    norms: list

    def weights(self):
        """Kernel and bias of the one layer that computes all of it.

        Returns:
            float64 tensors, differentiable with respect to the variables of layer and norms.
        """
        layer, depthwise = self.layer, isinstance(self.layer, layers.DepthwiseConv2D)
        kernel = _exact(layer.kernel)
        offsets = kernel * _of_inputs(layer, self.offset)
        bias = tf.reduce_sum(offsets, axis=(0, 1) if depthwise else tuple(range(len(kernel.shape) - 1)))
        bias = tf.reshape(bias, [-1]) + (_exact(layer.bias) if layer.use_bias else 0)
        kernel = kernel * _of_inputs(layer, self.scale)
        for norm in self.norms:
            scale, offset = _constants(norm)
            kernel = kernel * (tf.reshape(scale, kernel.shape[2:]) if depthwise else scale)
            bias = bias * scale + offset
        return kernel, bias

    def __call__(self, x):
        """The output of a new layer with these weights."""
        config = {**self.layer.get_config(), "use_bias": True, "activation": None}
        layer = self.layer.__class__.from_config(config)
        output = layer(x)
        layer.set_weights([np.float32(one) for one in self.weights()])
        return output


def fold(model, through_relu=True, multiply=Multiplication.__call__):
    """Rewrites a model for inference.

    Args:
        model: a functional model; it is not changed, and shares the layers that are not rewritten.
        through_relu: whether scales pass ReLUs. Feature maps in front of a convolution then differ in range,
            which quantized activations, with one range per tensor, represent badly.
        multiply: function of a `Multiplication` and a tensor that returns its output. By default, that of a
            new layer with constant weights.

    Returns:
        A model with the same outputs at inference.
    """
    return keras.models.clone_model(
        model, clone_function=lambda layer: layer, call_function=_Folding(model, through_relu, multiply)
    )


class _Folding:
    """Calls the operations of a model on tensors and on values that are not computed yet."""

    def __init__(self, model, through_relu, multiply):
        self.through_relu = through_relu
        self.multiply = multiply
        self.absorbed = set()
        self.readers = collections.defaultdict(list)
        for operation in model.operations:
            if not isinstance(operation, layers.InputLayer):
                for tensor in keras.tree.flatten(operation.input):
                    self.readers[id(tensor)].append(operation)

    def __call__(self, operation, *args, **kwargs):
        x = args[0]
        if operation.name in self.absorbed or _does_nothing(operation):
            return x
        if isinstance(operation, layers.BatchNormalization | layers.Rescaling):
            before = x if isinstance(x, Affine) else Affine(x, *_identity(x))
            scale, offset = (one.numpy() for one in _constants(operation))
            return Affine(before.tensor, before.scale * scale, before.offset * scale + offset)
        if isinstance(operation, layers.Conv2D | layers.DepthwiseConv2D | layers.Dense):
            return self._multiply(operation, x)
        if isinstance(x, Affine):
            if isinstance(operation, layers.ZeroPadding2D) or (self.through_relu and _is_relu(operation)):
                x = x.without_offset
                return x.of(operation(x.tensor))
            is_max = isinstance(operation, layers.MaxPooling2D)
            if isinstance(operation, AVERAGES) or (is_max and (x.scale > 0).all()):
                return x.of(operation(x.tensor))
        args, kwargs = keras.tree.map_structure(_computed, (args, kwargs))
        return operation(*args, **kwargs)

    def _multiply(self, layer, x):
        """A convolution or dense layer that absorbs the scales and offsets before and after it."""
        pads = getattr(layer, "padding", "valid") == "same" and set(layer.kernel_size) != {1}
        x = x if isinstance(x, Affine) else Affine(x, *_identity(x))
        if pads and x.offset.any():
            x = x.without_offset
        tensor, norms = x.tensor, []
        linear = layer.activation is keras.activations.linear
        for reader in self._only_readers(layer) if linear else ():
            if isinstance(reader, layers.BatchNormalization):
                norms.append(reader)
            elif isinstance(reader, layers.AveragePooling2D) and _is_pointwise(layer):
                tensor = reader(tensor)
            else:
                break
            self.absorbed.add(reader.name)
        output = self.multiply(Multiplication(layer, x.scale, x.offset, norms), tensor)
        return output if linear else layers.Activation(layer.activation, name=f"{layer.name}_act")(output)

    def _only_readers(self, operation):
        """The only operation that reads an operation's output, the only one that reads that, and so on."""
        while len(readers := self.readers[id(operation.output)]) == 1:
            operation = readers[0]
            yield operation


def _computed(x):
    return x.computed if isinstance(x, Affine) else x


def _identity(tensor):
    """The scale and offset of the identity."""
    return np.ones(tensor.shape[-1]), np.zeros(tensor.shape[-1])


def _constants(layer):
    """Scale and offset per channel of a normalization at inference, float64."""
    if isinstance(layer, layers.Rescaling):
        return tf.constant(layer.scale, tf.float64), tf.constant(layer.offset, tf.float64)
    variables = (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
    gamma, beta, mean, variance = map(_exact, variables)
    scale = gamma / tf.sqrt(variance + layer.epsilon)
    return scale, beta - scale * mean


def _exact(variable):
    return tf.cast(tf.convert_to_tensor(variable), tf.float64)


def _of_inputs(layer, numbers):
    """Numbers per input channel, in the shape in which they multiply the layer's kernel."""
    if isinstance(layer, layers.Conv2D):
        # Each group of filters reads its own part of the channels.
        shares = numbers.reshape(layer.groups, -1)
        return np.repeat(shares, layer.filters // layer.groups, axis=0).T
    return numbers[:, None]


def _does_nothing(operation):
    """Whether an operation is the identity at inference."""
    if isinstance(operation, layers.ZeroPadding2D):
        return not np.any(operation.padding)
    return isinstance(operation, layers.Identity | layers.Dropout | DropPath)


def _is_relu(operation):
    return isinstance(operation, layers.Activation) and operation.activation is keras.activations.relu


def _is_pointwise(layer):
    return isinstance(layer, layers.Conv2D) and layer.kernel_size == layer.strides == (1, 1)

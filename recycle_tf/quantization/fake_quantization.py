"""A float network that rounds exactly where an int8 file rounds.

The scheme is that of TFLite (Jacob et al., Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference, arXiv 1712.05877):

* kernels have 8 bits, symmetric, one scale per output channel: its largest weight becomes 127;
* feature maps have 8 bits, asymmetric, one scale per tensor; zero is representable;
* a ReLU belongs to the operation before it, so that only its output is rounded;
* the head (`pool`, `logits`, softmax, `familiarity`) stays in float. It is a negligible share of the work,
  and its rounding would reach the answer directly.

The converter takes the ranges of the feature maps from the `FakeQuantize` layers, and finds the integers of
kernels that already lie on the grid. So the file computes what this network computes, up to ties.
"""

import collections
import itertools

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from recycle_tf.layers import DeformableConv2D

LEVELS = 127
"""Largest integer of a kernel; -128 is not used, so that the scale is symmetric."""

PIXELS = (0, 255)
"""Range of the input: pixels are integers already."""

LINEAR = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)
SAME_RANGE = (layers.MaxPooling2D, layers.ZeroPadding2D, layers.Reshape, layers.Flatten)
"""Layers that move or select values: their output needs no rounding of its own."""
ONE_RANGE = (layers.Concatenate, layers.AveragePooling2D)
"""Layers whose output TFLite represents with the range of their inputs."""
FUSED = (keras.activations.relu, keras.activations.relu6)
FIXED = {keras.activations.sigmoid: (0, 255 / 256), keras.activations.tanh: (-1, 127 / 128)}
"""Ranges that TFLite prescribes."""
FLOAT = ("pool", "logits", "familiarity")
"""Names of the layers that compute in float."""


class FakeQuantize(layers.Layer):
    """Clips a tensor to a range and rounds it to 256 levels.

    Args:
        low: smallest value; 0 if positive.
        high: largest value; 0 if negative.
    """

    def __init__(self, low, high, **kwargs):
        super().__init__(**kwargs)
        self.low, self.high = min(0.0, float(low)), max(0.0, float(high))
        if self.low == self.high:
            # A feature map of zeros; any range represents it.
            self.high = 1.0

    def call(self, inputs):
        """Tensors of any shape."""
        return tf.quantization.fake_quant_with_min_max_args(inputs, self.low, self.high)

    def compute_output_shape(self, input_shape):
        """Rounding keeps the shape."""
        return input_shape


def why_not(model):
    """Why a network cannot compute in integers, or None."""
    if any(isinstance(layer, DeformableConv2D) for layer in model.layers):
        return (
            f"{model.name} samples its feature maps at computed coordinates, which integers would round; "
            "tflite_dynamic keeps them in float"
        )
    return None


def insert(model, ranges):
    """A model with a `FakeQuantize` wherever an int8 file rounds a feature map.

    Args:
        model: a functional model as `fold.fold(model, through_relu=False)` returns it; its layers are shared.
        ranges: `{name: (low, high)}` for every name that `rewrite` gives.
    """
    return rewrite(model, lambda name, tensor: FakeQuantize(*ranges[name])(tensor))


def rewrite(model, quantize):
    """A model that calls `quantize` wherever an int8 file rounds a feature map to a measured range.

    Args:
        model: as in `insert`.
        quantize: `(name, tensor) -> tensor`; the name is that of the layer whose output the tensor is.
    """
    return keras.models.clone_model(
        model, clone_function=lambda layer: layer, call_function=_Rewriting(model, quantize)
    )


def shared_ranges(model):
    """The places that must have one range: TFLite concatenates and averages only integers of one scale.

    Otherwise the converter would round the inputs again.

    Args:
        model: as in `insert`.

    Returns:
        A list of sets of names that `rewrite` gives.
    """
    rewriting = _Rewriting(model, lambda name, tensor: tensor)
    keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=rewriting)
    return rewriting.shared


def read_by_swish(model):
    """Names of the layers whose output nothing but a swish reads; the argument is that of `insert`."""
    return {
        name
        for name, readers in _readers(model).items()
        if all(_activation(reader) is keras.activations.silu for reader in readers)
    }


def is_quantized(operation):
    """Whether it is a layer with a kernel of 8 bits."""
    return isinstance(operation, LINEAR) and operation.name not in FLOAT


def kernel_scale(kernel, axes):
    """The scale of each output channel, `[1, …, 1, channels]`.

    Args:
        kernel: an array.
        axes: all axes but that of the output channels.
    """
    return np.maximum(np.abs(kernel).max(axis=axes, keepdims=True), 1e-12) / LEVELS


def round_kernel(kernel, axes):
    """A kernel rounded to the nearest integers times `kernel_scale`; arguments as there."""
    scale = kernel_scale(kernel, axes)
    return np.round(kernel / scale) * scale


def output_axes(layer):
    """The axes of a layer's kernel over which the weights of one output channel lie."""
    return (0, 1) if isinstance(layer, layers.DepthwiseConv2D) else tuple(range(len(layer.kernel.shape) - 1))


class _Rewriting:
    """Calls the operations of a model again, and rounds what they return."""

    def __init__(self, model, quantize):
        self.quantize = quantize
        self.readers = _readers(model)
        self.unnamed = itertools.count(1)
        self.names, self.shared = {}, []

    def __call__(self, operation, *args, **kwargs):
        activation = _activation(operation)
        if activation is keras.activations.silu:
            # TFLite multiplies by a sigmoid.
            found = args[0] * FakeQuantize(*FIXED[keras.activations.sigmoid])(ops.sigmoid(args[0]))
        else:
            found = operation(*args, **kwargs)
        if activation in FIXED:
            return FakeQuantize(*FIXED[activation])(found)
        if not self._rounds(operation):
            if isinstance(operation, SAME_RANGE):
                self.names[id(found)] = self.names.get(id(args[0]))
            return found
        # Keras numbers operations that are not layers differently in every process.
        named = isinstance(operation, layers.Layer)
        name = operation.name if named else f"operation{next(self.unnamed)}"
        if isinstance(operation, ONE_RANGE):
            self._share([name, *(self.names.get(id(tensor)) for tensor in keras.tree.flatten(args[0]))])
        rounded = self.quantize(name, found)
        self.names[id(rounded)] = name
        return rounded

    def _share(self, names):
        """Notes that places have one range, together with those that share one with any of them."""
        union = set(filter(None, names))
        for group in [group for group in self.shared if group & union]:
            self.shared.remove(group)
            union |= group
        self.shared.append(union)

    def _rounds(self, operation):
        if operation.name in FLOAT or isinstance(operation, SAME_RANGE):
            return False
        readers = self.readers[operation.name]
        return not (len(readers) == 1 and _activation(readers[0]) in FUSED)


def _readers(model):
    """`{name of an operation: [operations that read its output]}`.

    Found by calling them: a layer that models share only knows what it was connected to first.
    """
    sources, readers = {}, collections.defaultdict(list)

    def record(operation, *args, **kwargs):
        for tensor in keras.tree.flatten((args, kwargs)):
            if id(tensor) in sources:
                readers[sources[id(tensor)].name].append(operation)
        found = operation(*args, **kwargs)
        sources[id(found)] = operation
        return found

    keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=record)
    return readers


def _activation(operation):
    return operation.activation if isinstance(operation, layers.Activation) else None

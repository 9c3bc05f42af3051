"""Kernels of 8 bits that answer like the float ones: rounding that knows the layer's inputs.

Rounding every weight to the nearest integer changes the mean of each output channel, and the errors of one
channel's weights add up. Two corrections, both from the first two moments of the inputs of a layer, which are
measured on a few training images, and both free at inference:

* the weights are rounded one after another, and those that are left make up for the error so far (GPTQ,
  Frantar et al., arXiv 2210.17323; the step is that of Optimal Brain Surgeon, Hassibi and Stork 1993);
* the change of the mean that remains goes into the bias (Nagel et al., Data-Free Quantization Through Weight
  Equalization and Bias Correction, arXiv 1906.04721, section 4.2).

What each of them brings is in docs/quantization.md.
"""

import dataclasses

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from recycle_tf.quantization import fake_quantization

BATCH = 8
POSITIONS = 64
"""Places of a feature map that are measured per image, drawn at random. Neighbors say the same."""

LARGEST = 8192
"""Inputs of a layer, kernel positions times channels, above which the covariance takes too much memory:
such a dense layer is rounded to nearest, and its bias corrected."""

DAMPING = 0.01
"""Share of the mean variance that is added to each variance: inputs that never vary have none."""

PRECISION = 1e-5
"""Error of a variance from sums in single precision, as a share of the mean square of the inputs."""

BLOCK = 128
"""Weights that are rounded before the rest of the kernel is updated; only a matter of speed."""


@dataclasses.dataclass(frozen=True)
class Moments:
    """Of the inputs of a layer, as its kernel sees them.

    Attributes:
        mean: `[taps * channels]`; of a depthwise layer `[channels, taps]`.
        covariance: `[taps * channels, taps * channels]`; of a depthwise layer `[channels, taps, taps]`; None
            above `LARGEST`.
    """

    mean: np.ndarray
    covariance: np.ndarray | None


def round_kernels(model, images):
    """Rounds the kernels of a model in place to 8 bits, and corrects its biases.

    Args:
        model: a functional model without batch normalization, whose layers have biases.
        images: uint8 training images, `[examples, image_size, image_size, 3]`.
    """
    for layer, moments in measure(model, images).items():
        kernel, bias = layer.get_weights()
        rounded, change = round_kernel(layer, np.float64(kernel), moments)
        layer.set_weights([np.float32(rounded), np.float32(bias + change)])


def round_to_nearest(model):
    """Rounds the kernels of a model in place to 8 bits, each weight to the nearest integer.

    Args:
        model: as in `round_kernels`.
    """
    for layer in model.layers:
        if fake_quantization.is_quantized(layer):
            kernel, bias = layer.get_weights()
            rounded = fake_quantization.round_kernel(np.float64(kernel), fake_quantization.output_axes(layer))
            layer.set_weights([np.float32(rounded), bias])


def measure(model, images):
    """The moments of the inputs of every layer that computes in integers.

    Args:
        model: as in `round_kernels`.
        images: as in `round_kernels`.

    Returns:
        `{layer: Moments}`.
    """
    inputs = {}

    def record(operation, *args, **kwargs):
        if fake_quantization.is_quantized(operation):
            inputs[operation] = args[0]
        return operation(*args, **kwargs)

    copy = keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=record)
    watched = keras.Model(copy.input, list(inputs.values()))

    @tf.function
    def sums(pixels):
        found = keras.tree.flatten(watched(pixels, training=False))
        return [_sums(layer, tensor) for layer, tensor in zip(inputs, found, strict=True)]

    total = None
    for start in range(0, len(images), BATCH):
        batch = sums(tf.constant(images[start : start + BATCH], tf.float32))
        if total is None:
            total = [[np.array(one, np.float64) for one in layer] for layer in batch]
            continue
        # In place: the products of all layers together take gigabytes.
        for own, more in zip(keras.tree.flatten(total), keras.tree.flatten(batch), strict=True):
            np.add(own, more, out=own)
    return {layer: _moments(*total.pop(0)) for layer in inputs}


def compensate(weights, covariance):
    """Rounds weights to the integers -127..127 times a scale, so that the outputs change least.

    Args:
        weights: `[…, inputs, outputs]`.
        covariance: of the inputs, `[…, inputs, inputs]`.

    Returns:
        The rounded weights. The scale of an output is its largest weight divided by 127; that weight stays as
        it is, so that the converter finds the same scale.
    """
    levels, count = fake_quantization.LEVELS, weights.shape[-2]
    scale = fake_quantization.kernel_scale(weights, -2)[..., 0, :]
    largest, original = np.abs(weights).argmax(axis=-2), weights
    weights = weights.copy()
    variance = np.einsum("...ii->...i", covariance).mean(axis=-1)
    damped = covariance + (DAMPING * np.maximum(variance, 1e-9))[..., None, None] * np.eye(count)
    # Row i: what a unit error of weight i is best made up for with in the weights behind it.
    remedy = np.swapaxes(np.linalg.cholesky(np.linalg.inv(damped)), -1, -2)
    for start in range(0, count, BLOCK):
        end = min(count, start + BLOCK)
        errors = np.zeros_like(weights[..., start:end, :])
        for i in range(start, end):
            exact = weights[..., i, :]
            rounded = np.clip(np.round(exact / scale), -levels, levels) * scale
            rounded = np.where(largest == i, original[..., i, :], rounded)
            error = (exact - rounded) / remedy[..., i, i, None]
            weights[..., i, :] = rounded
            weights[..., i + 1 : end, :] -= remedy[..., i, i + 1 : end, None] * error[..., None, :]
            errors[..., i - start, :] = error
        weights[..., end:, :] -= np.swapaxes(remedy[..., start:end, end:], -1, -2) @ errors
    return weights


def round_kernel(layer, kernel, moments):
    """Rounds the kernel of a layer.

    Args:
        layer: decides what the axes of the kernel mean.
        kernel: its kernel, in double precision.
        moments: of its inputs; without a covariance, the kernel is rounded to nearest.

    Returns:
        The rounded kernel, and what the bias must change by, `[output channels]`.
    """
    if isinstance(layer, layers.DepthwiseConv2D):
        # One small problem per channel.
        weights = kernel.reshape(-1, *kernel.shape[2:]).transpose(1, 0, 2)
        rounded = _round(weights, moments.covariance)
        change = np.einsum("cto,ct->co", weights - rounded, moments.mean).ravel()
        return rounded.transpose(1, 0, 2).reshape(kernel.shape), change
    weights = kernel.reshape(-1, kernel.shape[-1])
    rounded, change = np.empty_like(weights), np.empty(weights.shape[-1])
    for inputs, outputs in _groups(kernel, getattr(layer, "groups", 1)):
        covariance = moments.covariance
        if covariance is not None:
            covariance = covariance[np.ix_(inputs, inputs)]
        rounded[:, outputs] = _round(weights[:, outputs], covariance)
        change[outputs] = moments.mean[inputs] @ (weights - rounded)[:, outputs]
    return rounded.reshape(kernel.shape), change


def _round(weights, covariance):
    if covariance is None:
        return fake_quantization.round_kernel(weights, -2)
    return compensate(weights, covariance)


def _groups(kernel, groups):
    """Of each group of filters: indices of its inputs, tap by tap, and of its outputs."""
    taps, channels = np.prod(kernel.shape[:-2], dtype=int), kernel.shape[-2]
    inputs = np.arange(taps * channels * groups).reshape(taps, groups, channels)
    outputs = np.arange(kernel.shape[-1]).reshape(groups, -1)
    return [(inputs[:, group].ravel(), outputs[group]) for group in range(groups)]


def _sums(layer, tensor):
    """Count, sum and sum of products of a layer's inputs, at places drawn at random."""
    patches = _patches(layer, tensor)
    count = tf.shape(patches)[0]
    drawn = tf.random.experimental.stateless_shuffle(tf.range(count), seed=[0, 0])
    patches = tf.gather(patches, drawn[: POSITIONS * tf.shape(tensor)[0]])
    count = tf.cast(tf.shape(patches)[0], tf.float32)
    if isinstance(layer, layers.DepthwiseConv2D):
        patches = tf.transpose(patches, [2, 0, 1])
    else:
        patches = tf.reshape(patches, [-1, np.prod(patches.shape[1:])])
    sums = tf.reduce_sum(patches, axis=-2)
    if sums.shape[-1] > LARGEST:
        return count, sums
    return count, sums, tf.matmul(patches, patches, transpose_a=True)


def _patches(layer, tensor):
    """What a kernel is multiplied with, `[places, taps, channels]`."""
    if isinstance(layer, layers.Dense):
        return tf.reshape(tensor, [-1, 1, tensor.shape[-1]])
    (height, width), (down, right) = layer.kernel_size, layer.strides
    if height == width == 1:
        patches = tensor[:, ::down, ::right]
    else:
        patches = tf.image.extract_patches(
            tensor, [1, height, width, 1], [1, down, right, 1], [1, 1, 1, 1], layer.padding.upper()
        )
    return tf.reshape(patches, [-1, height * width, tensor.shape[-1]])


def _moments(count, sums, products=None):
    mean = sums / count
    if products is None:
        return Moments(mean, None)
    covariance = products / count - mean[..., :, None] * mean[..., None, :]
    # Of inputs that hardly vary, rounding errors remain, which can be negative.
    matrices = (products / count, covariance)
    squares, variance = (np.einsum("...ii->...i", one).mean(axis=-1) for one in matrices)
    floor = np.maximum(PRECISION * squares - DAMPING * variance, 0)
    return Moments(mean, covariance + floor[..., None, None] * np.eye(mean.shape[-1]))

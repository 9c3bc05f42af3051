"""The vocabulary of every model: what a convolution, a norm, a gate and a head mean in this package.

Everything is a function from one symbolic tensor to another, channels last, `[batch, height, width,
channels]`. The rules that make the published parameter counts come out stand here and nowhere else:

* no bias before batch normalisation;
* strided convolutions and poolings pad symmetrically (`padding="symmetric"`, as the original Caffe and
  Torch networks do) unless a family asks for TensorFlow's `"same"`, which pads the far side only;
* kernels start from He's normal distribution over the fan-out (arXiv 1502.01852, equation 14), which is
  also right for depthwise kernels, whose fan-in Keras overestimates by the number of channels.
"""

import keras
import numpy as np
from keras import layers

BATCH_NORM_MOMENTUM = 0.9
"""Decay of the moving statistics. Keras' 0.99 needs about 500 steps to forget its start: nine epochs of
a set of 1,768 photographs."""

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
"""Mean and standard deviation of ImageNet's RGB pixels, 0..255: the units most published weights expect."""


RATES = ((r".*_offset$", 0.1),)
"""Layers that learn more slowly in every training, by the pattern of their names, and how much more."""


GREY_MEAN, GREY_STD = (127.5,), (127.5,)
"""For pictures of one channel: 0..255 becomes -1..1."""


def image_input(image_size, mean=IMAGENET_MEAN, std=IMAGENET_STD):
    """Opens a model: the input and its normalisation.

    Args:
        image_size: height and width in pixels, or None to leave both open.
        mean: of each channel, in pixel units 0..255; there are as many channels as means.
        std: of each channel, in pixel units.

    Returns:
        The input tensor (RGB 0..255, float32; uint8 is cast) and the normalised tensor. The layer
        between them is called `preprocess`; its constants belong to the weights, its place does not
        depend on them.
    """
    inputs = layers.Input((image_size, image_size, len(mean)), name="image")
    # float32 whatever the precision policy: bfloat16 cannot tell neighbouring pixel values apart.
    normalise = layers.Rescaling(
        scale=[1 / s for s in std],
        offset=[-m / s for m, s in zip(mean, std, strict=True)],
        dtype="float32",
        name="preprocess",
    )
    return inputs, normalise(inputs)


def conv(x, filters, kernel_size, strides=1, *, padding="symmetric", groups=1, use_bias=False, name):
    """Convolution with this package's padding and initialisation."""
    x, padding = _pad(x, kernel_size, strides, padding, name)
    return layers.Conv2D(
        filters,
        kernel_size,
        strides,
        padding,
        groups=groups,
        use_bias=use_bias,
        kernel_initializer=_he_normal(),
        name=name,
    )(x)


def depthwise_conv(x, kernel_size, strides=1, *, padding="symmetric", name):
    """One kernel a channel."""
    x, padding = _pad(x, kernel_size, strides, padding, name)
    return layers.DepthwiseConv2D(
        kernel_size,
        strides,
        padding,
        use_bias=False,
        depthwise_initializer=_he_normal(),
        name=name,
    )(x)


def norm(x, *, epsilon=1e-5, name):
    """Batch normalisation."""
    return layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, epsilon=epsilon, name=f"{name}_norm")(x)


def norm_act(x, activation="relu", *, epsilon=1e-5, name):
    """Norm -> activation; `activation=None` leaves it linear."""
    x = norm(x, epsilon=epsilon, name=name)
    return x if activation is None else act(x, activation, name=name)


def act(x, activation="relu", *, name):
    """The activation as a layer of its own, so that it has a name to look at."""
    return layers.Activation(activation, name=f"{name}_act")(x)


def conv_act(x, filters, kernel_size, strides=1, *, activation="relu", padding="symmetric", groups=1, name):
    """Conv with a bias -> activation: the block of the networks before batch normalisation."""
    x = conv(x, filters, kernel_size, strides, padding=padding, groups=groups, use_bias=True, name=name)
    return act(x, activation, name=name)


def conv_norm_act(
    x,
    filters,
    kernel_size,
    strides=1,
    *,
    activation="relu",
    padding="symmetric",
    groups=1,
    epsilon=1e-5,
    name,
):
    """Conv -> norm -> activation."""
    x = conv(x, filters, kernel_size, strides, padding=padding, groups=groups, name=name)
    return norm_act(x, activation, epsilon=epsilon, name=name)


def max_pool(x, pool_size, strides, *, padding="symmetric", name):
    """Overlapping maximum; zeros are a neutral border because a ReLU comes before it."""
    x, padding = _pad(x, pool_size, strides, padding, name)
    return layers.MaxPooling2D(pool_size, strides, padding, name=name)(x)


def local_response_norm(x, *, radius=2, bias=2.0, alpha=1e-4, beta=0.75, name):
    """Divides by the energy of the `2 radius + 1` neighbouring maps: x / (bias + alpha sum x^2)^beta.

    Krizhevsky et al., ImageNet Classification with Deep Convolutional Neural Networks, section 3.3. The sum
    over neighbours is an average pooling along the channels, made one of the two pooled axes.
    """
    height, width, channels = x.shape[1:]
    window = 2 * radius + 1
    energy = layers.Reshape((height * width, channels, 1), name=f"{name}_unfold")(x)
    energy = layers.Multiply(name=f"{name}_square")([energy, energy])
    energy = layers.ZeroPadding2D(((0, 0), (radius, radius)), name=f"{name}_pad")(energy)
    energy = layers.AveragePooling2D((1, window), 1, name=f"{name}_mean")(energy)
    energy = layers.Reshape((height, width, channels), name=f"{name}_fold")(energy)
    return x * keras.ops.power(bias + alpha * window * energy, -beta)


def squeeze_excite(x, squeezed_filters, *, activation="relu", name):
    """Global average -> 1x1 (squeeze) -> activation -> 1x1 -> sigmoid -> scale the channels.

    Hu et al., Squeeze-and-Excitation Networks, arXiv 1709.01507, figure 2. The average keeps its two
    spatial axes so that the exported graph needs no reshaping.
    """
    gate = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(x)
    gate = conv(gate, squeezed_filters, 1, use_bias=True, name=f"{name}_reduce")
    gate = act(gate, activation, name=f"{name}_reduce")
    gate = conv(gate, x.shape[-1], 1, use_bias=True, name=f"{name}_expand")
    gate = act(gate, "sigmoid", name=f"{name}_expand")
    return layers.Multiply(name=f"{name}_excite")([x, gate])


def head(x, num_classes, drop_rate=0.0):
    """Features -> global average -> dropout -> logits.

    Args:
        x: the last feature map; the layer called `features` is where Grad-CAM and fine-tuning look.
        num_classes: width of the logits.
        drop_rate: probability of dropping a pooled feature in training.

    Returns:
        float32 logits `[batch, num_classes]`, whatever the precision policy.
    """
    x = layers.Identity(name="features")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    if drop_rate:
        x = layers.Dropout(drop_rate, name="dropout")(x)
    return logits(x, num_classes)


def dense_head(x, num_classes, units, drop_rate=0.0, activation="relu"):
    """Features -> flattened -> hidden dense layers of `units`, each with dropout -> logits."""
    x = layers.Identity(name="features")(x)
    x = layers.Flatten(name="flatten")(x)
    for number, width in enumerate(units, start=1):
        name = f"head_dense{number}"
        x = layers.Dense(width, kernel_initializer=_he_normal(), name=name)(x)
        x = act(x, activation, name=name)
        if drop_rate:
            x = layers.Dropout(drop_rate, name=f"{name}_dropout")(x)
    return logits(x, num_classes)


def logits(x, num_classes, name="logits"):
    """The last dense layer, in float32 whatever the precision policy."""
    return layers.Dense(num_classes, dtype="float32", name=name)(x)


@keras.saving.register_keras_serializable("recycle_tf")
class DropPath(layers.Layer):
    """Drops a residual branch for some of the images of a batch, in training only.

    Huang et al., Deep Networks with Stochastic Depth, arXiv 1603.09382. What is kept is divided by the
    probability of keeping, so that the expectation does not depend on the mode.

    Args:
        rate: probability of dropping, 0 <= rate < 1.
        seed: of the draws.
    """

    def __init__(self, rate, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=False):
        """Zeroes whole examples of `inputs`, `[batch, height, width, channels]`."""
        if not training or not self.rate:
            return inputs
        shape = (keras.ops.shape(inputs)[0],) + (1,) * (len(inputs.shape) - 1)
        keep = 1 - self.rate
        draw = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        return inputs * keras.ops.cast(draw < keep, inputs.dtype) / keep

    def compute_output_shape(self, input_shape):
        """A branch keeps its shape."""
        return input_shape

    def get_config(self):
        """Arguments that make the same layer."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


def deformable_conv(x, filters, kernel_size, strides=1, *, modulated=False, name):
    """A convolution that looks where a second convolution tells it to.

    The second one, `NAME_offset`, starts at zero, so that training begins on the regular grid; it learns at
    a tenth of the rate (`RATES`). With `modulated` it also says how much each sample counts, between 0 and
    1; one half at first.
    """
    taps = kernel_size**2
    where = layers.Conv2D(
        (3 if modulated else 2) * taps,
        kernel_size,
        strides,
        padding="valid",
        kernel_initializer="zeros",
        # Coordinates in bfloat16 would be off by pixels on large maps.
        dtype="float32",
        name=f"{name}_offset",
    )(layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_offset_pad")(x))
    return DeformableConv2D(filters, kernel_size, strides, modulated=modulated, name=name)([x, where])


@keras.saving.register_keras_serializable("recycle_tf")
class DeformableConv2D(layers.Layer):
    """Convolution over bilinear samples at offsets from the regular grid; zeros outside the map.

    Dai et al., Deformable Convolutional Networks, arXiv 1703.06211, equations 2 and 3; with `modulated`, Zhu
    et al., Deformable ConvNets v2, arXiv 1811.11168, equation 1. Symmetric padding, no bias.

    Its inputs are the map `[batch, height, width, channels]` and the offsets `[batch, height / strides,
    width / strides, 2 taps]`, in pixels, (y, x) for each tap row by row; with `modulated` `taps` logits of
    the modulation follow.

    Args:
        filters: width of the output.
        kernel_size: of the square kernel; taps are its square.
        strides: of the regular grid.
        modulated: whether samples are weighted.
    """

    def __init__(self, filters, kernel_size, strides=1, modulated=False, **kwargs):
        # Places stay float32 under mixed precision: bfloat16 would move them by half a pixel.
        super().__init__(autocast=False, **kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.modulated = modulated

    def build(self, input_shape):
        """Makes the kernel `[kernel_size, kernel_size, channels, filters]`."""
        shape = (self.kernel_size, self.kernel_size, input_shape[0][-1], self.filters)
        self.kernel = self.add_weight(shape=shape, initializer=_he_normal(), name="kernel")

    def call(self, inputs):
        """Samples the map and multiplies the samples with the kernel."""
        ops, (x, where) = keras.ops, inputs
        x, where = ops.cast(x, self.compute_dtype), ops.cast(where, "float32")
        rows, columns, taps = where.shape[1], where.shape[2], self.kernel_size**2
        offsets = ops.reshape(where[..., : 2 * taps], (-1, rows, columns, taps, 2))
        tap = np.arange(self.kernel_size) - self.kernel_size // 2
        y = np.arange(rows)[:, None, None] * self.strides + np.repeat(tap, self.kernel_size)
        x_ = np.arange(columns)[None, :, None] * self.strides + np.tile(tap, self.kernel_size)
        grid = np.stack(np.broadcast_arrays(y, x_), axis=-1).astype("float32")
        samples = self._sample(x, offsets + grid[None])
        if self.modulated:
            samples = samples * ops.cast(ops.sigmoid(where[..., 2 * taps :, None]), samples.dtype)
        samples = ops.reshape(samples, (-1, rows, columns, taps * x.shape[-1]))
        return ops.matmul(samples, ops.cast(ops.reshape(self.kernel, (-1, self.filters)), samples.dtype))

    def _sample(self, x, places):
        """Bilinear samples of `x` at `places`, (y, x) in pixels: `[..., 2]` to `[..., channels]`."""
        ops, (height, width, channels) = keras.ops, x.shape[1:]
        # One row and column of zeros before the map, two behind it: a place clipped to -1..height has its
        # four neighbours there.
        padded = ops.reshape(ops.pad(x, ((0, 0), (1, 2), (1, 2), (0, 0))), (-1, channels))
        places = ops.clip(places, -1.0, np.float32([height, width])) + 1.0
        low = ops.floor(places)
        high_share = places - low
        low = ops.cast(low, "int32")
        stride = width + 3
        image = ops.arange(ops.shape(x)[0], dtype="int32") * ((height + 3) * stride)
        first = low[..., 0] * stride + low[..., 1] + image[:, None, None, None]
        found = 0.0
        for below in (0, 1):
            for right in (0, 1):
                share = [
                    high_share[..., i] if far else 1.0 - high_share[..., i]
                    for i, far in ((0, below), (1, right))
                ]
                values = ops.take(padded, first + (below * stride + right), axis=0)
                found = found + values * ops.cast((share[0] * share[1])[..., None], values.dtype)
        return found

    def compute_output_shape(self, input_shape):
        """As many places as there are offsets."""
        return (*input_shape[1][:-1], self.filters)

    def get_config(self):
        """Arguments that make the same layer."""
        names = ("filters", "kernel_size", "strides", "modulated")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def drop_path_rates(rate, depth):
    """`depth` rates growing linearly from 0 at the first block to `rate` at the last."""
    return [rate * block / max(1, depth - 1) for block in range(depth)]


def add_residual(x, branch, drop_path_rate=0.0, *, name):
    """`x + branch`, the branch dropped with probability `drop_path_rate` in training."""
    if drop_path_rate:
        branch = DropPath(drop_path_rate, name=f"{name}_drop_path")(branch)
    return layers.Add(name=f"{name}_add")([x, branch])


def _pad(x, kernel_size, strides, padding, name):
    """Resolves `padding`: "symmetric", "same", "valid", "ceil" or a number of pixels on each side.

    "ceil" adds behind the map what its last window lacks, and nothing before it.
    """
    if padding in ("same", "valid"):
        return x, padding
    if padding == "ceil":
        lacking = tuple((0, (kernel_size - size) % strides) for size in x.shape[1:3])
        return layers.ZeroPadding2D(lacking, name=f"{name}_pad")(x), "valid"
    pixels = kernel_size // 2 if padding == "symmetric" else padding
    # At stride 1 TensorFlow's "same" is symmetric already, for kernels of odd size.
    if strides == 1 and pixels == kernel_size // 2:
        return x, "same"
    return layers.ZeroPadding2D(pixels, name=f"{name}_pad")(x), "valid"


def _he_normal():
    # A new one each time: a Keras initialiser gives equal values for equal shapes.
    return keras.initializers.VarianceScaling(2.0, mode="fan_out", distribution="truncated_normal")

"""Building blocks shared by all models: convolutions, normalization, heads, and custom layers.

The functions take and return symbolic tensors `[batch, height, width, channels]`. Three rules apply where a
family says nothing else:

* A convolution followed by batch normalization has no bias (VGG's have one).
* Strided convolutions and pooling layers pad symmetrically (`padding="symmetric"`), as the original Caffe and
  Torch networks do, unless a family asks for TensorFlow's `"same"`, which pads more at the bottom and right.
* Kernels of convolutions are initialized from He's normal distribution over the fan-out (arXiv 1502.01852,
  equation 14). This is also correct for depthwise kernels, whose fan-in Keras overestimates by a factor of
  their channels. Classifiers and gates have Keras' default, and offsets start at zero.
"""

import keras
import numpy as np
from keras import layers

BATCH_NORM_MOMENTUM = 0.9
"""Decay of the moving statistics per step. Keras' default of 0.99 needs about 500 steps to forget the initial
values, which is nine epochs of a dataset of 1,768 images."""


IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
"""Mean and standard deviation of ImageNet's RGB pixels in 0..255; most published weights expect them."""


GRAY_MEAN, GRAY_STD = (127.5,), (127.5,)
"""Normalization of grayscale images: maps 0..255 to -1..1."""


LEARNING_RATE_MULTIPLIERS = ((r".*_offset$", 0.1),)
"""Pairs of a layer name pattern and a learning rate multiplier, applied in every run.

Deformable ConvNets v2 (arXiv 1811.11168) trains the layers that predict offsets at 0.1 of the learning rate.
"""


def image_input(image_size, mean=IMAGENET_MEAN, std=IMAGENET_STD):
    """Input -> normalization.

    Args:
        image_size: height and width in pixels.
        mean: mean of each channel, in pixel units 0..255. Its length is the number of channels.
        std: standard deviation of each channel, in pixel units.

    Returns:
        The input tensor `[batch, height, width, channels]` (0..255, float32; uint8 is cast) and the
        normalized tensor. The layer between them, a `Rescaling`, is called `preprocess`. Loading weights
        replaces its constants by those that the weights were trained with.
    """
    inputs = layers.Input((image_size, image_size, len(mean)), name="image")
    # float32 under every precision policy: bfloat16 cannot represent all pixel values.
    normalize = layers.Rescaling(
        scale=[1 / s for s in std],
        offset=[-m / s for m, s in zip(mean, std, strict=True)],
        dtype="float32",
        name="preprocess",
    )
    return inputs, normalize(inputs)


def conv(x, filters, kernel_size, strides=1, *, padding="symmetric", groups=1, use_bias=False, name):
    """Convolution with this package's padding and initialization.

    Args:
        x: input, `[batch, height, width, channels]`.
        filters: number of output channels.
        kernel_size: height and width of the kernel.
        strides: stride in both directions.
        padding: `"symmetric"` (`kernel_size // 2` pixels on each side), `"same"`, `"valid"`, `"ceil"` (bottom
            and right only, as much as the last window needs), or a number of pixels on each side.
        groups: number of groups into which channels are divided.
        use_bias: add a bias.
        name: name of the layer.
    """
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
    """Depthwise convolution: one kernel per channel, no bias. Arguments as in `conv`."""
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
    """Batch normalization."""
    return layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, epsilon=epsilon, name=f"{name}_norm")(x)


def norm_act(x, activation="relu", *, epsilon=1e-5, name):
    """Norm -> activation; only the norm if `activation` is None."""
    x = norm(x, epsilon=epsilon, name=name)
    return x if activation is None else act(x, activation, name=name)


def act(x, activation="relu", *, name):
    """Activation as a separate layer, so that its output can be addressed by name."""
    return layers.Activation(activation, name=f"{name}_act")(x)


def conv_act(x, filters, kernel_size, strides=1, *, activation="relu", padding="symmetric", groups=1, name):
    """Conv with a bias -> activation, as in networks without batch normalization."""
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
    epsilon=1e-5,
    name,
):
    """Conv -> norm -> activation; no activation if `activation` is None."""
    x = conv(x, filters, kernel_size, strides, padding=padding, name=name)
    return norm_act(x, activation, epsilon=epsilon, name=name)


def max_pool(x, pool_size, strides, *, padding="symmetric", name):
    """Max pooling with this package's padding.

    The border is padded with zeros, which cannot exceed the maximum because the input comes from a ReLU.
    """
    x, padding = _pad(x, pool_size, strides, padding, name)
    return layers.MaxPooling2D(pool_size, strides, padding, name=name)(x)


def local_response_norm(x, *, radius=2, bias=2.0, alpha=1e-4, beta=0.75, name):
    """Local response normalization: x / (bias + alpha sum x^2)^beta, the sum over `2 radius + 1` channels.

    Krizhevsky et al., ImageNet Classification with Deep Convolutional Neural Networks, section 3.3. The sum
    over neighboring channels is an average pooling after a reshape that makes the channels a spatial axis.
    """
    height, width, channels = x.shape[1:]
    window = 2 * radius + 1
    energy = layers.Reshape((height * width, channels, 1), name=f"{name}_unfold")(x)
    energy = layers.Multiply(name=f"{name}_square")([energy, energy])
    energy = layers.ZeroPadding2D(((0, 0), (radius, radius)), name=f"{name}_pad")(energy)
    energy = layers.AveragePooling2D((1, window), 1, name=f"{name}_mean")(energy)
    energy = layers.Reshape((height, width, channels), name=f"{name}_fold")(energy)
    return x * keras.ops.power(bias + alpha * window * energy, -beta)


def squeeze_excite(x, reduced_filters, *, activation="relu", name):
    """Squeeze: global average. Excitation: 1x1 (reduce) -> activation -> 1x1 (expand) -> sigmoid -> scale.

    Hu et al., Squeeze-and-Excitation Networks, arXiv 1709.01507, figure 2. The 1x1 convolutions are the
    paper's fully connected layers. The average keeps its two spatial axes, so that the exported graph needs
    no reshape.

    Args:
        x: feature map `[batch, height, width, channels]`.
        reduced_filters: channels between the two 1x1 convolutions.
        activation: activation between them.
        name: prefix of the layer names.
    """
    gate = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(x)
    gate = conv(gate, reduced_filters, 1, use_bias=True, name=f"{name}_reduce")
    gate = act(gate, activation, name=f"{name}_reduce")
    gate = conv(gate, x.shape[-1], 1, use_bias=True, name=f"{name}_expand")
    gate = act(gate, "sigmoid", name=f"{name}_expand")
    return layers.Multiply(name=f"{name}_excite")([x, gate])


def head(x, num_classes, drop_rate=0.0):
    """Features -> global average pooling -> dropout -> logits.

    Args:
        x: the last feature map. It passes through a layer called `features`, which Grad-CAM and fine-tuning
            refer to.
        num_classes: number of logits.
        drop_rate: probability of dropping a pooled feature in training.

    Returns:
        Logits `[batch, num_classes]`, float32 under every precision policy.
    """
    x = layers.Identity(name="features")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    if drop_rate:
        x = layers.Dropout(drop_rate, name="dropout")(x)
    return logits(x, num_classes)


def dense_head(x, num_classes, units, drop_rate=0.0, activation="relu"):
    """Features -> flatten -> (dense -> activation -> dropout) for each of `units` -> logits.

    Arguments and result as in `head`; `units` lists the widths of the hidden dense layers.
    """
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
    """Final dense layer, float32 under every precision policy."""
    return layers.Dense(num_classes, dtype="float32", name=name)(x)


@keras.saving.register_keras_serializable("recycle_tf")
class DropPath(layers.Layer):
    """Stochastic depth: in training, drops a residual branch for random examples of a batch.

    Huang et al., Deep Networks with Stochastic Depth, arXiv 1603.09382. Branches that are not dropped are
    divided by `1 - rate`, so that the expected value is the same in training and inference.

    Args:
        rate: probability of dropping the branch, 0 <= rate < 1.
        seed: seed of the random generator.
    """

    def __init__(self, rate, seed=None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"drop_path_rate={rate}: expected 0 <= rate < 1")
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=False):
        """Sets random examples of `inputs`, `[batch, height, width, channels]`, to zero in training."""
        if not training or not self.rate:
            return inputs
        shape = (keras.ops.shape(inputs)[0],) + (1,) * (len(inputs.shape) - 1)
        keep = 1 - self.rate
        draw = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        return inputs * keras.ops.cast(draw < keep, inputs.dtype) / keep

    def compute_output_shape(self, input_shape):
        """The shape of the input."""
        return input_shape

    def get_config(self):
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


def deformable_conv(x, filters, kernel_size, strides=1, *, modulated=False, name):
    """Conv to offsets -> deformable convolution.

    The kernel of the convolution that predicts the offsets, `NAME_offset`, starts at zero, so that training
    begins with a regular sampling grid. Its learning rate is multiplied by 0.1 (`LEARNING_RATE_MULTIPLIERS`).

    Args:
        x: feature map `[batch, height, width, channels]`.
        filters: number of output channels.
        kernel_size: height and width of both kernels.
        strides: stride in both directions.
        modulated: also predict a weight in 0..1 for each sample (version 2). It starts at 0.5.
        name: name of the deformable convolution.
    """
    taps = kernel_size**2
    offsets = layers.Conv2D(
        (3 if modulated else 2) * taps,
        kernel_size,
        strides,
        padding="valid",
        kernel_initializer="zeros",
        # bfloat16 would round offsets on large feature maps by a pixel or more.
        dtype="float32",
        name=f"{name}_offset",
    )(layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_offset_pad")(x))
    return DeformableConv2D(filters, kernel_size, strides, modulated=modulated, name=name)([x, offsets])


@keras.saving.register_keras_serializable("recycle_tf")
class DeformableConv2D(layers.Layer):
    """Convolution that samples its input bilinearly at learned offsets from the regular grid.

    Dai et al., Deformable Convolutional Networks, arXiv 1703.06211, equations 2 and 3; with `modulated`, Zhu
    et al., Deformable ConvNets v2, arXiv 1811.11168, equation 1. Symmetric zero padding, no bias.

    Inputs are a feature map `[batch, height, width, channels]` and offsets `[batch, height / strides,
    width / strides, 2 taps]` in pixels, (y, x) for each tap in row-major order. With `modulated`, the logits
    of the `taps` modulation weights follow in the last axis.

    Args:
        filters: number of output channels.
        kernel_size: height and width of the kernel; it has `kernel_size ** 2` taps.
        strides: stride of the regular grid.
        modulated: weight each sample by the sigmoid of a modulation logit.
    """

    def __init__(self, filters, kernel_size, strides=1, modulated=False, **kwargs):
        # Positions stay float32 in mixed precision: bfloat16 would round them by half a pixel or more.
        super().__init__(autocast=False, **kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.modulated = modulated

    def build(self, input_shape):
        """Creates the kernel `[kernel_size, kernel_size, channels, filters]`."""
        shape = (self.kernel_size, self.kernel_size, input_shape[0][-1], self.filters)
        self.kernel = self.add_weight(shape=shape, initializer=_he_normal(), name="kernel")

    def call(self, inputs):
        """Samples the feature map at grid + offsets and multiplies the samples by the kernel."""
        ops, (x, offsets) = keras.ops, inputs
        x, offsets = ops.cast(x, self.compute_dtype), ops.cast(offsets, "float32")
        rows, columns, taps = offsets.shape[1], offsets.shape[2], self.kernel_size**2
        samples = self._sample(x, self.positions(offsets))
        if self.modulated:
            samples = samples * ops.cast(ops.sigmoid(offsets[..., 2 * taps :, None]), samples.dtype)
        samples = ops.reshape(samples, (-1, rows, columns, taps * x.shape[-1]))
        return ops.matmul(samples, ops.cast(ops.reshape(self.kernel, (-1, self.filters)), samples.dtype))

    def positions(self, offsets):
        """Where the input is sampled, (y, x) in pixels of the feature map: `[batch, rows, columns, taps, 2]`.

        Args:
            offsets: float32, as the layer takes them.
        """
        rows, columns, taps = offsets.shape[1], offsets.shape[2], self.kernel_size**2
        shifts = keras.ops.reshape(offsets[..., : 2 * taps], (-1, rows, columns, taps, 2))
        return shifts + self._grid(rows, columns)

    def _grid(self, rows, columns):
        """Positions (y, x) of the taps of a regular convolution, `[1, rows, columns, taps, 2]`."""
        tap = np.arange(self.kernel_size) - self.kernel_size // 2
        y = np.arange(rows)[:, None, None] * self.strides + np.repeat(tap, self.kernel_size)
        x = np.arange(columns)[None, :, None] * self.strides + np.tile(tap, self.kernel_size)
        return np.stack(np.broadcast_arrays(y, x), axis=-1).astype("float32")[None]

    def _sample(self, x, positions):
        """Samples `x` bilinearly at `positions`, (y, x) in pixels: `[..., 2]` -> `[..., channels]`."""
        ops, (height, width, channels) = keras.ops, x.shape[1:]
        # One row and column of zeros before the feature map and two after it, so that the four neighbors of
        # a position clipped to -1..height exist.
        padded = ops.reshape(ops.pad(x, ((0, 0), (1, 2), (1, 2), (0, 0))), (-1, channels))
        positions = ops.clip(positions, -1.0, np.float32([height, width])) + 1.0
        corner = ops.floor(positions)
        fraction = positions - corner
        corner = ops.cast(corner, "int32")
        row_length = width + 3
        image = ops.arange(ops.shape(x)[0], dtype="int32") * ((height + 3) * row_length)
        top_left = corner[..., 0] * row_length + corner[..., 1] + image[:, None, None, None]
        total = 0.0
        for below in (0, 1):
            for right in (0, 1):
                weight = [
                    fraction[..., axis] if far else 1.0 - fraction[..., axis]
                    for axis, far in ((0, below), (1, right))
                ]
                values = ops.take(padded, top_left + (below * row_length + right), axis=0)
                total = total + values * ops.cast((weight[0] * weight[1])[..., None], values.dtype)
        return total

    def compute_output_shape(self, input_shape):
        """Height and width of the offsets, `filters` channels."""
        return (*input_shape[1][:-1], self.filters)

    def get_config(self):
        """Returns the arguments of the constructor."""
        names = ("filters", "kernel_size", "strides", "modulated")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def drop_path_rates(rate, depth):
    """`depth` probabilities that increase linearly from 0 for the first block to `rate` for the last.

    Stochastic depth (arXiv 1603.09382, equation 4) begins at `rate / depth`; the EfficientNets' own program
    begins at 0 and ends one step before `rate`.
    """
    return [rate * block / max(1, depth - 1) for block in range(depth)]


def add_residual(x, branch, drop_path_rate=0.0, *, name):
    """`x + branch`; in training, the branch is dropped with probability `drop_path_rate`."""
    if drop_path_rate:
        branch = DropPath(drop_path_rate, name=f"{name}_drop_path")(branch)
    return layers.Add(name=f"{name}_add")([x, branch])


def _pad(x, kernel_size, strides, padding, name):
    """Pads `x` as `conv` documents and returns it with the padding left to the Keras layer."""
    if padding in ("same", "valid"):
        return x, padding
    if padding == "ceil":
        missing = tuple((0, (kernel_size - size) % strides) for size in x.shape[1:3])
        return layers.ZeroPadding2D(missing, name=f"{name}_pad")(x), "valid"
    pixels = kernel_size // 2 if padding == "symmetric" else padding
    # With stride 1 and an odd kernel, TensorFlow's "same" is symmetric.
    if strides == 1 and pixels == kernel_size // 2:
        return x, "same"
    return layers.ZeroPadding2D(pixels, name=f"{name}_pad")(x), "valid"


def _he_normal():
    # A new instance per layer: a Keras initializer returns the same values for the same shape.
    return keras.initializers.VarianceScaling(2.0, mode="fan_out", distribution="truncated_normal")

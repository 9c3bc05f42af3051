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
from keras import layers

BATCH_NORM_MOMENTUM = 0.9
"""Decay of the moving statistics. Keras' 0.99 needs about 500 steps to forget its start: nine epochs of
a set of 1,768 photographs."""

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
"""Mean and standard deviation of ImageNet's RGB pixels, 0..255: the units most published weights expect."""


def image_input(image_size, channels=3, mean=IMAGENET_MEAN, std=IMAGENET_STD):
    """Opens a model: the input and its normalisation.

    Args:
        image_size: height and width in pixels, or None to leave both open.
        channels: 3 for RGB, 1 for grey.
        mean: of each channel, in pixel units 0..255.
        std: of each channel, in pixel units.

    Returns:
        The input tensor (RGB 0..255, float32; uint8 is cast) and the normalised tensor. The layer
        between them is called `preprocess`; its constants belong to the weights, its place does not
        depend on them.
    """
    inputs = layers.Input((image_size, image_size, channels), name="image")
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


def max_pool(x, pool_size, strides, *, name):
    """Overlapping maximum; zeros are a neutral border because a ReLU comes before it."""
    x, padding = _pad(x, pool_size, strides, "symmetric", name)
    return layers.MaxPooling2D(pool_size, strides, padding, name=name)(x)


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
    return layers.Dense(num_classes, dtype="float32", name="logits")(x)


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


def drop_path_rates(rate, depth):
    """`depth` rates growing linearly from 0 at the first block to `rate` at the last."""
    return [rate * block / max(1, depth - 1) for block in range(depth)]


def add_residual(x, branch, drop_path_rate=0.0, *, name):
    """`x + branch`, the branch dropped with probability `drop_path_rate` in training."""
    if drop_path_rate:
        branch = DropPath(drop_path_rate, name=f"{name}_drop_path")(branch)
    return layers.Add(name=f"{name}_add")([x, branch])


def _pad(x, kernel_size, strides, padding, name):
    # At stride 1 and odd kernels TensorFlow's "same" is symmetric already.
    if padding != "symmetric" or strides == 1:
        return x, "same" if padding == "symmetric" else padding
    x = layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x)
    return x, "valid"


def _he_normal():
    # A new one each time: a Keras initialiser gives equal values for equal shapes.
    return keras.initializers.VarianceScaling(2.0, mode="fan_out", distribution="truncated_normal")

"""EfficientNet: one small network, scaled in depth, width and resolution together; and its Lite sisters.

Tan, Le: EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, 2019, arXiv 1905.11946,
table 1 (the stages of B0) and equation 3 (the scaling). The block is MobileNetV2's inverted bottleneck
(arXiv 1801.04381) with squeeze-and-excitation (arXiv 1709.01507) on the expanded maps.

Deviations from the paper:

* The published B1 to B7 do not follow equation 3 to the digit: their coefficients were rounded, and from
  B4 on their depth was lowered. The rows below carry the published ones, so that counts and weights agree;
  `compound_scaling(phi)` gives the equation's own.
* The Lite rows (tensorflow/tpu, EfficientNet-Lite) are for quantised phones: no squeeze-excite, ReLU6 in
  place of swish, a stem and a head that do not scale, nor do the repeats of the first and the last stage.
"""

import dataclasses
import math

from recycle_tf.layers import (
    add_residual,
    conv_norm_act,
    depthwise_conv,
    drop_path_rates,
    head,
    image_input,
    norm_act,
    squeeze_excite,
)
from recycle_tf.models.registry import Paper, Recipe, register

PAPER = Paper("EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019, "1905.11946")
# Section 5.2: 3 % off every 2.4 of 350 epochs. The warm-up and the batch are the authors' program's.
RECIPE = Recipe(
    learning_rate=0.256,
    batch_size=4096,
    weight_decay=1e-5,
    optimizer="rmsprop",
    schedule="exponential",
    decay=0.97 ** (350 / 2.4),
    warmup="5",
    label_smoothing=0.1,
)
ALPHA, BETA, GAMMA = 1.2, 1.1, 1.15
"""Depth, width and resolution gained with each unit of phi: alpha * beta^2 * gamma^2 is about 2."""

NORM_EPSILON = 1e-3


@dataclasses.dataclass(frozen=True)
class Stage:
    """A row of table 1: `repeats` blocks MBConv`expand_ratio` with a `kernel_size` kernel."""

    expand_ratio: int
    kernel_size: int
    strides: int
    filters: int
    repeats: int


STAGES = (
    #     expand  kernel  strides  filters  repeats
    Stage(1,      3,      1,       16,      1),
    Stage(6,      3,      2,       24,      2),
    Stage(6,      5,      2,       40,      2),
    Stage(6,      3,      2,       80,      3),
    Stage(6,      5,      1,       112,     3),
    Stage(6,      5,      2,       192,     4),
    Stage(6,      3,      1,       320,     1),
)  # fmt: skip
STEM_FILTERS, HEAD_FILTERS = 32, 1280


@dataclasses.dataclass(frozen=True)
class EfficientNet:
    """How far B0 is scaled.

    Attributes:
        width: factor on the filters.
        depth: factor on the repeats.
        image_size: height and width of the input, in pixels.
        drop_rate: dropout of the head.
        drop_path_rate: probability of dropping the last residual branch, growing linearly from 0.
        lite: the variant for integer arithmetic.
        stages: the stages before scaling.
    """

    width: float
    depth: float
    image_size: int
    drop_rate: float
    drop_path_rate: float = 0.2
    lite: bool = False
    stages: tuple = STAGES


ROWS = {
    #                                    width  depth  size  dropout
    "efficientnet_b0":    EfficientNet(  1.0,   1.0,   224,  0.2),
    "efficientnet_b1":    EfficientNet(  1.0,   1.1,   240,  0.2),
    "efficientnet_b2":    EfficientNet(  1.1,   1.2,   260,  0.3),
    "efficientnet_b3":    EfficientNet(  1.2,   1.4,   300,  0.3),
    "efficientnet_b4":    EfficientNet(  1.4,   1.8,   380,  0.4),
    "efficientnet_b5":    EfficientNet(  1.6,   2.2,   456,  0.4),
    "efficientnet_b6":    EfficientNet(  1.8,   2.6,   528,  0.5),
    "efficientnet_b7":    EfficientNet(  2.0,   3.1,   600,  0.5),
    "efficientnet_lite0": EfficientNet(  1.0,   1.0,   224,  0.2, lite=True),
    "efficientnet_lite1": EfficientNet(  1.0,   1.1,   240,  0.2, lite=True),
    "efficientnet_lite2": EfficientNet(  1.1,   1.2,   260,  0.3, lite=True),
    "efficientnet_lite3": EfficientNet(  1.2,   1.4,   280,  0.3, lite=True),
    "efficientnet_lite4": EfficientNet(  1.4,   1.8,   300,  0.3, lite=True),
}  # fmt: skip

_TINY_STAGES = (Stage(1, 3, 1, 8, 1), Stage(4, 5, 2, 16, 2), Stage(4, 3, 2, 16, 1))
TINY = {
    "test_efficientnet":      EfficientNet(0.5, 1.0, 32, 0.1, stages=_TINY_STAGES),
    "test_efficientnet_lite": EfficientNet(0.5, 1.0, 32, 0.1, stages=_TINY_STAGES, lite=True),
}  # fmt: skip


def compound_scaling(phi):
    """Equation 3: the overrides that scale B0 by `phi`, any real number.

    Returns:
        `{"depth": alpha^phi, "width": beta^phi, "image_size": 224 gamma^phi}`, for
        `create_model("efficientnet_b0", num_classes, **compound_scaling(1.5))`.
    """
    return {"depth": ALPHA**phi, "width": BETA**phi, "image_size": round(224 * GAMMA**phi)}


def scale_filters(filters, width):
    """Filters times `width`, to the nearest multiple of 8 that loses at most a tenth."""
    scaled = filters * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def mbconv(x, stage, filters, strides, squeezed, activation, drop_path_rate, name):
    """1x1 (expand), norm, act, kxk depthwise/s, norm, act, squeeze-excite, 1x1, norm (+ x)."""
    branch, same = x, {"padding": "same", "epsilon": NORM_EPSILON}
    if stage.expand_ratio != 1:
        expanded = stage.expand_ratio * x.shape[-1]
        branch = conv_norm_act(branch, expanded, 1, activation=activation, **same, name=f"{name}_expand")
    branch = depthwise_conv(branch, stage.kernel_size, strides, padding="same", name=f"{name}_depthwise")
    branch = norm_act(branch, activation, epsilon=NORM_EPSILON, name=f"{name}_depthwise")
    if squeezed:
        branch = squeeze_excite(branch, squeezed, activation=activation, name=f"{name}_se")
    branch = conv_norm_act(branch, filters, 1, activation=None, **same, name=f"{name}_project")
    if strides == 1 and x.shape[-1] == filters:
        return add_residual(x, branch, drop_path_rate, name=name)
    return branch


def build(config, num_classes, image_size):
    """3x3/2 -> seven scaled stages of MBConv -> 1x1, norm, act, head."""
    activation = "relu6" if config.lite else "swish"
    fixed_width = 1.0 if config.lite else config.width
    conv_args = {"activation": activation, "padding": "same", "epsilon": NORM_EPSILON}
    repeats = [math.ceil(config.depth * stage.repeats) for stage in config.stages]
    if config.lite:
        repeats[0], repeats[-1] = config.stages[0].repeats, config.stages[-1].repeats

    inputs, x = image_input(image_size)
    x = conv_norm_act(x, scale_filters(STEM_FILTERS, fixed_width), 3, 2, **conv_args, name="stem_conv")
    rates = iter(drop_path_rates(config.drop_path_rate, sum(repeats)))
    for number, stage in enumerate(config.stages, start=1):
        for block in range(1, repeats[number - 1] + 1):
            x = mbconv(
                x,
                stage,
                filters=scale_filters(stage.filters, config.width),
                strides=stage.strides if block == 1 else 1,
                # A quarter of the block's input, not of the expanded maps.
                squeezed=0 if config.lite else max(1, x.shape[-1] // 4),
                activation=activation,
                drop_path_rate=next(rates),
                name=f"stage{number}_block{block}",
            )
    x = conv_norm_act(x, scale_filters(HEAD_FILTERS, fixed_width), 1, **conv_args, name="head_conv")
    return inputs, head(x, num_classes, config.drop_rate)


register(ROWS | TINY, build, PAPER, RECIPE)

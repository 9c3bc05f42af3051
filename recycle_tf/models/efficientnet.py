"""EfficientNet: one small network, scaled in depth, width and resolution together; and EfficientNet-Lite.

Tan, Le: EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, 2019, arXiv 1905.11946,
table 1 (the stages of B0) and equation 3 (the scaling). The block is MobileNetV2's inverted bottleneck
(arXiv 1801.04381) with squeeze-and-excitation (arXiv 1709.01507) on the expanded feature maps.

Deviations from the paper:

* The scaling coefficients of B1 to B7 are those of the authors' program (tensorflow/tpu), with which the
  weights were published. They differ from equation 3, which `compound_scaling(phi)` computes.
* EfficientNet-Lite is not in the paper, but in the authors' program. For quantized inference on phones, it
  has no squeeze-and-excitation and ReLU6 instead of swish. Stem, head, and the number of blocks in the first
  and last stage are not scaled.
* The moving statistics of batch normalization decay by 0.9 per step, not by 0.99, as in all networks here
  (`layers.BATCH_NORM_MOMENTUM`).
"""

import dataclasses
import math

from recycle_tf.errors import UserError
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
from recycle_tf.models.registry import Paper, Recipe, check_positive, register

PAPER = Paper(
    "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019, "arXiv 1905.11946"
)
# Section 5.2: RMSProp, weight decay, and a learning rate of 0.256 that is multiplied by 0.97 every 2.4
# epochs. From the authors' program: 350 epochs, 5 epochs of warm-up, label smoothing, and the batch size,
# since its learning rate is 0.016 per 256 images.
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
"""Factors on depth, width and resolution per unit of phi; alpha * beta^2 * gamma^2 is about 2."""

MAX_PHI = 10
B0_SCALE = {"depth": 1.0, "width": 1.0, "image_size": 224}

NORM_EPSILON = 1e-3


@dataclasses.dataclass(frozen=True)
class Stage:
    """A row of table 1: `repeats` blocks MBConv.

    Attributes:
        expand_ratio: factor on the channels inside the block.
        kernel_size: size of the depthwise kernel.
        strides: stride of the first block.
        filters: output channels.
        repeats: number of blocks.
    """

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
    """Scaling of B0.

    Attributes:
        width: factor on the number of filters.
        depth: factor on the number of blocks.
        image_size: height and width of the input, in pixels.
        drop_rate: dropout of the head.
        drop_path_rate: probability of dropping the last residual branch, growing linearly from 0.
        lite: EfficientNet-Lite, for quantized inference.
        stages: stages before scaling.
        phi: compound coefficient: sets depth, width and image size by equation 3; 0 leaves them as they are.
    """

    width: float
    depth: float
    image_size: int
    drop_rate: float
    drop_path_rate: float = 0.2
    lite: bool = False
    stages: tuple = STAGES
    phi: float = 0.0

    def __post_init__(self):
        """Applies `phi`."""
        if self.phi:
            scaled = compound_scaling(self.phi)
            own = {name: getattr(self, name) for name in scaled}
            if own not in (scaled, B0_SCALE):
                raise UserError(
                    f"`overrides`: phi={self.phi} scales efficientnet_b0 or efficientnet_lite0; leave it "
                    f"out, or the others ({own})"
                )
            for name, value in scaled.items():
                object.__setattr__(self, name, value)
        check_positive(self, "width", "depth")


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
    """Returns the overrides that scale B0 by equation 3.

    Args:
        phi: compound coefficient, any real number; 0 is B0.

    Returns:
        `{"depth": alpha^phi, "width": beta^phi, "image_size": 224 gamma^phi}`, for
        `create_model("efficientnet_b0", num_classes, **compound_scaling(1.5))`.
    """
    if not abs(phi) <= MAX_PHI:
        raise UserError(f"`overrides`: phi={phi}: expected -{MAX_PHI} to {MAX_PHI}")
    return {"depth": ALPHA**phi, "width": BETA**phi, "image_size": round(224 * GAMMA**phi)}


def scale_filters(filters, width):
    """Rounds `filters * width` to the nearest multiple of 8 that is at least 90 % of it."""
    scaled = filters * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def mbconv(x, stage, filters, strides, se_filters, activation, drop_path_rate, name):
    """1x1 (expand) -> norm -> act -> kxk depthwise/s -> norm -> act -> SE -> 1x1 (project) -> norm (+ x)."""
    branch, same = x, {"padding": "same", "epsilon": NORM_EPSILON}
    if stage.expand_ratio != 1:
        expanded = stage.expand_ratio * x.shape[-1]
        branch = conv_norm_act(branch, expanded, 1, activation=activation, **same, name=f"{name}_expand")
    branch = depthwise_conv(branch, stage.kernel_size, strides, padding="same", name=f"{name}_depthwise")
    branch = norm_act(branch, activation, epsilon=NORM_EPSILON, name=f"{name}_depthwise")
    if se_filters:
        branch = squeeze_excite(branch, se_filters, activation=activation, name=f"{name}_se")
    branch = conv_norm_act(branch, filters, 1, activation=None, **same, name=f"{name}_project")
    if strides == 1 and x.shape[-1] == filters:
        return add_residual(x, branch, drop_path_rate, name=name)
    return branch


def build(config, num_classes, image_size):
    """3x3/2 -> norm -> act -> seven scaled stages of MBConv -> 1x1 -> norm -> act -> head."""
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
                # A quarter of the block's input channels, not of the expanded channels.
                se_filters=0 if config.lite else max(1, x.shape[-1] // 4),
                activation=activation,
                drop_path_rate=next(rates),
                name=f"stage{number}_block{block}",
            )
    x = conv_norm_act(x, scale_filters(HEAD_FILTERS, fixed_width), 1, **conv_args, name="head_conv")
    return inputs, head(x, num_classes, config.drop_rate)


register(ROWS | TINY, build, PAPER, RECIPE)

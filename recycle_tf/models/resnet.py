"""Residual networks, and the plain networks they were compared with.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2015, arXiv 1512.03385, table 1.

Deviations from the paper, each on purpose:

* A bottleneck halves the map in its 3x3 convolution, not in its first 1x1 (which would throw three
  quarters of its input away). The counts are the same, the multiply-adds 6 % more.
* A shortcut that changes its shape is a 1x1 projection (option B), as in the authors' released networks.
"""

import dataclasses

from recycle_tf.layers import (
    act,
    add_residual,
    conv_norm_act,
    drop_path_rates,
    head,
    image_input,
    max_pool,
)
from recycle_tf.models.registry import Paper, register

PAPER = Paper("Deep Residual Learning for Image Recognition", 2015, "1512.03385")


@dataclasses.dataclass(frozen=True)
class ResNet:
    """A column of table 1.

    Attributes:
        block: `"basic"` (two 3x3) or `"bottleneck"` (1x1, 3x3, 1x1).
        blocks_per_stage: how many blocks each stage stacks.
        shortcut: `"projection"`, or `"none"` for the plain network.
        filters: width of the stem and of the first stage; it doubles with every stage.
        drop_rate: dropout of the head.
        drop_path_rate: probability of dropping the last residual branch, growing linearly from 0.
        image_size: height and width of the input, in pixels.
    """

    block: str
    blocks_per_stage: tuple
    shortcut: str = "projection"
    filters: int = 64
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    image_size: int = 224


TABLE_1 = {
    "plain18":   ResNet("basic",      (2, 2,  2, 2), shortcut="none"),
    "plain34":   ResNet("basic",      (3, 4,  6, 3), shortcut="none"),
    "resnet18":  ResNet("basic",      (2, 2,  2, 2)),
    "resnet34":  ResNet("basic",      (3, 4,  6, 3)),
    "resnet50":  ResNet("bottleneck", (3, 4,  6, 3)),
    "resnet101": ResNet("bottleneck", (3, 4, 23, 3)),
    "resnet152": ResNet("bottleneck", (3, 8, 36, 3)),
}  # fmt: skip

TINY = {
    "test_plain":  ResNet("basic",      (1, 1, 1, 1), filters=8, image_size=32, shortcut="none"),
    "test_resnet": ResNet("bottleneck", (1, 1, 1, 1), filters=8, image_size=32, drop_path_rate=0.1),
}  # fmt: skip


def basic_branch(x, filters, strides, name):
    """3x3/s, norm, ReLU, 3x3, norm."""
    x = conv_norm_act(x, filters, 3, strides, name=f"{name}_conv1")
    return conv_norm_act(x, filters, 3, activation=None, name=f"{name}_conv2")


def bottleneck_branch(x, filters, strides, name):
    """1x1, norm, ReLU, 3x3/s, norm, ReLU, 1x1 (4 times as wide), norm."""
    x = conv_norm_act(x, filters, 1, name=f"{name}_conv1")
    x = conv_norm_act(x, filters, 3, strides, name=f"{name}_conv2")
    return conv_norm_act(x, 4 * filters, 1, activation=None, name=f"{name}_conv3")


BRANCHES = {"basic": basic_branch, "bottleneck": bottleneck_branch}


def residual_block(x, config, filters, strides, drop_path_rate, name):
    """Y = ReLU(F(x) + shortcut(x)), equations 1 and 2; without the shortcut, the plain block."""
    branch = BRANCHES[config.block](x, filters, strides, name)
    if config.shortcut == "none":
        return act(branch, name=name)
    if x.shape[-1] != branch.shape[-1] or strides != 1:
        x = conv_norm_act(
            x, branch.shape[-1], 1, strides, activation=None, padding="valid", name=f"{name}_shortcut"
        )
    return act(add_residual(x, branch, drop_path_rate, name=name), name=name)


def build(config, num_classes, image_size):
    """7x7/2, max pool /2 -> four stages of residual blocks -> head."""
    inputs, x = image_input(image_size)
    x = conv_norm_act(x, config.filters, 7, strides=2, name="stem_conv")
    x = max_pool(x, 3, strides=2, name="stem_pool")
    rates = iter(drop_path_rates(config.drop_path_rate, sum(config.blocks_per_stage)))
    for stage, blocks in enumerate(config.blocks_per_stage, start=1):
        for block in range(1, blocks + 1):
            x = residual_block(
                x,
                config,
                filters=config.filters * 2 ** (stage - 1),
                strides=2 if stage > 1 and block == 1 else 1,
                drop_path_rate=next(rates),
                name=f"stage{stage}_block{block}",
            )
    return inputs, head(x, num_classes, config.drop_rate)


register(TABLE_1 | TINY, build, PAPER)

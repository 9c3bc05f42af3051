"""Densely connected networks: every layer of a block reads the maps of all layers before it.

Huang, Liu, van der Maaten, Weinberger: Densely Connected Convolutional Networks, 2016, arXiv 1608.06993,
table 1 (the DenseNet-BC networks for ImageNet). No deviation from the paper.
"""

import dataclasses

from keras import layers

from recycle_tf.layers import conv, conv_norm_act, head, image_input, max_pool, norm_act
from recycle_tf.models.registry import Paper, register

PAPER = Paper("Densely Connected Convolutional Networks", 2016, "1608.06993")


@dataclasses.dataclass(frozen=True)
class DenseNet:
    """A column of table 1.

    Attributes:
        blocks_per_stage: how many dense blocks (1x1 and 3x3 convolution) each stage chains.
        growth_rate: maps that a dense block adds; k in the paper.
        compression: share of the maps that a transition keeps; theta in the paper.
        drop_rate: dropout of the head.
        image_size: height and width of the input, in pixels.
    """

    blocks_per_stage: tuple
    growth_rate: int = 32
    compression: float = 0.5
    drop_rate: float = 0.0
    image_size: int = 224


TABLE_1 = {
    "densenet121": DenseNet((6, 12, 24, 16)),
    "densenet169": DenseNet((6, 12, 32, 32)),
    "densenet201": DenseNet((6, 12, 48, 32)),
    "densenet264": DenseNet((6, 12, 64, 48)),
}

TINY = {"test_densenet": DenseNet((2, 2, 2, 2), growth_rate=4, image_size=32)}


def dense_block(x, growth_rate, name):
    """[x, norm, ReLU, 1x1 (4k), norm, ReLU, 3x3 (k)]: what comes in stays, k maps join it."""
    new = norm_act(x, name=f"{name}_in")
    new = conv_norm_act(new, 4 * growth_rate, 1, name=f"{name}_conv1")
    new = conv(new, growth_rate, 3, name=f"{name}_conv2")
    return layers.Concatenate(name=f"{name}_concat")([x, new])


def transition(x, compression, name):
    """Norm, ReLU, 1x1 to a share of the maps, 2x2 average pool /2."""
    x = norm_act(x, name=name)
    x = conv(x, int(compression * x.shape[-1]), 1, name=f"{name}_conv")
    return layers.AveragePooling2D(2, name=f"{name}_pool")(x)


def build(config, num_classes, image_size):
    """7x7/2, max pool /2 -> dense stages with transitions between -> norm, ReLU, head."""
    inputs, x = image_input(image_size)
    x = conv_norm_act(x, 2 * config.growth_rate, 7, strides=2, name="stem_conv")
    x = max_pool(x, 3, strides=2, name="stem_pool")
    for stage, blocks in enumerate(config.blocks_per_stage, start=1):
        if stage > 1:
            x = transition(x, config.compression, name=f"stage{stage}_transition")
        for block in range(1, blocks + 1):
            x = dense_block(x, config.growth_rate, name=f"stage{stage}_block{block}")
    x = norm_act(x, name=f"stage{stage}_out")
    return inputs, head(x, num_classes, config.drop_rate)


register(TABLE_1 | TINY, build, PAPER)

"""DenseNet: every layer reads the feature maps of all layers before it in its dense block.

Huang, Liu, van der Maaten, Weinberger: Densely Connected Convolutional Networks, 2016, arXiv 1608.06993,
table 1 (DenseNet-BC for ImageNet) and table 2 (CIFAR).

Each stage is one dense block of the paper. A dense block of L layers has L (L + 1) / 2 connections. Its
layers are called `stageN_blockM`, so that the names have the same form in all families.

Deviation from the paper: without data augmentation, the paper adds dropout of 0.2 after each convolution but
the first. Here `drop_rate` is dropout in the head only, 0 by default.
"""

import dataclasses

from keras import layers

from recycle_tf.layers import conv, conv_norm_act, head, image_input, max_pool, norm_act
from recycle_tf.models.registry import Paper, Recipe, check_choices, register

PAPER = Paper("Densely Connected Convolutional Networks", 2016, "arXiv 1608.06993")
# Section 4.2: the learning rate is divided by 10 after 30 and 60 of 90 epochs on ImageNet, and after 50 % and
# 75 % of 300 epochs on CIFAR.
IMAGENET_RECIPE = Recipe(0.1, batch_size=256, weight_decay=1e-4, optimizer="sgd", decay_at="0.333,0.667")
CIFAR_RECIPE = Recipe(0.1, batch_size=64, weight_decay=1e-4, optimizer="sgd", decay_at="0.5,0.75")


@dataclasses.dataclass(frozen=True)
class DenseNet:
    """A column of table 1 or a row of table 2.

    Attributes:
        blocks_per_stage: number of layers of each dense block.
        growth_rate: feature maps that each layer adds; k in the paper.
        bottleneck: a 1x1 convolution to 4k feature maps before each 3x3 convolution (the B of BC).
        compression: fraction of the feature maps that a transition layer outputs; theta in the paper (the C
            of BC).
        stem: `"imagenet"` (7x7/2, max pool /2) or `"cifar"` (3x3).
        stem_filters: feature maps of the stem.
        drop_rate: dropout of the head.
        image_size: height and width of the input, in pixels.
    """

    blocks_per_stage: tuple
    growth_rate: int = 32
    bottleneck: bool = True
    compression: float = 0.5
    stem: str = "imagenet"
    stem_filters: int = 64
    drop_rate: float = 0.0
    image_size: int = 224

    def __post_init__(self):
        """Validates `stem`."""
        check_choices(self, {"stem": ("imagenet", "cifar")})


TABLE_1 = {
    "densenet121": DenseNet((6, 12, 24, 16)),
    "densenet161": DenseNet((6, 12, 36, 24), growth_rate=48, stem_filters=96),
    "densenet169": DenseNet((6, 12, 32, 32)),
    "densenet201": DenseNet((6, 12, 48, 32)),
    "densenet264": DenseNet((6, 12, 64, 48)),
}


def _cifar(depth, growth_rate, bottleneck):
    blocks = (depth - 4) // (6 if bottleneck else 3)
    return DenseNet(
        (blocks,) * 3,
        growth_rate,
        bottleneck,
        compression=0.5 if bottleneck else 1.0,
        stem="cifar",
        stem_filters=2 * growth_rate if bottleneck else 16,
        image_size=32,
    )


TABLE_2 = {
    "densenet40_k12":     _cifar( 40, 12, bottleneck=False),
    "densenet100_k12":    _cifar(100, 12, bottleneck=False),
    "densenet_bc100_k12": _cifar(100, 12, bottleneck=True),
    "densenet_bc190_k40": _cifar(190, 40, bottleneck=True),
}  # fmt: skip

TINY = {
    "test_densenet": DenseNet((2, 2, 2, 2), growth_rate=4, stem_filters=8, image_size=32),
    "test_densenet_cifar": _cifar(10, 4, bottleneck=False),
}


def dense_layer(x, config, name):
    """[x, norm -> ReLU -> (1x1 to 4k -> norm -> ReLU ->) 3x3 to k], concatenated."""
    new = norm_act(x, name=f"{name}_in")
    if config.bottleneck:
        new = conv_norm_act(new, 4 * config.growth_rate, 1, name=f"{name}_conv1")
    new = conv(new, config.growth_rate, 3, name=f"{name}_conv2")
    return layers.Concatenate(name=f"{name}_concat")([x, new])


def transition(x, compression, name):
    """Norm -> ReLU -> 1x1 to `compression` of the feature maps -> 2x2 average pool /2."""
    x = norm_act(x, name=name)
    x = conv(x, int(compression * x.shape[-1]), 1, name=f"{name}_conv")
    return layers.AveragePooling2D(2, name=f"{name}_pool")(x)


def build(config, num_classes, image_size):
    """Stem -> dense blocks with transition layers between them -> norm -> ReLU -> head."""
    inputs, x = image_input(image_size)
    if config.stem == "cifar":
        # No norm: the first dense layer begins with one.
        x = conv(x, config.stem_filters, 3, name="stem_conv")
    else:
        x = conv_norm_act(x, config.stem_filters, 7, strides=2, name="stem_conv")
        x = max_pool(x, 3, strides=2, name="stem_pool")
    for stage, blocks in enumerate(config.blocks_per_stage, start=1):
        if stage > 1:
            x = transition(x, config.compression, name=f"stage{stage}_transition")
        for block in range(1, blocks + 1):
            x = dense_layer(x, config, name=f"stage{stage}_block{block}")
    x = norm_act(x, name=f"stage{stage}_out")
    return inputs, head(x, num_classes, config.drop_rate)


register(TABLE_1 | TINY, build, PAPER, IMAGENET_RECIPE)
register(TABLE_2, build, PAPER, CIFAR_RECIPE)

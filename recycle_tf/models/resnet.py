"""Residual networks, the plain networks they were compared with, and variants of them.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2015, arXiv 1512.03385: table 1 (ImageNet)
and section 4.2 (CIFAR). He et al.: Identity Mappings in Deep Residual Networks, 2016, arXiv 1603.05027
(`preact_`). Hu et al.: Squeeze-and-Excitation Networks, 2017, arXiv 1709.01507 (`se_`). Dai et al.:
Deformable Convolutional Networks, 2017, arXiv 1703.06211 (`deformable_resnet50`). Zhu et al.: Deformable
ConvNets v2, 2018, arXiv 1811.11168 (`deformable_resnet50_v2`).

Deviations from the papers:

* The stride of a bottleneck is in its 3x3 convolution, not in its first 1x1 (which would discard three
  quarters of its input), except in the `_v1` rows, which follow the authors' released networks. The number
  of parameters is the same, that of multiply-adds 2 to 6 % higher.
* ImageNet rows use projections where the shape changes (option B), as the authors' released networks do.
  CIFAR rows pad with zero channels (option A), as the paper says.
* The deformable networks classify; in their papers, they are the backbones of detectors. Offsets learn at
  0.1 of the learning rate, as in version 2; version 1 uses the full learning rate.
"""

import dataclasses

import keras
from keras import layers

from recycle_tf.errors import UserError
from recycle_tf.layers import (
    act,
    add_residual,
    conv,
    conv_norm_act,
    deformable_conv,
    drop_path_rates,
    head,
    image_input,
    max_pool,
    norm,
    norm_act,
    squeeze_excite,
)
from recycle_tf.models.registry import Paper, Recipe, check_choices, check_positive, register

SE_REDUCTION = 16
FIRST_BLOCK = "stage1_block1"

CHOICES = {
    "block": ("basic", "bottleneck"),
    "shortcut": ("identity", "projection", "all_projection", "none"),
    "stem": ("imagenet", "cifar"),
    "attention": ("none", "squeeze_excite"),
    "conv": ("plain", "deformable", "modulated"),
}


@dataclasses.dataclass(frozen=True)
class ResNet:
    """A column of table 1, and its variants.

    Attributes:
        block: `"basic"` (two 3x3) or `"bottleneck"` (1x1, 3x3, 1x1).
        blocks_per_stage: number of blocks in each stage.
        shortcut: `"identity"` (option A: subsampled and padded with zero channels), `"projection"` (B: 1x1
            where the shape changes), `"all_projection"` (C: always 1x1) or `"none"`, a plain network.
        filters: filters of the stem and of the first stage; they double with each stage.
        stem: `"imagenet"` (7x7/2, max pool /2) or `"cifar"` (3x3).
        stride_first: apply a bottleneck's stride in its first 1x1 instead of its 3x3.
        preact: norm and ReLU before each convolution, and none after the addition.
        attention: `"none"` or `"squeeze_excite"`, on the branch before the addition.
        conv: kind of the bottlenecks' 3x3 in `deformed_stages`: `"deformable"` (version 1) or `"modulated"`
            (version 2); `"plain"` if there are none.
        deformed_stages: numbers of the stages with deformable convolutions.
        drop_rate: dropout of the head.
        drop_path_rate: probability of dropping the last residual branch; it increases linearly from 0.
        image_size: height and width of the input, in pixels.
    """

    block: str
    blocks_per_stage: tuple
    shortcut: str = "projection"
    filters: int = 64
    stem: str = "imagenet"
    stride_first: bool = False
    preact: bool = False
    attention: str = "none"
    conv: str = "plain"
    deformed_stages: tuple = ()
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    image_size: int = 224

    def __post_init__(self):
        """Validates fields that have a fixed set of values, or that depend on each other."""
        check_choices(self, CHOICES)
        check_positive(self, "blocks_per_stage", "filters")
        if (self.conv == "plain") != (self.deformed_stages == ()):
            raise UserError(
                f"`overrides`: conv={self.conv} with deformed_stages={self.deformed_stages}; set both or "
                f"none, e.g. conv=deformable and deformed_stages=(4,)"
            )
        if self.deformed_stages and self.block != "bottleneck":
            raise UserError(f"`overrides`: conv={self.conv} needs block=bottleneck, not block={self.block}")
        stages = range(1, len(self.blocks_per_stage) + 1)
        if not set(self.deformed_stages) <= set(stages):
            raise UserError(
                f"`overrides`: deformed_stages={self.deformed_stages}: the stages are 1 to {len(stages)}"
            )
        if self.stride_first and self.block != "bottleneck":
            raise UserError(f"`overrides`: stride_first needs block=bottleneck, not block={self.block}")
        if self.drop_path_rate and self.shortcut == "none":
            raise UserError("`overrides`: drop_path_rate needs a shortcut, not shortcut=none")


TABLE_1 = {
    "plain18":      ResNet("basic",      (2, 2,  2, 2), "none"),
    "plain34":      ResNet("basic",      (3, 4,  6, 3), "none"),
    "resnet18":     ResNet("basic",      (2, 2,  2, 2)),
    "resnet34":     ResNet("basic",      (3, 4,  6, 3)),
    "resnet50":     ResNet("bottleneck", (3, 4,  6, 3)),
    "resnet101":    ResNet("bottleneck", (3, 4, 23, 3)),
    "resnet152":    ResNet("bottleneck", (3, 8, 36, 3)),
    "resnet50_v1":  ResNet("bottleneck", (3, 4,  6, 3), stride_first=True),
    "resnet101_v1": ResNet("bottleneck", (3, 4, 23, 3), stride_first=True),
    "resnet152_v1": ResNet("bottleneck", (3, 8, 36, 3), stride_first=True),
}  # fmt: skip


def _cifar(blocks, shortcut):
    return ResNet("basic", (blocks,) * 3, shortcut, filters=16, stem="cifar", image_size=32)


# 6n + 2 layers, n blocks per stage.
CIFAR_PLAIN = {f"plain{6 * n + 2}": _cifar(n, "none") for n in (3, 5, 7, 9)}
CIFAR = {f"resnet{6 * n + 2}": _cifar(n, "identity") for n in (3, 5, 7, 9)}
DEEP_CIFAR = {"plain110": _cifar(18, "none"), "resnet110": _cifar(18, "identity")}

PREACT = {
    "preact_resnet18": ResNet("basic",      (2, 2, 2, 2), preact=True),
    "preact_resnet50": ResNet("bottleneck", (3, 4, 6, 3), preact=True),
}  # fmt: skip

SE = {
    f"se_{arch}": dataclasses.replace(TABLE_1[arch], attention="squeeze_excite")
    for arch in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
}

DEFORMABLE = {
    "deformable_resnet50": ResNet("bottleneck", (3, 4, 6, 3), conv="deformable", deformed_stages=(4,)),
}
DEFORMABLE_V2 = {
    "deformable_resnet50_v2": ResNet("bottleneck", (3, 4, 6, 3), conv="modulated", deformed_stages=(2, 3, 4)),
}

_TINY = ResNet("bottleneck", (1, 1, 1, 1), filters=8, image_size=32)
TINY = {
    "test_plain":     ResNet("basic", (1, 1, 1, 1), "none", filters=8, image_size=32),
    "test_resnet":    dataclasses.replace(_TINY, drop_path_rate=0.1),
    "test_resnet_a":  ResNet("basic", (1, 1, 1), "identity", filters=8, stem="cifar", image_size=32),
    "test_resnet_c":  ResNet("basic", (2, 1, 1), "all_projection", filters=8, stem="cifar", image_size=32),
    "test_resnet_v1": dataclasses.replace(_TINY, stride_first=True),
    "test_preact":    dataclasses.replace(_TINY, preact=True, blocks_per_stage=(2, 1, 1, 1)),
    "test_se":        dataclasses.replace(_TINY, attention="squeeze_excite"),
    "test_deformable":    dataclasses.replace(_TINY, conv="deformable", deformed_stages=(4,)),
    "test_deformable_v2": dataclasses.replace(_TINY, conv="modulated", deformed_stages=(2, 3, 4)),
}  # fmt: skip


def basic_branch(x, config, filters, strides, name):
    """3x3/s -> norm -> ReLU -> 3x3 -> norm; no last norm with `preact`."""
    x = conv_norm_act(x, filters, 3, strides, name=f"{name}_conv1")
    x = conv(x, filters, 3, name=f"{name}_conv2")
    return x if config.preact else norm(x, name=f"{name}_conv2")


def bottleneck_branch(x, config, filters, strides, deformed, name):
    """1x1 -> norm -> ReLU -> 3x3/s -> norm -> ReLU -> 1x1 (x4) -> norm; no last norm with `preact`."""
    first, second = (strides, 1) if config.stride_first else (1, strides)
    x = conv_norm_act(x, filters, 1, first, padding="valid", name=f"{name}_conv1")
    if deformed:
        modulated = config.conv == "modulated"
        x = deformable_conv(x, filters, 3, second, modulated=modulated, name=f"{name}_conv2")
    else:
        x = conv(x, filters, 3, second, name=f"{name}_conv2")
    x = norm_act(x, name=f"{name}_conv2")
    x = conv(x, 4 * filters, 1, name=f"{name}_conv3")
    return x if config.preact else norm(x, name=f"{name}_conv3")


def shortcut(x, config, filters, strides, name):
    """Identity, or where the shape changes: subsample and pad with zero channels (A), or 1x1/s (B, C)."""
    changes = strides != 1 or x.shape[-1] != filters
    if config.shortcut == "all_projection" or (config.shortcut == "projection" and changes):
        x = conv(x, filters, 1, strides, padding="valid", name=f"{name}_shortcut")
        return x if config.preact else norm(x, name=f"{name}_shortcut")
    if changes:
        if strides != 1:
            x = layers.AveragePooling2D(1, strides, name=f"{name}_shortcut_subsample")(x)
        missing = filters - x.shape[-1]
        x = keras.ops.pad(x, ((0, 0), (0, 0), (0, 0), (missing // 2, missing - missing // 2)))
    return x


def residual_block(x, config, filters, strides, deformed, drop_path_rate, name):
    """ReLU(F(x) + shortcut(x)), equations 1 and 2; with `preact`, F(ReLU(norm(x))) + shortcut(x).

    In the first block of `preact` networks x comes from the norm and ReLU of the stem (arXiv 1603.05027,
    appendix).
    """
    block_input = x
    if config.preact and name != FIRST_BLOCK:
        x = norm_act(x, name=f"{name}_in")
    if config.block == "basic":
        branch = basic_branch(x, config, filters, strides, name)
    else:
        branch = bottleneck_branch(x, config, filters, strides, deformed, name)
    if config.attention == "squeeze_excite":
        branch = squeeze_excite(branch, max(1, branch.shape[-1] // SE_REDUCTION), name=f"{name}_se")
    if config.shortcut == "none":
        return branch if config.preact else act(branch, name=name)
    # With `preact`, a shortcut that changes the shape starts after the first norm and ReLU.
    changes = strides != 1 or block_input.shape[-1] != branch.shape[-1]
    side = shortcut(x if changes else block_input, config, branch.shape[-1], strides, name)
    x = add_residual(side, branch, drop_path_rate, name=name)
    return x if config.preact else act(x, name=name)


def build(config, num_classes, image_size):
    """Stem -> stages of residual blocks, with twice the filters at half the size each time -> head."""
    inputs, x = image_input(image_size)
    if config.stem == "cifar":
        x = conv_norm_act(x, config.filters, 3, name="stem_conv")
    else:
        x = conv_norm_act(x, config.filters, 7, 2, name="stem_conv")
        x = max_pool(x, 3, 2, name="stem_pool")
    rates = iter(drop_path_rates(config.drop_path_rate, sum(config.blocks_per_stage)))
    for stage, blocks in enumerate(config.blocks_per_stage, start=1):
        for block in range(1, blocks + 1):
            x = residual_block(
                x,
                config,
                filters=config.filters * 2 ** (stage - 1),
                strides=2 if stage > 1 and block == 1 else 1,
                deformed=stage in config.deformed_stages,
                drop_path_rate=next(rates),
                name=f"stage{stage}_block{block}",
            )
    if config.preact:
        x = norm_act(x, name=f"stage{stage}_out")
    return inputs, head(x, num_classes, config.drop_rate)


# Section 3.4: the learning rate is divided by 10 when the error stops improving, in 120 epochs (600,000
# steps); here after 30, 60 and 90.
RECIPE = Recipe(0.1, batch_size=256, weight_decay=1e-4, decay_at="0.25,0.5,0.75")
# Section 4.2: divided by 10 after 32,000 and 48,000 of 64,000 steps.
CIFAR_RECIPE = Recipe(0.1, batch_size=128, weight_decay=1e-4, decay_at="0.5,0.75")
# Of 110 layers the first 400 steps, about one epoch, are at 0.01; here the rate increases during that epoch.
DEEP_CIFAR_RECIPE = dataclasses.replace(CIFAR_RECIPE, warmup="1")
# arXiv 1603.05027: divided by 10 after 30 and 60 epochs, here of 90.
PREACT_RECIPE = Recipe(0.1, batch_size=256, weight_decay=1e-4, decay_at="0.333,0.667")
# arXiv 1709.01507, section 5: divided by 10 every 30 of 100 epochs; weight decay as in the residual networks.
SE_RECIPE = Recipe(0.6, batch_size=1024, weight_decay=1e-4, decay_at="0.3,0.6,0.9")

RESIDUAL = Paper("Deep Residual Learning for Image Recognition", 2015, "arXiv 1512.03385")
IDENTITY = Paper("Identity Mappings in Deep Residual Networks", 2016, "arXiv 1603.05027")
SQUEEZE_EXCITATION = Paper("Squeeze-and-Excitation Networks", 2017, "arXiv 1709.01507")
DEFORMABLE_CONV = Paper("Deformable Convolutional Networks", 2017, "arXiv 1703.06211")
DEFORMABLE_CONV_V2 = Paper(
    "Deformable ConvNets v2: More Deformable, Better Results", 2018, "arXiv 1811.11168"
)

register(TABLE_1 | TINY, build, RESIDUAL, RECIPE)
register(CIFAR_PLAIN | CIFAR, build, RESIDUAL, CIFAR_RECIPE)
register(DEEP_CIFAR, build, RESIDUAL, DEEP_CIFAR_RECIPE)
register(PREACT, build, IDENTITY, PREACT_RECIPE)
register(SE, build, SQUEEZE_EXCITATION, SE_RECIPE)
# Trained for classification like ResNet-50, before they become backbones of detectors.
register(DEFORMABLE, build, DEFORMABLE_CONV, RECIPE)
register(DEFORMABLE_V2, build, DEFORMABLE_CONV_V2, RECIPE)

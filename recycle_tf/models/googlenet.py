"""GoogLeNet: modules that look at four scales at once, each behind a 1x1 reduction.

Szegedy et al.: Going Deeper with Convolutions, 2014, arXiv 1409.4842, table 1. The `_bn` row normalises after
each convolution (Ioffe, Szegedy, arXiv 1502.03167); the `se_` row gates each module's maps (Hu et al., arXiv
1709.01507).

Deviations: none in the layers, but for `googlenet_bn_3x3`, which is torchvision's network and takes its
weights: its 5x5 branch is a 3x3, its last pooling 2x2, and its poolings pad behind the map only. Those of the
other rows pad symmetrically. He's initialisation. The auxiliary classifiers are attached for training only,
by `auxiliary`.
"""

import dataclasses

from keras import layers

from recycle_tf.errors import UserError, did_you_mean
from recycle_tf.layers import (
    conv_act,
    conv_norm_act,
    head,
    image_input,
    local_response_norm,
    logits,
    max_pool,
    squeeze_excite,
)
from recycle_tf.models.registry import Paper, Recipe, register

PAPER = Paper("Going Deeper with Convolutions", 2014, "1409.4842")
# Section 6: 4 % off every 8 epochs, with momentum. The paper says no more: 250 epochs, rate, batch and decay
# are those of Caffe's `bvlc_googlenet`.
RECIPE = Recipe(
    learning_rate=0.01,
    batch_size=32,
    weight_decay=2e-4,
    schedule="exponential",
    decay=0.96 ** (250 / 8),
)
SE_REDUCTION = 16
AUXILIARY_WEIGHT = 0.3


@dataclasses.dataclass(frozen=True)
class Inception:
    """A row of table 1: filters of the four branches and of their reductions."""

    one: int
    three_reduce: int
    three: int
    five_reduce: int
    five: int
    pool_project: int


STAGES = (
    #          1x1  #3x3r  3x3  #5x5r  5x5  pool
    (Inception( 64,  96,   128,  16,    32,  32),   # 3a
     Inception(128, 128,   192,  32,    96,  64)),  # 3b
    (Inception(192,  96,   208,  16,    48,  64),   # 4a
     Inception(160, 112,   224,  24,    64,  64),   # 4b
     Inception(128, 128,   256,  24,    64,  64),   # 4c
     Inception(112, 144,   288,  32,    64,  64),   # 4d
     Inception(256, 160,   320,  32,   128, 128)),  # 4e
    (Inception(256, 160,   320,  32,   128, 128),   # 5a
     Inception(384, 192,   384,  48,   128, 128)),  # 5b
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class GoogLeNet:
    """Table 1.

    Attributes:
        batch_norm: convolutions with batch norm and no bias, instead of a bias; then no response norm.
        squeeze_excite: gate the maps of each module.
        five_kernel: kernel of the branch that the table calls 5x5.
        last_pool: window of the pooling before the last stage.
        pool_padding: `"symmetric"` or `"ceil"` (behind the map only), of the poolings that halve it.
        stem_filters: of the three convolutions of the stem.
        stages: the modules between the poolings.
        drop_rate: dropout of the head.
        image_size: height and width of the input, in pixels.
    """

    batch_norm: bool = False
    squeeze_excite: bool = False
    five_kernel: int = 5
    last_pool: int = 3
    pool_padding: str = "symmetric"
    stem_filters: tuple = (64, 64, 192)
    stages: tuple = STAGES
    drop_rate: float = 0.4
    image_size: int = 224

    def __post_init__(self):
        """Refuses words that mean nothing here."""
        if self.pool_padding not in PADDINGS:
            choice = did_you_mean(self.pool_padding, PADDINGS)
            raise UserError(f"pool_padding={self.pool_padding}: {choice}")


PADDINGS = ("symmetric", "ceil")
TORCHVISION = {"batch_norm": True, "five_kernel": 3, "last_pool": 2, "pool_padding": "ceil"}

_MODULE = Inception(16, 8, 16, 8, 16, 16)
_TINY = GoogLeNet(stem_filters=(8, 8, 8), stages=((_MODULE,), (_MODULE,) * 4, (_MODULE,)), image_size=64)

ROWS = {
    "googlenet":             GoogLeNet(),
    "googlenet_bn":          GoogLeNet(batch_norm=True),
    "googlenet_bn_3x3":      GoogLeNet(**TORCHVISION),
    "se_googlenet_bn":       GoogLeNet(batch_norm=True, squeeze_excite=True),
    "test_googlenet":        _TINY,
    "test_googlenet_bn_3x3": dataclasses.replace(_TINY, **TORCHVISION),
    "test_se_googlenet_bn":  dataclasses.replace(_TINY, batch_norm=True, squeeze_excite=True),
}  # fmt: skip


def inception(x, module, five_kernel, conv_block, name):
    """[1x1 | 1x1, 3x3 | 1x1, 5x5 | 3x3 max pool, 1x1], side by side."""
    one = conv_block(x, module.one, 1, name=f"{name}_one")
    three = conv_block(x, module.three_reduce, 1, name=f"{name}_three_reduce")
    three = conv_block(three, module.three, 3, name=f"{name}_three")
    five = conv_block(x, module.five_reduce, 1, name=f"{name}_five_reduce")
    five = conv_block(five, module.five, five_kernel, name=f"{name}_five")
    pool = max_pool(x, 3, 1, name=f"{name}_pool")
    pool = conv_block(pool, module.pool_project, 1, name=f"{name}_pool_project")
    return layers.Concatenate(name=f"{name}_concat")([one, three, five, pool])


def build(config, num_classes, image_size):
    """7x7/2, pool -> 1x1, 3x3, pool -> 2 modules, pool -> 5 modules, pool -> 2 modules -> head."""
    conv_block = conv_norm_act if config.batch_norm else conv_act
    first, reduce, second = config.stem_filters
    inputs, x = image_input(image_size)
    x = conv_block(x, first, 7, 2, name="stem_conv")
    x = max_pool(x, 3, 2, padding=config.pool_padding, name="stem_pool1")
    if not config.batch_norm:
        x = local_response_norm(x, name="stem_lrn1")
    x = conv_block(x, reduce, 1, name="stem_reduce")
    x = conv_block(x, second, 3, name="stem_conv2")
    if not config.batch_norm:
        x = local_response_norm(x, name="stem_lrn2")
    for stage, modules in enumerate(config.stages, start=1):
        window = config.last_pool if stage == len(config.stages) else 3
        x = max_pool(x, window, 2, padding=config.pool_padding, name=f"stage{stage}_pool")
        for block, module in enumerate(modules, start=1):
            name = f"stage{stage}_block{block}"
            x = inception(x, module, config.five_kernel, conv_block, name)
            if config.squeeze_excite:
                x = squeeze_excite(x, x.shape[-1] // SE_REDUCTION or 1, name=f"{name}_se")
    return inputs, head(x, num_classes, config.drop_rate)


def auxiliary(config, model, num_classes):
    """The two classifiers of section 5, on modules 4a and 4d: 5x5 average /3, 1x1, dense, dropout, logits."""
    conv_block = conv_norm_act if config.batch_norm else conv_act
    found = []
    for number, block in enumerate((1, 4), start=1):
        name = f"auxiliary{number}"
        x = model.get_layer(
            f"stage2_block{block}_{'se_excite' if config.squeeze_excite else 'concat'}"
        ).output
        x = layers.AveragePooling2D(5, 3, "same" if x.shape[1] < 5 else "valid", name=f"{name}_pool")(x)
        x = conv_block(x, 128, 1, name=f"{name}_conv")
        x = layers.Flatten(name=f"{name}_flatten")(x)
        x = layers.Dense(1024, "relu", name=f"{name}_dense")(x)
        x = layers.Dropout(0.7, name=f"{name}_dropout")(x)
        found.append(logits(x, num_classes, name=f"{name}_logits"))
    return found, AUXILIARY_WEIGHT


register(ROWS, build, PAPER, RECIPE, auxiliary)

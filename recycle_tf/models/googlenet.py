"""GoogLeNet: inception modules with convolutions of three sizes and a max pooling side by side.

Szegedy et al.: Going Deeper with Convolutions, 2014, arXiv 1409.4842, table 1. `googlenet_bn` normalizes
after each convolution (Ioffe, Szegedy, arXiv 1502.03167). `se_googlenet_bn` applies squeeze-and-excitation
after each module (Hu et al., arXiv 1709.01507).

Deviations from the paper:

* `googlenet_bn_3x3` is torchvision's network, so that it can load the published weights: its 5x5 branch is a
  3x3, its last pooling window is 2x2, and its pooling layers pad at the bottom and right only. Those of the
  other rows pad symmetrically.
* Kernels are initialized with He's variance.
* `auxiliary` adds the auxiliary classifiers for training only; they are not part of the model.
"""

import dataclasses

from keras import layers

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
from recycle_tf.models.registry import Paper, Recipe, check_choices, register

PAPER = Paper("Going Deeper with Convolutions", 2014, "arXiv 1409.4842")
SE_PAPER = Paper("Squeeze-and-Excitation Networks", 2017, "arXiv 1709.01507")
# Section 6: momentum, and a learning rate that decreases by 4 % every 8 epochs. The number of epochs (250),
# the learning rate, the batch size and the weight decay are those of Caffe's `bvlc_googlenet`.
RECIPE = Recipe(
    learning_rate=0.01,
    batch_size=32,
    weight_decay=2e-4,
    schedule="exponential",
    decay=0.96 ** (250 / 8),
)
# arXiv 1709.01507, section 5, as for the residual networks of that paper.
SE_RECIPE = Recipe(0.6, batch_size=1024, weight_decay=1e-4, decay_at="0.3,0.6,0.9")
SE_REDUCTION = 16
AUXILIARY_WEIGHT = 0.3


@dataclasses.dataclass(frozen=True)
class Inception:
    """A row of table 1: filters of the four branches of a module.

    Attributes:
        one: 1x1 convolution.
        three_reduce: 1x1 convolution before the 3x3.
        three: 3x3 convolution.
        five_reduce: 1x1 convolution before the 5x5.
        five: 5x5 convolution.
        pool_project: 1x1 convolution after the max pooling.
    """

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
        batch_norm: batch normalization instead of biases and local response normalization.
        squeeze_excite: squeeze-and-excitation after each module.
        five_kernel: kernel size of the branch that the table calls 5x5.
        last_pool: window of the pooling before the last stage.
        pool_padding: padding of the pooling layers with stride 2: `"symmetric"` or `"ceil"` (bottom and
            right).
        stem_filters: filters of the three convolutions of the stem.
        stages: modules of each stage; a pooling precedes each stage.
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
        """Validates `pool_padding`."""
        check_choices(self, {"pool_padding": ("symmetric", "ceil")})


TORCHVISION = {"batch_norm": True, "five_kernel": 3, "last_pool": 2, "pool_padding": "ceil"}

_MODULE = Inception(16, 8, 16, 8, 16, 16)
_TINY = GoogLeNet(stem_filters=(8, 8, 8), stages=((_MODULE,), (_MODULE,) * 4, (_MODULE,)), image_size=64)

ROWS = {
    "googlenet":             GoogLeNet(),
    "googlenet_bn":          GoogLeNet(batch_norm=True),
    "googlenet_bn_3x3":      GoogLeNet(**TORCHVISION),
    "test_googlenet":        _TINY,
    "test_googlenet_bn_3x3": dataclasses.replace(_TINY, **TORCHVISION),
}  # fmt: skip
SE_ROWS = {
    "se_googlenet_bn":       GoogLeNet(batch_norm=True, squeeze_excite=True),
    "test_se_googlenet_bn":  dataclasses.replace(_TINY, batch_norm=True, squeeze_excite=True),
}  # fmt: skip


def inception(x, module, five_kernel, conv_block, name):
    """[1x1, 1x1 -> 3x3, 1x1 -> 5x5, 3x3 max pool -> 1x1], concatenated."""
    one = conv_block(x, module.one, 1, name=f"{name}_one")
    three = conv_block(x, module.three_reduce, 1, name=f"{name}_three_reduce")
    three = conv_block(three, module.three, 3, name=f"{name}_three")
    five = conv_block(x, module.five_reduce, 1, name=f"{name}_five_reduce")
    five = conv_block(five, module.five, five_kernel, name=f"{name}_five")
    pool = max_pool(x, 3, 1, name=f"{name}_pool")
    pool = conv_block(pool, module.pool_project, 1, name=f"{name}_pool_project")
    return layers.Concatenate(name=f"{name}_concat")([one, three, five, pool])


def build(config, num_classes, image_size):
    """7x7/2 -> pool -> 1x1 -> 3x3 -> pool -> 2 modules -> pool -> 5 modules -> pool -> 2 modules -> head."""
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
    """5x5 average pool /3 -> 1x1 -> dense -> dropout -> logits, on modules 4a and 4d (section 5)."""
    conv_block = conv_norm_act if config.batch_norm else conv_act
    outputs = []
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
        outputs.append(logits(x, num_classes, name=f"{name}_logits"))
    return outputs, AUXILIARY_WEIGHT


register(ROWS, build, PAPER, RECIPE, auxiliary)
register(SE_ROWS, build, SE_PAPER, SE_RECIPE, auxiliary)

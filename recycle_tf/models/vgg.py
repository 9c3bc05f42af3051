"""VGG: stacks of 3x3 convolutions.

Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, 2014,
arXiv 1409.1556, table 1 (columns A, B, D, E).

Deviations from the paper: kernels are initialized with He's variance, so that the deep columns can be trained
from scratch; the paper initializes them from the trained column A. The `_bn` rows normalize after each
convolution, which keeps its bias, as in torchvision.
"""

import dataclasses

from recycle_tf.layers import conv, conv_act, dense_head, image_input, max_pool, norm_act
from recycle_tf.models.registry import Paper, Recipe, register

PAPER = Paper("Very Deep Convolutional Networks for Large-Scale Image Recognition", 2014, "arXiv 1409.1556")
# Section 3.1: the learning rate was divided by 10 three times, when the validation accuracy stopped
# improving; here at equal distances.
RECIPE = Recipe(learning_rate=0.01, batch_size=256, weight_decay=5e-4, decay_at="0.25,0.5,0.75")


@dataclasses.dataclass(frozen=True)
class VGG:
    """A column of table 1.

    Attributes:
        convs_per_stage: number of 3x3 convolutions in each of the five stages.
        batch_norm: normalize after each convolution.
        filters: filters of each stage.
        units: width of the two hidden dense layers.
        drop_rate: dropout after each hidden dense layer.
        image_size: height and width of the input, in pixels.
    """

    convs_per_stage: tuple
    batch_norm: bool = False
    filters: tuple = (64, 128, 256, 512, 512)
    units: int = 4096
    drop_rate: float = 0.5
    image_size: int = 224


TABLE_1 = {
    "vgg11": VGG((1, 1, 2, 2, 2)),
    "vgg13": VGG((2, 2, 2, 2, 2)),
    "vgg16": VGG((2, 2, 3, 3, 3)),
    "vgg19": VGG((2, 2, 4, 4, 4)),
}
WITH_NORM = {f"{arch}_bn": dataclasses.replace(row, batch_norm=True) for arch, row in TABLE_1.items()}

_TINY = VGG((1, 1, 1, 1, 1), filters=(4, 4, 8, 8, 8), units=16, image_size=32)
TINY = {"test_vgg": _TINY, "test_vgg_bn": dataclasses.replace(_TINY, batch_norm=True)}


def build(config, num_classes, image_size):
    """(3x3 convolutions -> 2x2 max pool) x 5 -> two dense layers with dropout -> logits."""
    inputs, x = image_input(image_size)
    for stage, (filters, convs) in enumerate(
        zip(config.filters, config.convs_per_stage, strict=True), start=1
    ):
        for number in range(1, convs + 1):
            first = stage == number == 1
            name = "stem_conv" if first else f"stage{stage}_conv{number}"
            if config.batch_norm:
                x = conv(x, filters, 3, use_bias=True, name=name)
                x = norm_act(x, name=name)
            else:
                x = conv_act(x, filters, 3, name=name)
        x = max_pool(x, 2, 2, padding="valid", name=f"stage{stage}_pool")
    return inputs, dense_head(x, num_classes, (config.units, config.units), config.drop_rate)


register(TABLE_1 | WITH_NORM | TINY, build, PAPER, RECIPE)

"""AlexNet, in two towers as in 2012, or in one.

Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural Networks, NIPS 2012,
figure 2; and Krizhevsky: One weird trick for parallelizing convolutional neural networks, 2014,
arXiv 1404.5997, whose single tower is the one with published weights.

Deviations: the two towers, which lived on two GPUs, are the two groups of a grouped convolution. He's
initialisation takes the place of a fixed deviation of 0.01. The picture is 227 pixels wide, which the
paper's arithmetic needs, not its 224.
"""

import dataclasses

from recycle_tf.layers import conv_act, dense_head, image_input, local_response_norm, max_pool
from recycle_tf.models.registry import Paper, Recipe, register

PAPER = Paper("ImageNet Classification with Deep Convolutional Neural Networks", 2012, "1404.5997")
# Section 5. The rate was lowered three times, when validation no longer improved: here evenly.
RECIPE = Recipe(learning_rate=0.01, batch_size=128, weight_decay=5e-4, decay_at="0.25,0.5,0.75")


@dataclasses.dataclass(frozen=True)
class AlexNet:
    """Figure 2.

    Attributes:
        filters: of the five convolutions.
        groups: of the five convolutions; two where the towers do not see each other.
        stem_padding: pixels around the picture.
        response_norm: whether the first two convolutions compete with their neighbours (section 3.3).
        units: of the two hidden dense layers.
        drop_rate: after each hidden dense layer.
        image_size: height and width of the input, in pixels.
    """

    filters: tuple
    groups: tuple = (1, 1, 1, 1, 1)
    stem_padding: int = 0
    response_norm: bool = False
    units: int = 4096
    drop_rate: float = 0.5
    image_size: int = 224


TOWERS = (1, 2, 1, 2, 2)

ROWS = {
    "alexnet":           AlexNet((96, 256, 384, 384, 256), TOWERS, response_norm=True, image_size=227),
    "alexnet_one_tower": AlexNet((64, 192, 384, 256, 256), stem_padding=2),
    "test_alexnet":      AlexNet((8, 8, 8, 8, 8), TOWERS, response_norm=True, units=16, image_size=67),
}  # fmt: skip


def build(config, num_classes, image_size):
    """11x11/4, pool -> 5x5, pool -> 3x3, 3x3, 3x3, pool -> two dense layers with dropout -> logits."""
    inputs, x = image_input(image_size)
    kernels = (11, 5, 3, 3, 3)
    names = ("stem_conv", "stage1_conv1", "stage2_conv1", "stage2_conv2", "stage2_conv3")
    for number, (filters, kernel, groups, name) in enumerate(
        zip(config.filters, kernels, config.groups, names, strict=True)
    ):
        first = number == 0
        x = conv_act(
            x,
            filters,
            kernel,
            strides=4 if first else 1,
            padding=config.stem_padding if first else "symmetric",
            groups=groups,
            name=name,
        )
        if number < 2 and config.response_norm:
            x = local_response_norm(x, name=f"{name}_lrn")
        if number in (0, 1, 4):
            x = max_pool(x, 3, 2, padding="valid", name=f"{name.partition('_')[0]}_pool")
    return inputs, dense_head(x, num_classes, (config.units, config.units), config.drop_rate)


register(ROWS, build, PAPER, RECIPE)

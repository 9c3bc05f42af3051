"""AlexNet, in two towers as in 2012, or in one.

Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural Networks, NIPS 2012,
figure 2 (`alexnet`). Krizhevsky: One weird trick for parallelizing convolutional neural networks, 2014,
arXiv 1404.5997 (`alexnet_one_tower`).

Deviations from the papers:

* The two towers, which ran on two GPUs, are the two groups of grouped convolutions.
* Kernels are initialized with He's variance, not with a standard deviation of 0.01, and all biases with 0,
  not some of them with 1.
* `alexnet` takes images of 227 x 227 pixels, which the paper's feature map sizes require, not 224 x 224.
* `alexnet_one_tower` is torchvision's network, so that it can load the published weights: its convolutions
  have 64, 192, 384, 256, 256 filters, where the paper has 64, 192, 384, 384, 256 (footnote 1), its logits
  belong to a softmax, not to independent logistic units, and it has no response normalization.
"""

import dataclasses

from recycle_tf.layers import conv_act, dense_head, image_input, local_response_norm, max_pool
from recycle_tf.models.registry import Paper, Recipe, register

PAPER = Paper("ImageNet Classification with Deep Convolutional Neural Networks", 2012, "NIPS 2012")
ONE_TOWER_PAPER = Paper(
    "One weird trick for parallelizing convolutional neural networks", 2014, "arXiv 1404.5997"
)
# NIPS 2012, section 5: the learning rate was divided by 10 three times, when the validation error stopped
# improving; here at equal distances.
RECIPE = Recipe(learning_rate=0.01, batch_size=128, weight_decay=5e-4, decay_at="0.25,0.5,0.75")


@dataclasses.dataclass(frozen=True)
class AlexNet:
    """Figure 2.

    Attributes:
        filters: filters of the five convolutions.
        groups: groups of the five convolutions; 2 where the towers are not connected.
        stem_padding: pixels of padding around the image.
        response_norm: local response normalization after the first two convolutions (section 3.3).
        units: width of the two hidden dense layers.
        drop_rate: dropout after each hidden dense layer.
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
    "alexnet":      AlexNet((96, 256, 384, 384, 256), TOWERS, response_norm=True, image_size=227),
    "test_alexnet": AlexNet((8, 8, 8, 8, 8), TOWERS, response_norm=True, units=16, image_size=67),
}  # fmt: skip
ONE_TOWER = {"alexnet_one_tower": AlexNet((64, 192, 384, 256, 256), stem_padding=2)}


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
register(ONE_TOWER, build, ONE_TOWER_PAPER, RECIPE)

"""LeNet-5, a network for handwritten digits.

LeCun, Bottou, Bengio, Haffner: Gradient-Based Learning Applied to Document Recognition, Proceedings of the
IEEE 86(11), 1998, figure 2.

Deviations from the paper, all common today: subsampling has no trainable coefficients, C3 is connected to all
feature maps of S2, the activation is tanh without scaling, the output is a dense layer instead of radial
basis functions, and kernels are initialized from normal distributions, not uniform ones.
"""

import dataclasses

from keras import layers

from recycle_tf.layers import (
    GRAY_MEAN,
    GRAY_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    conv_act,
    dense_head,
    image_input,
)
from recycle_tf.models.registry import Paper, Recipe, check_choices, register

PAPER = Paper(
    "Gradient-Based Learning Applied to Document Recognition", 1998, "Proceedings of the IEEE 86(11)"
)
# Section III.B: one image per step; the learning rate is lowered after 2, 5, 8 and 12 of 20 epochs, to 1/50
# in total. The paper divides it by an estimate of the second derivatives; here momentum is used instead.
RECIPE = Recipe(
    learning_rate=5e-4, batch_size=1, weight_decay=0.0, decay=0.02 ** (1 / 4), decay_at="0.1,0.25,0.4,0.6"
)


@dataclasses.dataclass(frozen=True)
class LeNet:
    """Figure 2.

    Attributes:
        channels: 3 for RGB, or 1 for grayscale as in the paper.
        image_size: height and width of the input, in pixels.
    """

    channels: int = 3
    image_size: int = 32

    def __post_init__(self):
        """Validates `channels`."""
        check_choices(self, {"channels": (1, 3)})


def build(config, num_classes, image_size):
    """5x5 (6) -> tanh -> pool -> 5x5 (16) -> tanh -> pool -> 120 -> tanh -> 84 -> tanh -> logits."""
    constants = (GRAY_MEAN, GRAY_STD) if config.channels == 1 else (IMAGENET_MEAN, IMAGENET_STD)
    inputs, x = image_input(image_size, *constants)
    x = conv_act(x, 6, 5, activation="tanh", padding="valid", name="stem_conv")
    x = layers.AveragePooling2D(2, name="stem_pool")(x)
    x = conv_act(x, 16, 5, activation="tanh", padding="valid", name="stage1_conv1")
    x = layers.AveragePooling2D(2, name="stage1_pool")(x)
    return inputs, dense_head(x, num_classes, (120, 84), activation="tanh")


register({"lenet5": LeNet(), "test_lenet": LeNet()}, build, PAPER, RECIPE)

"""LeNet-5, the network that read bank cheques.

LeCun, Bottou, Bengio, Haffner: Gradient-Based Learning Applied to Document Recognition, Proceedings of the
IEEE 86, 1998, figure 2. No arXiv number.

Deviations: the sub-sampling has no trainable coefficients, C3 sees all maps of S2 and not chosen ones, and
the output is dense rather than a distance to drawn prototypes: LeNet-5 as it is taught today.
"""

import dataclasses

from keras import layers

from recycle_tf.layers import (
    GREY_MEAN,
    GREY_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    conv_act,
    dense_head,
    image_input,
)
from recycle_tf.models.registry import Paper, Recipe, register

PAPER = Paper("Gradient-Based Learning Applied to Document Recognition", 1998, None)
# Section III.C: single pictures, the rate lowered after 2, 5, 8 and 12 of 20 epochs to a 50th in all. There
# it is divided by second derivatives; here momentum is in their place.
RECIPE = Recipe(
    learning_rate=5e-4, batch_size=1, weight_decay=0.0, decay=0.02 ** (1 / 4), decay_at="0.1,0.25,0.4,0.6"
)


@dataclasses.dataclass(frozen=True)
class LeNet:
    """Figure 2.

    Attributes:
        channels: 3 for RGB, 1 for grey as in the paper.
        image_size: height and width of the input, in pixels.
    """

    channels: int = 3
    image_size: int = 32


def build(config, num_classes, image_size):
    """5x5 (6), tanh, average /2 -> 5x5 (16), tanh, average /2 -> 120, tanh -> 84, tanh -> logits."""
    constants = (GREY_MEAN, GREY_STD) if config.channels == 1 else (IMAGENET_MEAN, IMAGENET_STD)
    inputs, x = image_input(image_size, *constants)
    x = conv_act(x, 6, 5, activation="tanh", padding="valid", name="stem_conv")
    x = layers.AveragePooling2D(2, name="stem_pool")(x)
    x = conv_act(x, 16, 5, activation="tanh", padding="valid", name="stage1_conv1")
    x = layers.AveragePooling2D(2, name="stage1_pool")(x)
    return inputs, dense_head(x, num_classes, (120, 84), activation="tanh")


register({"lenet5": LeNet(), "test_lenet": LeNet()}, build, PAPER, RECIPE)

"""Highway networks: a learned gate decides how much of a layer is new and how much is carried on.

Srivastava, Greff, Schmidhuber: Training Very Deep Networks, 2015, arXiv 1507.06228, equation 3. One of the
networks with short paths that DenseNet's introduction cites.

Deviation: the rows have the shape of the CIFAR networks they are usually compared with (three stages of 16,
32 and 64 filters, as in `resnet20` and `resnet56`), not the paper's ten CIFAR layouts; where the shape
changes, an ordinary convolution stands, as in the paper.
"""

import dataclasses

import keras
from keras import layers

from recycle_tf.layers import conv_act, head, image_input
from recycle_tf.models.registry import Paper, Recipe, register

PAPER = Paper("Training Very Deep Networks", 2015, "1507.06228")
# Section 3: momentum, and a rate that falls by a fixed schedule. The numbers are ours: the paper does not say
# what its search for them found.
RECIPE = Recipe(learning_rate=0.01, batch_size=128, weight_decay=0.0)


@dataclasses.dataclass(frozen=True)
class Highway:
    """3 x `layers_per_stage` + 2 layers.

    Attributes:
        layers_per_stage: convolutions of each stage; all but the first of stages 2 and 3 are gated.
        filters: of the first stage; it doubles with every stage.
        gate_bias: where the gates start: negative, so that at first nearly everything is carried.
        image_size: height and width of the input, in pixels.
    """

    layers_per_stage: int
    filters: int = 16
    gate_bias: float = -2.0
    image_size: int = 32


ROWS = {
    "highway20": Highway(6),
    "highway56": Highway(18),
    "test_highway": Highway(2, filters=8),
}


def highway_layer(x, gate_bias, name):
    """Y = H(x) T(x) + x (1 - T(x)): H a 3x3 and ReLU, T a 3x3 and sigmoid."""
    new = conv_act(x, x.shape[-1], 3, name=f"{name}_conv")
    gate = layers.Conv2D(
        x.shape[-1],
        3,
        padding="same",
        activation="sigmoid",
        bias_initializer=keras.initializers.Constant(gate_bias),
        name=f"{name}_gate",
    )(x)
    return layers.Add(name=f"{name}_add")([gate * new, (1 - gate) * x])


def build(config, num_classes, image_size):
    """3x3 -> three stages of highway layers, a 3x3/2 between them -> head."""
    inputs, x = image_input(image_size)
    x = conv_act(x, config.filters, 3, name="stem_conv")
    for stage in (1, 2, 3):
        for block in range(1, config.layers_per_stage + 1):
            name = f"stage{stage}_block{block}"
            if stage > 1 and block == 1:
                x = conv_act(x, 2 * x.shape[-1], 3, 2, name=f"{name}_conv")
            else:
                x = highway_layer(x, config.gate_bias, name)
    return inputs, head(x, num_classes)


register(ROWS, build, PAPER, RECIPE)

"""Highway networks: a learned gate mixes the output of each layer with its input.

Srivastava, Greff, Schmidhuber: Training Very Deep Networks, 2015, arXiv 1507.06228, equation 3.

Deviation from the paper: the networks have the layout of `resnet20` and `resnet56` (three stages of 16, 32
and 64 filters), with which they can be compared, not that of the paper's CIFAR networks. As in the paper, a
plain convolution replaces the gated layer where the shape changes.
"""

import dataclasses

import keras
from keras import layers

from recycle_tf.layers import conv_act, head, image_input
from recycle_tf.models.registry import Paper, Recipe, check_positive, register

PAPER = Paper("Training Very Deep Networks", 2015, "arXiv 1507.06228")
# Section 3: momentum, and a learning rate that follows a fixed schedule. The paper does not give the values;
# these are ours.
RECIPE = Recipe(learning_rate=0.01, batch_size=128, weight_decay=0.0)


@dataclasses.dataclass(frozen=True)
class Highway:
    """A network of 3 x `layers_per_stage` + 2 layers.

    Attributes:
        layers_per_stage: convolutions per stage. All are gated, except the first of stages 2 and 3.
        filters: filters of the first stage; they double with each stage.
        gate_bias: initial bias of the gates; negative, so that layers initially pass most of their input on.
        image_size: height and width of the input, in pixels.
    """

    layers_per_stage: int
    filters: int = 16
    gate_bias: float = -2.0
    image_size: int = 32

    def __post_init__(self):
        """Validates the counts."""
        check_positive(self, "layers_per_stage", "filters")


ROWS = {
    "highway20": Highway(6),
    "highway56": Highway(18),
    "test_highway": Highway(2, filters=8),
}


def highway_layer(x, gate_bias, name):
    """H(x) T(x) + x (1 - T(x)), with H: 3x3 -> ReLU, and T: 3x3 -> sigmoid."""
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
    """3x3 -> ReLU -> three stages of highway layers, a 3x3/2 -> ReLU between them -> head."""
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

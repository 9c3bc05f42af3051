"""FractalNet: a network of short and long paths that a recursive rule generates, without residuals.

Larsson, Maire, Shakhnarovich: FractalNet: Ultra-Deep Neural Networks without Residuals, 2016,
arXiv 1605.07648, equation 1 and section 4.

Deviations from the paper:

* Drop-path draws separately for each image, not once per batch. A join whose inputs are all dropped keeps all
  of them. Global drop-path (a single column for the whole network) is not implemented.
* Kernels are initialized as He et al. do, not as Glorot and Bengio.
* Dropout is in the head only, not after each block with a rate that increases with depth.
* The paper leaves the exact layout open: `fractalnet20` has 33.7 M parameters, while table 2 of the DenseNet
  paper lists 38.6 M for FractalNet.
"""

import dataclasses

import keras
from keras import layers

from recycle_tf.layers import conv_norm_act, head, image_input, max_pool
from recycle_tf.models.registry import Paper, Recipe, check_positive, register

PAPER = Paper("FractalNet: Ultra-Deep Neural Networks without Residuals", 2016, "arXiv 1605.07648")
# Section 4: the learning rate is divided by 10 whenever the number of remaining epochs has halved.
RECIPE = Recipe(learning_rate=0.02, batch_size=100, weight_decay=0.0, decay_at="0.5,0.75,0.875,0.9375")


@dataclasses.dataclass(frozen=True)
class FractalNet:
    """Section 4: five blocks of `columns` columns are 5 x 2^(columns - 1) layers deep.

    Attributes:
        columns: columns per block, C in the paper; the longest has 2^(C - 1) convolutions.
        filters: filters of each block; 2x2 max pooling follows each block.
        drop_path_rate: probability of dropping an input of a join.
        drop_rate: dropout of the head.
        image_size: height and width of the input, in pixels.
    """

    columns: int
    filters: tuple = (64, 128, 256, 512, 512)
    drop_path_rate: float = 0.15
    drop_rate: float = 0.4
    image_size: int = 32

    def __post_init__(self):
        """Validates the counts."""
        check_positive(self, "columns", "filters")


ROWS = {
    "fractalnet20": FractalNet(3),
    "fractalnet40": FractalNet(4),
    "test_fractalnet": FractalNet(2, filters=(8, 8, 8)),
}


@keras.saving.register_keras_serializable("recycle_tf")
class Join(layers.Layer):
    """Mean of the inputs; in training, of those that drop-path has not dropped.

    Args:
        rate: probability of dropping an input in training, 0 <= rate < 1. If all inputs are dropped, all are
            used.
        seed: seed of the random generator.
    """

    def __init__(self, rate, seed=None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"drop_path_rate={rate}: expected 0 <= rate < 1")
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=False):
        """Averages `inputs`, a list of tensors `[batch, height, width, channels]` of the same shape."""
        paths = keras.ops.stack(inputs, axis=1)
        if not training or not self.rate:
            return keras.ops.mean(paths, axis=1)
        shape = (keras.ops.shape(paths)[0], len(inputs), 1, 1, 1)
        draw = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        keep = keras.ops.cast(draw >= self.rate, paths.dtype)
        all_dropped = keras.ops.cast(keras.ops.sum(keep, axis=1, keepdims=True) == 0, paths.dtype)
        keep = keep + all_dropped
        return keras.ops.sum(paths * keep, axis=1) / keras.ops.sum(keep, axis=1)

    def compute_output_shape(self, input_shape):
        """The shape of one input."""
        return input_shape[0]

    def get_config(self):
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


def fractal(x, columns, filters, rate, name):
    """Columns of a block, before the last join: f_1 = [conv]; f_(C+1)(x) = [f_C(join(f_C(x))), conv(x)]."""
    short = conv_norm_act(x, filters, 3, name=f"{name}_column{columns}")
    if columns == 1:
        return [short]
    middle = fractal(x, columns - 1, filters, rate, f"{name}a")
    middle = join(middle, rate, f"{name}_join{columns}")
    return [*fractal(middle, columns - 1, filters, rate, f"{name}b"), short]


def join(paths, rate, name):
    """Joins several paths; a single path is returned as it is."""
    return paths[0] if len(paths) == 1 else Join(rate, name=name)(paths)


def build(config, num_classes, image_size):
    """(Fractal block -> 2x2 max pool) for each of `filters` -> head."""
    inputs, x = image_input(image_size)
    # The network has no stem; fine-tuning and summaries refer to a layer of this name.
    x = layers.Identity(name="stem")(x)
    for stage, filters in enumerate(config.filters, start=1):
        name = f"stage{stage}_block1"
        paths = fractal(x, config.columns, filters, config.drop_path_rate, name)
        x = join(paths, config.drop_path_rate, f"{name}_join")
        x = max_pool(x, 2, 2, padding="valid", name=f"stage{stage}_pool")
    return inputs, head(x, num_classes, config.drop_rate)


register(ROWS, build, PAPER, RECIPE)

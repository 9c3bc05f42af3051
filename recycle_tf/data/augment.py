"""Augmentation of a whole batch, as a function of the pictures and of numbers drawn for each of them.

A policy draws nothing itself: it gets `draws`, `[batch, NUM_DRAWS]`, uniform in [0, 1), decided by seed,
epoch and example (`pipeline.py`). So the same draws give the same pictures, in any order, on any number of
threads. The geometry (crop, scale, aspect, flips, quarter turns) is one resampling, the colour
(brightness, contrast, saturation) one 3x4 matrix a picture.
"""

import numpy as np
import tensorflow as tf

from recycle_tf.errors import UserError, did_you_mean

NUM_DRAWS = 16
"""Numbers drawn for an example: eight for the geometry, the rest for colour and mixing."""

AREA = (0.25, 1.0)
ASPECT = 4 / 3
COLOUR = 0.3

_LUMA = np.float32([0.299, 0.587, 0.114])


def policies():
    """Names that `--augment` takes."""
    return ("none", *_OWN, *_KERAS_CV)


def policy(name):
    """The augmentation called `name`.

    Returns:
        `(pictures, draws, image_size) -> images`: uint8 `[batch, side, side, 3]` to float32
        `[batch, image_size, image_size, 3]`, values 0..255.

    Raises:
        UserError: no policy of that name.
    """
    if name == "none":
        return lambda pictures, draws, size: tf.cast(pictures, tf.float32)
    if name in _OWN:
        return _OWN[name]
    if name in _KERAS_CV:
        import keras_cv

        layer = _KERAS_CV[name](keras_cv.layers)
        return lambda pictures, draws, size: layer(random_crop(pictures, draws, size), training=True)
    raise UserError(f"--augment={name}: no such policy, {did_you_mean(name, policies())}")


def basic(pictures, draws, size):
    """Random resized crop, flips, quarter turns and a light change of colour: rubbish has no upright side."""
    pictures = quarter_turn(random_crop(pictures, draws, size), draws[:, 6])
    return change_colour(pictures, draws[:, 8:11])


def upright(pictures, draws, size):
    """`basic` for things that stand: mirrored, but never upside down or on their side."""
    return change_colour(random_crop(pictures, draws, size, upside_down=False), draws[:, 8:11])


def random_crop(pictures, draws, size, upside_down=True):
    """A part of each picture (a quarter to all of its area, 3:4 to 4:3), flipped or not, at `size`.

    Szegedy et al., Going Deeper with Convolutions, arXiv 1409.4842, section 6, with a larger smallest area.
    """
    area = AREA[0] + (AREA[1] - AREA[0]) * draws[:, 0]
    aspect = tf.exp((2 * draws[:, 1] - 1) * tf.math.log(ASPECT))
    height, width = tf.minimum(tf.sqrt(area / aspect), 1.0), tf.minimum(tf.sqrt(area * aspect), 1.0)
    top, left = (1 - height) * draws[:, 2], (1 - width) * draws[:, 3]
    head_up = draws[:, 4] < (0.5 if upside_down else 1.0)
    unmirrored = draws[:, 5] < 0.5
    # A box whose ends are swapped is read backwards: the flips cost nothing.
    boxes = tf.stack(
        [
            tf.where(head_up, top, top + height),
            tf.where(unmirrored, left, left + width),
            tf.where(head_up, top + height, top),
            tf.where(unmirrored, left + width, left),
        ],
        axis=1,
    )
    return tf.image.crop_and_resize(pictures, boxes, tf.range(tf.shape(pictures)[0]), [size, size])


def quarter_turn(pictures, draw):
    """Transposes half of the pictures: with the two flips, all eight positions of a square."""
    turned = tf.transpose(pictures, [0, 2, 1, 3])
    return tf.where((draw < 0.5)[:, None, None, None], pictures, turned)


def change_colour(pictures, draws, strength=COLOUR):
    """Brightness, contrast and saturation, each a factor in 1 +- `strength`, as one affine map of RGB.

    Args:
        pictures: `[batch, height, width, 3]`, 0..255.
        draws: `[batch, 3]`.
        strength: of the strongest change.

    Returns:
        Pictures of the same shape, clipped to 0..255.
    """
    brightness, contrast, saturation = tf.unstack(1 + strength * (2 * draws - 1), axis=1)
    grey = tf.reduce_mean(tf.tensordot(pictures, _LUMA, 1), axis=[1, 2])
    matrix = saturation[:, None, None] * tf.eye(3) + (1 - saturation)[:, None, None] * _LUMA[None, :, None]
    matrix *= (brightness * contrast)[:, None, None]
    offset = brightness * (1 - contrast) * grey
    changed = tf.einsum("bhwi,bij->bhwj", pictures, matrix) + offset[:, None, None, None]
    return tf.clip_by_value(changed, 0.0, 255.0)


_OWN = {"basic": basic, "upright": upright}

_KERAS_CV = {
    "randaugment": lambda layers: layers.RandAugment(value_range=(0, 255), magnitude=0.3),
    "augmix": lambda layers: layers.AugMix(value_range=(0, 255)),
    "gridmask": lambda layers: layers.GridMask(),
}
"""Policies of keras-cv, which draws from a generator of its own: they are not repeatable."""

SEQUENTIAL = tuple(_KERAS_CV)
"""Policies to be mapped one batch at a time."""

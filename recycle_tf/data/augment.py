"""Augmentation of a whole batch: two small matrices and a box for each picture.

A policy draws nothing itself. It turns `draws`, `[batch, NUM_DRAWS]`, uniform in [0, 1), decided by seed,
epoch and example (`pipeline.py`), into a `Change`: one matrix for the geometry (crop, scale, aspect, flips,
quarter turns, rotation, shear), one for the colour (brightness, contrast, saturation, hue, cast) and a box
to erase. Each is applied once. So the same draws give the same pictures, in any order, on any number of
threads.

XLA compiles the two loops over pixels: they take half the time of `tf.image.crop_and_resize`, which can
neither turn nor shear, and an `einsum`.
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from recycle_tf.errors import UserError, did_you_mean

NUM_DRAWS = 20
"""Numbers drawn for an example: seven to place it, nine to change it, the last four to mix it."""

AREA = (0.25, 1.0)
ASPECT = 4 / 3
COLOUR = 0.3
"""Brightness, contrast and saturation change by a factor in 1 +- this in `basic`."""

FILL = 127.5
"""Grey of an erased box."""

LUMA = np.float32([0.299, 0.587, 0.114])


class Change(NamedTuple):
    """What happens to each picture of a batch.

    Attributes:
        geometry: `[batch, 2, 3]`; takes a place (y, x, 1) of the result to one of the picture, both measured
            from the middle, in sides.
        colour: `[batch, 3, 4]`; takes a pixel (red, green, blue, 1), 0..255, to its new colour.
        erased: `[batch, 4]`; top, left, bottom, right of a grey box in the result, measured from the middle,
            in sides; none where bottom <= top.
    """

    geometry: tf.Tensor
    colour: tf.Tensor
    erased: tf.Tensor


def policies():
    """Names that `--augment` takes."""
    return ("none", *_OWN, "wild", *_KERAS_CV)


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
        return lambda pictures, draws, size: apply(pictures, _OWN[name](draws, grey(pictures)), size)
    if name in _KERAS_CV:
        import keras_cv

        layer = _KERAS_CV[name](keras_cv.layers)
        return lambda pictures, draws, size: layer(resample(pictures, placed(draws), size), training=True)
    raise UserError(f"--augment={name}: no such policy, {did_you_mean(name, policies())}")


def apply(pictures, change, size):
    """One resampling, one colour matrix, one box.

    Args:
        pictures: uint8 `[batch, side, side, 3]`.
        change: a `Change`.
        size: side of the result, in pixels.

    Returns:
        float32 `[batch, size, size, 3]`, 0..255.
    """
    return recolour(resample(pictures, change.geometry, size), change.colour, change.erased)


# ---- policies: draws -> Change


def trivial(draws, grey):
    """A crop, flipped and turned, and one further operation at a strength drawn for it.

    Müller, Hutter: TrivialAugment, arXiv 2103.10158, in whose spirit this is: one operation a picture, drawn
    uniformly, does as well as policies that were searched for. Its posterising, solarising, equalising and
    sharpening are left out, being neither matrix nor box.
    """
    operation = tf.cast(draws[:, 7] * (1 + len(WARPS) + len(COLOURS) + 1), tf.int32)
    strength = 2 * draws[:, 8] - 1
    warp = _drawn(operation - 1, [warp(strength) for warp in WARPS], np.eye(2))
    colours = [colour(strength, grey) for colour in COLOURS]
    colour = _drawn(operation - 1 - len(WARPS), colours, np.eye(3, 4))
    erased = operation == 1 + len(WARPS) + len(COLOURS)
    return Change(placed(draws, warp), colour, tf.where(erased[:, None], box(draws), 0.0))


def basic(draws, grey):
    """A crop, flipped and turned, with light changes of colour: rubbish has no upright side."""
    return Change(placed(draws), light(draws, grey), tf.zeros_like(draws[:, :4]))


def upright(draws, grey):
    """`basic` for things that stand: mirrored, but never upside down or on their side."""
    return Change(placed(draws, upright=True), light(draws, grey), tf.zeros_like(draws[:, :4]))


# ---- geometry


def placed(draws, warp=None, upright=False):
    """A part of each picture (a quarter to all of its area, 3:4 to 4:3) in one of its eight positions.

    Szegedy et al., Going Deeper with Convolutions, arXiv 1409.4842, section 6, with a larger smallest area.

    Args:
        draws: the first seven are used.
        warp: `[batch, 2, 2]`, what happens inside the part.
        upright: mirror, but neither turn nor stand on the head.

    Returns:
        The geometry of a `Change`.
    """
    area = AREA[0] + (AREA[1] - AREA[0]) * draws[:, 0]
    aspect = tf.exp((2 * draws[:, 1] - 1) * math.log(ASPECT))
    height, width = tf.minimum(tf.sqrt(area / aspect), 1.0), tf.minimum(tf.sqrt(area * aspect), 1.0)
    middle = [(1 - height) * (draws[:, 2] - 0.5), (1 - width) * (draws[:, 3] - 0.5)]
    down = height * (1.0 if upright else _sign(draws[:, 4]))
    right = width * _sign(draws[:, 5])
    linear = _matrix([[down, 0.0], [0.0, right]])
    if not upright:
        turned = _matrix([[0.0, down], [right, 0.0]])
        linear = tf.where((draws[:, 6] < 0.5)[:, None, None], linear, turned)
    if warp is not None:
        linear @= warp
    return tf.concat([linear, tf.stack(middle, axis=1)[..., None]], axis=2)


def rotation(strength):
    """By up to an eighth of a turn: with the quarter turns, any direction."""
    angle = strength * (math.pi / 4)
    return _matrix([[tf.cos(angle), -tf.sin(angle)], [tf.sin(angle), tf.cos(angle)]])


def shear_y(strength):
    """Rows slide by up to half the distance from the middle."""
    return _matrix([[1.0, 0.5 * strength], [0.0, 1.0]])


def shear_x(strength):
    """Columns likewise."""
    return _matrix([[1.0, 0.0], [0.5 * strength, 1.0]])


WARPS = (rotation, shear_y, shear_x)


def box(draws):
    """Of an eighth to a half of the side, somewhere. Zhong et al., Random Erasing, arXiv 1708.04896."""
    sides = 0.125 + 0.375 * draws[:, 9:11]
    start = (1 - sides) * draws[:, 11:13] - 0.5
    return tf.concat([start, start + sides], axis=1)


# ---- colour


def light(draws, grey, strength=COLOUR):
    """Brightness, contrast and saturation together, each by a factor in 1 +- `strength`."""
    factors = (strength * (2 * draws[:, column] - 1) for column in (8, 9, 10))
    by_brightness, by_contrast, by_saturation = factors
    changed = _then(saturation(by_saturation, grey, 1.0), contrast(by_contrast, grey, 1.0))
    return _then(changed, brightness(by_brightness, grey, 1.0))


def brightness(strength, grey, most=0.8):
    """All channels times 1 +- `most`."""
    return _affine((1 + most * strength)[:, None, None] * np.eye(3, dtype=np.float32))


def contrast(strength, grey, most=0.8):
    """Distances from the picture's own grey times 1 +- `most`."""
    factor = 1 + most * strength
    return _affine(factor[:, None, None] * np.eye(3, dtype=np.float32), (1 - factor) * grey)


def saturation(strength, grey, most=0.8):
    """Distances from each pixel's own grey times 1 +- `most`."""
    factor = (1 + most * strength)[:, None, None]
    return _affine(factor * np.eye(3, dtype=np.float32) + (1 - factor) * LUMA)


def hue(strength, grey):
    """Colours turned round the grey axis by up to a tenth of a turn (a linear stand-in for HSV's hue)."""
    angle = (strength * (0.2 * math.pi))[:, None, None]
    across = np.float32([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    along = np.full((3, 3), 1 / 3, np.float32)
    return _affine(tf.cos(angle) * (np.eye(3, dtype=np.float32) - along) + along + tf.sin(angle) * across)


def cast(strength, grey):
    """Warmer or colder light: red and blue apart by up to 30 %."""
    return _affine(tf.linalg.diag(1 + 0.3 * strength[:, None] * np.float32([1, 0, -1])))


COLOURS = (brightness, contrast, saturation, hue, cast)


@tf.function(jit_compile=True, autograph=False)
def grey(pictures):
    """Mean luma of each picture, over every eighth pixel of every eighth row."""
    return tf.tensordot(tf.reduce_mean(tf.cast(pictures[:, ::8, ::8], tf.float32), axis=[1, 2]), LUMA, 1)


# ---- loops over pixels


@tf.function(jit_compile=True, autograph=False)
def resample(pictures, geometry, size):
    """Bilinear samples of `pictures` where `geometry` points; the border goes on outside.

    Args:
        pictures: uint8 `[batch, height, width, 3]`.
        geometry: `[batch, 2, 3]`, of a `Change`.
        size: side of the result, in pixels.

    Returns:
        float32 `[batch, size, size, 3]`.
    """
    batch, height, width, _ = pictures.shape
    place = (tf.range(size, dtype=tf.float32) + 0.5) / size - 0.5
    coefficients = geometry[:, :, None, None, :]

    def source(axis, sides):
        at = coefficients[:, axis, ..., 0] * place[:, None] + coefficients[:, axis, ..., 1] * place
        at = tf.clip_by_value((at + coefficients[:, axis, ..., 2] + 0.5) * sides - 0.5, 0.0, sides - 1.0)
        low = tf.minimum(tf.floor(at), max(sides - 2.0, 0.0))
        return tf.cast(low, tf.int32), (at - low)[..., None]

    (top, down), (left, right) = source(0, height), source(1, width)
    flat = tf.reshape(pictures, (-1, pictures.shape[-1]))
    first = (tf.range(batch)[:, None, None] * height + top) * width + left

    def row(start):
        pixels = [tf.cast(tf.gather(flat, start + step), tf.float32) for step in (0, 1)]
        return pixels[0] * (1 - right) + pixels[1] * right

    return row(first) * (1 - down) + row(first + width) * down


@tf.function(jit_compile=True, autograph=False)
def recolour(images, colour, erased):
    """Every pixel through its picture's matrix, clipped to 0..255, and a grey box over it.

    Args:
        images: float32 `[batch, size, size, 3]`.
        colour: `[batch, 3, 4]`, of a `Change`.
        erased: `[batch, 4]`, of a `Change`.

    Returns:
        float32 of the same shape.
    """
    size = images.shape[1]
    # Written out: a product of 3x3 matrices is slower than its nine terms.
    channels = [
        sum(images[..., i] * colour[:, j, i, None, None] for i in range(3)) + colour[:, j, 3, None, None]
        for j in range(3)
    ]
    changed = tf.clip_by_value(tf.stack(channels, axis=-1), 0.0, 255.0)
    place = (tf.range(size, dtype=tf.float32) + 0.5) / size - 0.5
    rows = (place >= erased[:, 0, None]) & (place < erased[:, 2, None])
    columns = (place >= erased[:, 1, None]) & (place < erased[:, 3, None])
    return tf.where((rows[:, :, None] & columns[:, None, :])[..., None], FILL, changed)


def _sign(draw):
    return tf.where(draw < 0.5, 1.0, -1.0)


def _matrix(rows):
    """`[batch, 2, 2]` of numbers and `[batch]` tensors, of which there is at least one."""
    batch = next(entry for row in rows for entry in row if tf.is_tensor(entry))
    return tf.stack([tf.stack([entry + tf.zeros_like(batch) for entry in row], 1) for row in rows], 1)


def _affine(linear, offset=None):
    """`[batch, 3, 4]`: the matrix, and what is added to every channel."""
    column = tf.zeros_like(linear[..., :1]) + (0.0 if offset is None else offset[:, None, None])
    return tf.concat([linear, column], axis=2)


def _then(first, second):
    """One colour matrix after another."""
    product = second[..., :3] @ first
    return tf.concat([product[..., :3], product[..., 3:] + second[..., 3:]], axis=2)


def _drawn(index, candidates, otherwise):
    """Of each picture the candidate `[batch, …]` at its index, or `otherwise` where there is none."""
    none = tf.broadcast_to(tf.constant(otherwise, tf.float32), tf.shape(candidates[0]))
    inside = (index >= 0) & (index < len(candidates))
    chosen = tf.where(inside, index + 1, 0)
    return tf.gather(tf.stack([none, *candidates], axis=1), chosen, batch_dims=1)


_OWN = {"trivial": trivial, "basic": basic, "upright": upright}

_KERAS_CV = {
    "randaugment": lambda layers: layers.RandAugment(value_range=(0, 255), magnitude=0.3),
    "augmix": lambda layers: layers.AugMix(value_range=(0, 255)),
    "gridmask": lambda layers: layers.GridMask(),
}
"""Policies of keras-cv, which draws from a generator of its own: they are not repeatable."""

SEQUENTIAL = tuple(_KERAS_CV)
"""Policies to be mapped one batch at a time."""

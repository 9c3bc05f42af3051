"""Augmentation of whole batches: two small matrices and a box per image.

A policy draws nothing itself. It turns `draws`, `[batch, NUM_DRAWS]`, uniform in [0, 1) and determined by
seed, epoch and example (`pipeline`), into a `Change`: one matrix for the geometry (crop, scale, aspect
ratio, flips, quarter turns, rotation, shear), one for the color (brightness, contrast, saturation, hue,
cast), and a box to erase. Each is applied once. The same draws therefore give the same images, in any order
and on any number of threads.

XLA compiles the loops over pixels. They take half the time of `tf.image.crop_and_resize`, which can
neither rotate nor shear, followed by an `einsum`.
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from recycle_tf.data import keras_cv_policies
from recycle_tf.errors import UserError, did_you_mean

NUM_DRAWS = 20
"""Random numbers per example: seven place the crop, nine change the image, and the last four mix it."""

AREA = (0.25, 1.0)
"""Range of a crop's area, relative to the image."""

ASPECT = 4 / 3
"""Largest aspect ratio of a crop; the smallest is its inverse."""

COLOR = 0.3
"""In `basic`, brightness, contrast and saturation change by a factor in 1 +- this."""

FILL = 127.5
"""Gray level of an erased box."""

LUMA = np.float32([0.299, 0.587, 0.114])
"""Weights of red, green and blue in the luma of a pixel (ITU-R BT.601)."""


class Change(NamedTuple):
    """What happens to each image of a batch.

    Attributes:
        geometry: `[batch, 2, 3]`; maps a point (y, x, 1) of the result to a point of the image. Both are
            measured from the center, in units of the side.
        color: `[batch, 3, 4]`; maps a pixel (red, green, blue, 1), 0..255, to its new color.
        erased: `[batch, 4]`; top, left, bottom and right of a gray box in the result, measured like
            `geometry`; no box if bottom <= top.
    """

    geometry: tf.Tensor
    color: tf.Tensor
    erased: tf.Tensor


def policies():
    """Names of all policies, in the order of `options.POLICIES`."""
    return ("none", *_OWN, "wild", *keras_cv_policies.NAMES)


def policy(name):
    """Looks up a policy.

    Args:
        name: one of `options.POLICIES`.

    Returns:
        A function `(images, draws, image_size) -> images`: from uint8 `[batch, side, side, 3]` to float32
        `[batch, image_size, image_size, 3]`, values 0..255.

    Raises:
        UserError: there is no policy of that name.
    """
    if name == "none":
        return lambda images, draws, size: tf.cast(images, tf.float32)
    if name in _OWN:
        return lambda images, draws, size: apply(images, _OWN[name](draws, gray(images)), size)
    if name in keras_cv_policies.NAMES:
        layer = keras_cv_policies.layer(name)
        return lambda images, draws, size: layer(resample(images, placed(draws), size), training=True)
    raise UserError(f"`augment={name}`: no such policy, {did_you_mean(name, policies())}")


def apply(images, change, size):
    """Applies a change: one resampling, one color matrix, one box.

    Args:
        images: uint8 `[batch, side, side, 3]`.
        change: a `Change`.
        size: side of the result, in pixels.

    Returns:
        float32 `[batch, size, size, 3]`, 0..255.
    """
    return recolor(resample(images, change.geometry, size), change.color, change.erased)


# ---- policies: draws -> Change


def trivial(draws, gray):
    """A crop, flipped and turned, and one further operation whose strength is drawn.

    After Müller and Hutter, TrivialAugment, arXiv 2103.10158: one operation per image, drawn uniformly,
    does as well as policies that were searched for. Its posterize, solarize, equalize and sharpness are
    left out, because they are neither matrices nor boxes.
    """
    operation = tf.cast(draws[:, 7] * (1 + len(WARPS) + len(COLORS) + 1), tf.int32)
    strength = 2 * draws[:, 8] - 1
    warp = _drawn(operation - 1, [warp(strength) for warp in WARPS], np.eye(2))
    colors = [color(strength, gray) for color in COLORS]
    color = _drawn(operation - 1 - len(WARPS), colors, np.eye(3, 4))
    erased = operation == 1 + len(WARPS) + len(COLORS)
    return Change(placed(draws, warp), color, tf.where(erased[:, None], box(draws), 0.0))


def basic(draws, gray):
    """A crop, flipped and turned, with slight changes of color: waste has no upright side."""
    return Change(placed(draws), light(draws, gray), tf.zeros_like(draws[:, :4]))


def upright(draws, gray):
    """`basic` for objects that stand: mirrored, but never upside down or on their side."""
    return Change(placed(draws, upright=True), light(draws, gray), tf.zeros_like(draws[:, :4]))


# ---- geometry


def placed(draws, warp=None, upright=False):
    """A crop of each image in one of eight orientations.

    Its area is a quarter to all of the image, its aspect ratio 3:4 to 4:3.
    Szegedy et al., Going Deeper with Convolutions, arXiv 1409.4842, section 6, with a larger minimum area.

    Args:
        draws: the first seven are used.
        warp: `[batch, 2, 2]`, a further linear map inside the crop.
        upright: mirror, but neither turn nor flip vertically.

    Returns:
        The geometry of a `Change`.
    """
    area = AREA[0] + (AREA[1] - AREA[0]) * draws[:, 0]
    aspect = tf.exp((2 * draws[:, 1] - 1) * math.log(ASPECT))
    height, width = tf.minimum(tf.sqrt(area / aspect), 1.0), tf.minimum(tf.sqrt(area * aspect), 1.0)
    center = [(1 - height) * (draws[:, 2] - 0.5), (1 - width) * (draws[:, 3] - 0.5)]
    down = height * (1.0 if upright else _sign(draws[:, 4]))
    right = width * _sign(draws[:, 5])
    linear = _matrix([[down, 0.0], [0.0, right]])
    if not upright:
        turned = _matrix([[0.0, down], [right, 0.0]])
        linear = tf.where((draws[:, 6] < 0.5)[:, None, None], linear, turned)
    if warp is not None:
        linear @= warp
    return tf.concat([linear, tf.stack(center, axis=1)[..., None]], axis=2)


def rotation(strength):
    """Rotates by up to an eighth of a turn: together with quarter turns, to any direction."""
    angle = strength * (math.pi / 4)
    return _matrix([[tf.cos(angle), -tf.sin(angle)], [tf.sin(angle), tf.cos(angle)]])


def shear_y(strength):
    """Shifts columns vertically by up to half their distance from the center."""
    return _matrix([[1.0, 0.5 * strength], [0.0, 1.0]])


def shear_x(strength):
    """Shifts rows horizontally by up to half their distance from the center."""
    return _matrix([[1.0, 0.0], [0.5 * strength, 1.0]])


WARPS = (rotation, shear_y, shear_x)


def box(draws):
    """A box of an eighth to half of the side, anywhere. Zhong et al., Random Erasing, arXiv 1708.04896."""
    sides = 0.125 + 0.375 * draws[:, 9:11]
    start = (1 - sides) * draws[:, 11:13] - 0.5
    return tf.concat([start, start + sides], axis=1)


# ---- color


def light(draws, gray, strength=COLOR):
    """Changes brightness, contrast and saturation together, each by a factor in 1 +- `strength`."""
    factors = (strength * (2 * draws[:, column] - 1) for column in (8, 9, 10))
    by_brightness, by_contrast, by_saturation = factors
    changed = _then(saturation(by_saturation, gray, 1.0), contrast(by_contrast, gray, 1.0))
    return _then(changed, brightness(by_brightness, gray, 1.0))


def brightness(strength, gray, most=0.8):
    """Multiplies all channels by a factor in 1 +- `most`."""
    return _affine((1 + most * strength)[:, None, None] * np.eye(3, dtype=np.float32))


def contrast(strength, gray, most=0.8):
    """Multiplies distances from the image's mean gray by a factor in 1 +- `most`."""
    factor = 1 + most * strength
    return _affine(factor[:, None, None] * np.eye(3, dtype=np.float32), (1 - factor) * gray)


def saturation(strength, gray, most=0.8):
    """Multiplies distances from each pixel's own gray by a factor in 1 +- `most`."""
    factor = (1 + most * strength)[:, None, None]
    return _affine(factor * np.eye(3, dtype=np.float32) + (1 - factor) * LUMA)


def hue(strength, gray):
    """Rotates colors about the gray axis by up to a tenth of a turn: a linear approximation of HSV's hue."""
    angle = (strength * (0.2 * math.pi))[:, None, None]
    across = np.float32([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    along = np.full((3, 3), 1 / 3, np.float32)
    return _affine(tf.cos(angle) * (np.eye(3, dtype=np.float32) - along) + along + tf.sin(angle) * across)


def cast(strength, gray):
    """Makes the light warmer or colder: scales red up and blue down by up to 30 %, or the reverse."""
    return _affine(tf.linalg.diag(1 + 0.3 * strength[:, None] * np.float32([1, 0, -1])))


COLORS = (brightness, contrast, saturation, hue, cast)


@tf.function(jit_compile=True, autograph=False)
def gray(images):
    """Mean luma of each image, `[batch]`, over every eighth pixel of every eighth row."""
    return tf.tensordot(tf.reduce_mean(tf.cast(images[:, ::8, ::8], tf.float32), axis=[1, 2]), LUMA, 1)


# ---- loops over pixels


def resample(images, geometry, size):
    """Samples `images` bilinearly where `geometry` points. Outside, the border pixels continue.

    Args:
        images: uint8 `[batch, height, width, channels]`.
        geometry: `[batch, 2, 3]`, of a `Change`.
        size: side of the result, in pixels.

    Returns:
        float32 `[batch, size, size, channels]`.
    """
    return _interpolate(images, *_neighbors(geometry, images.shape[1], images.shape[2], size))


def points(geometry, size):
    """Where the pixels of a result lie in the image, -0.5..0.5: y and x, each `[batch, size, size]`."""
    place = (tf.range(size, dtype=tf.float32) + 0.5) / size - 0.5
    coefficients = geometry[:, :, None, None, :]
    at = coefficients[..., 0] * place[:, None] + coefficients[..., 1] * place + coefficients[..., 2]
    return at[:, 0], at[:, 1]


# Compiled apart from the interpolation, where XLA would compute each place once per neighbor and channel.
@tf.function(jit_compile=True, autograph=False)
def _neighbors(geometry, height, width, size):
    """The upper left of the four pixels around each point, counted over the batch, and the weights.

    Returns:
        int32 and two float32 `[batch, size, size]`: the pixel, and the weights of the lower and right ones.
    """

    def source(at, sides):
        at = tf.clip_by_value((at + 0.5) * sides - 0.5, 0.0, sides - 1.0)
        low = tf.minimum(tf.floor(at), max(sides - 2.0, 0.0))
        return tf.cast(low, tf.int32), at - low

    y, x = points(geometry, size)
    (top, down), (left, right) = source(y, height), source(x, width)
    return (tf.range(geometry.shape[0])[:, None, None] * height + top) * width + left, down, right


@tf.function(jit_compile=True, autograph=False)
def _interpolate(images, first, down, right):
    """The pixels of `_neighbors`, weighted: float32 `[batch, size, size, channels]`."""
    width, channels = images.shape[2:]
    flat, down, right = tf.reshape(images, (-1, channels)), down[..., None], right[..., None]

    def row(start):
        pixels = [tf.cast(tf.gather(flat, start + step), tf.float32) for step in (0, 1)]
        return pixels[0] * (1 - right) + pixels[1] * right

    return row(first) * (1 - down) + row(first + width) * down


@tf.function(jit_compile=True, autograph=False)
def recolor(images, color, erased):
    """Multiplies every pixel by its image's matrix, clips it to 0..255, and draws the gray box.

    Args:
        images: float32 `[batch, size, size, 3]`.
        color: `[batch, 3, 4]`, of a `Change`.
        erased: `[batch, 4]`, of a `Change`.

    Returns:
        float32 of the same shape.
    """
    size = images.shape[1]
    # Written out: a product of 3x3 matrices is slower than its nine terms.
    channels = [
        sum(images[..., i] * color[:, j, i, None, None] for i in range(3)) + color[:, j, 3, None, None]
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
    """`[batch, 2, 2]` from numbers and `[batch]` tensors, at least one of them a tensor."""
    batch = next(entry for row in rows for entry in row if tf.is_tensor(entry))
    return tf.stack([tf.stack([entry + tf.zeros_like(batch) for entry in row], 1) for row in rows], 1)


def _affine(linear, offset=None):
    """`[batch, 3, 4]`: a matrix, and an offset that is added to every channel."""
    column = tf.zeros_like(linear[..., :1]) + (0.0 if offset is None else offset[:, None, None])
    return tf.concat([linear, column], axis=2)


def _then(first, second):
    """Composes two color matrices, the first one applied first."""
    product = second[..., :3] @ first
    return tf.concat([product[..., :3], product[..., 3:] + second[..., 3:]], axis=2)


def _drawn(index, candidates, otherwise):
    """For each image the candidate `[batch, …]` at its index, or `otherwise` if the index is out of range."""
    none = tf.broadcast_to(tf.constant(otherwise, tf.float32), tf.shape(candidates[0]))
    inside = (index >= 0) & (index < len(candidates))
    chosen = tf.where(inside, index + 1, 0)
    return tf.gather(tf.stack([none, *candidates], axis=1), chosen, batch_dims=1)


_OWN = {"trivial": trivial, "basic": basic, "upright": upright}

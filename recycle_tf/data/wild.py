"""The policy `wild`: objects on other backgrounds, in other light.

It is for datasets that were photographed on plain paper and networks that will see floors, lawns and
landfills. Each object is cut out (`recycle_tf.data.cutout`) and pasted at a random size, angle and
position on another background (`recycle_tf.data.backgrounds`), with its own shadow, a cast shadow, both
or none, and sometimes as if it were transparent. Then exposure, white balance, contrast, saturation,
vignette, blur, noise and JPEG quality change. Images without a mask are cropped, flipped and turned as a
whole, or pasted as a whole, like a sheet of paper.

After Dwibedi et al., Cut, Paste and Learn, arXiv 1708.01642, and Ghiasi et al., Simple Copy-Paste Is a
Strong Data Augmentation Method, arXiv 2012.07177. Like the policies of `recycle_tf.data.augment`, it
draws nothing itself: the result follows from `draws`. Each loop over pixels is compiled on its own;
otherwise XLA would compute pixels again for every reduction or shift that reads them. From the composed
image on, the channels are planes, `[3, size, size]`, whose rows XLA vectorizes; and images are processed
one by one, because only every third is blurred or noisy.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from recycle_tf.data import augment

NUM_DRAWS = 64
"""Numbers drawn per example; the last four are those of `recycle_tf.data.mix`."""

REPLACED, SHEETS = 0.7, 0.25
"""Fraction of the images with a mask, and of those without, that get another background."""

SIZES = (0.25, 1.15)
"""Longest side of an object on another background, over that of the image; larger ones are likelier."""

TRANSPARENT = 0.3
"""Fraction of the objects that let the background through where they have the color of their own."""

PHOTOMETRIC = 0.5
"""Fraction of the images with their own background whose light changes."""

BLUR = 0.012
"""Largest standard deviation of the blur, over the side of the image."""

_SHEET = 0.98
"""Covered fraction from which an image has no mask."""

_DARK = 30.0
"""Darkest color of a background, 0..255, that brightness is measured against."""

_SHADOW_STEP = 8
"""The cast shadow is sampled at every so many pixels, which makes it soft."""


class Scene(NamedTuple):
    """How each image of a batch is composed and photographed.

    Attributes:
        replaced: bool `[batch]`, whether it gets another background.
        geometry: `[batch, 2, 3]`, as in `augment.Change`, of the image and its mask.
        shadow: `[batch, 2, 3]`, of the mask that casts the shadow.
        ground: `[batch, 2, 3]`, of the background.
        choice: `[batch]` in [0, 1), which background.
        tint: `[batch, 3]`, factors of its channels.
        own, cast, transparency: `[batch]` in 0..1: strength of the object's own shadow, of the cast shadow,
            and of the background behind parts that have the color of the original background.
        gains: `[batch, 3]`, factors of the channels: exposure and white balance.
        saturation, contrast: `[batch]`, factors.
        vignette: `[batch]`, how much darker the corners are.
        blur: `[batch]`, standard deviation, over the side of the image.
        noise: `[batch]`, the width of its uniform distribution.
        seeds: uint32 `[batch]`.
        quality: int32 `[batch]`, 1..100: of a JPEG; 0 if it is none.
    """

    replaced: tf.Tensor
    geometry: tf.Tensor
    shadow: tf.Tensor
    ground: tf.Tensor
    choice: tf.Tensor
    tint: tf.Tensor
    own: tf.Tensor
    cast: tf.Tensor
    transparency: tf.Tensor
    gains: tf.Tensor
    saturation: tf.Tensor
    contrast: tf.Tensor
    vignette: tf.Tensor
    blur: tf.Tensor
    noise: tf.Tensor
    seeds: tf.Tensor
    quality: tf.Tensor


def policy(bank):
    """The policy over a bank of backgrounds.

    Args:
        bank: uint8 `[count, size, size, 3]`.

    Returns:
        `(images, draws, image_size) -> images`: uint8 `[batch, side, side, 4]`, the fourth channel a mask
        (`cutout.masks`), and `[batch, NUM_DRAWS]`, uniform in [0, 1), to float32
        `[batch, image_size, image_size, 3]`, 0..255.
    """
    with tf.device("CPU"):
        bank = tf.constant(bank)

    def apply(images, draws, size):
        box, color, covered = _measure(images)
        scene = _scene(draws, box, covered)
        ground = _ground(bank, scene, size)
        shadow = _shadow(images, scene.shadow, size)
        pixels = augment.resample(images, scene.geometry, size)
        composed = _compose(pixels, ground, shadow, color, scene)
        return tf.map_fn(_photograph, (composed, scene), fn_output_signature=tf.TensorSpec((size, size, 3)))

    return apply


class _Draws:
    """Hands out the columns of `draws`, one after the other."""

    def __init__(self, draws):
        self._draws, self._used = draws, 0

    def columns(self, count):
        """The next `count` columns, `[batch, count]`."""
        self._used += count
        return self._draws[:, self._used - count : self._used]

    def __call__(self, low, high):
        """Uniform in low..high, `[batch]`."""
        return low + (high - low) * self.columns(1)[:, 0]

    def chance(self, probability):
        """True with a probability, bool `[batch]`."""
        return self.columns(1)[:, 0] < probability

    def sometimes(self, probability, low, high):
        """Uniform in low..high with a probability, else 0."""
        return tf.where(self.chance(probability), self(low, high), 0.0)


@tf.function(jit_compile=True, autograph=False)
def _measure(images):
    """Where the objects are, and on what.

    Returns:
        `[batch, 3]`: middle of the mask (y, x), -0.5..0.5, and its longest side; `[batch, 3]`: mean color of
        the background; `[batch]`: fraction that the mask covers.
    """
    small = tf.cast(images[:, ::6, ::6], tf.float32)
    mask = small[..., 3:] / 255.0
    free = tf.reduce_sum(1 - mask, axis=[1, 2])
    color = (tf.reduce_sum(small[..., :3] * (1 - mask), axis=[1, 2]) + 200.0) / (free + 1.0)
    spans = []
    for axis, other in ((1, 2), (2, 1)):
        place = (np.arange(small.shape[axis], dtype=np.float32) + 0.5) / small.shape[axis] - 0.5
        inside = tf.reduce_max(mask[..., 0], axis=other) > 0.5
        spans.append(
            (tf.reduce_min(tf.where(inside, place, 0.5), 1), tf.reduce_max(tf.where(inside, place, -0.5), 1))
        )
    middles = [(low + high) / 2 for low, high in spans]
    longest = tf.maximum(*(high - low for low, high in spans))
    box = tf.stack([*middles, tf.maximum(longest, 0.1)], axis=1)
    return box, color, tf.reduce_mean(mask, axis=[1, 2, 3])


@tf.function(jit_compile=True, autograph=False)
def _scene(draws, box, covered):
    """Draws a `Scene`; `box` and `covered` are those of `_measure`."""
    draw = _Draws(draws)
    replaced = draw.chance(tf.where(covered < _SHEET, REPLACED, SHEETS))
    geometry = tf.where(replaced[:, None, None], _placed(draw, box), augment.placed(draw.columns(7)))
    moved = geometry[..., :2] @ (0.24 * (draw.columns(2)[..., None] - 0.5))
    changed = replaced | draw.chance(PHOTOMETRIC)

    def light(values):
        """The values where the light changes, else 0."""
        return tf.where(tf.reshape(changed, (-1, *[1] * (len(values.shape) - 1))), values, 0.0)

    exposure, warmth, green = draw(-0.8, 0.35), draw(-0.2, 0.2), draw(-0.08, 0.08)
    return Scene(
        replaced=replaced,
        geometry=geometry,
        shadow=geometry + tf.pad(moved, [(0, 0), (0, 0), (2, 0)]),
        ground=augment.placed(draw.columns(7)),
        choice=draw(0, 1),
        tint=tf.exp(draw(-0.35, 0.3)[:, None] + 0.24 * (draw.columns(3) - 0.5)),
        own=draw.sometimes(0.7, 0.3, 1.0),
        cast=draw.sometimes(0.5, 0.2, 0.7),
        transparency=draw.sometimes(TRANSPARENT, 0.3, 1.0),
        gains=tf.exp(light(tf.stack([exposure + warmth, exposure + green, exposure - warmth], axis=1))),
        saturation=tf.exp(light(draw(-0.45, 0.25))),
        contrast=tf.exp(light(draw(-0.3, 0.3))),
        vignette=light(draw(0.0, 0.5)),
        blur=light(draw.sometimes(0.4, 0.1 * BLUR, BLUR)),
        noise=light(draw.sometimes(0.4, 4.0, 50.0)),
        seeds=tf.cast(draw(0, 2**24), tf.uint32) * 251,
        quality=tf.cast(light(draw.sometimes(0.3, 10.0, 80.0)), tf.int32),
    )


def _placed(draw, box):
    """The geometry that shows the object at a random size, angle and place, mirrored half of the time."""
    low, high = (math.log(size) for size in SIZES)
    share = tf.exp(low + (high - low) * tf.sqrt(draw(0, 1)))
    zoom, angle = box[:, 2] / share, draw(-math.pi, math.pi)
    stretch = tf.exp(draw(-0.5, 0.5) * math.log(augment.ASPECT))
    down, right = zoom * stretch, zoom / stretch * tf.where(draw.chance(0.5), 1.0, -1.0)
    rows = [[down * tf.cos(angle), -down * tf.sin(angle)], [right * tf.sin(angle), right * tf.cos(angle)]]
    linear = tf.stack([tf.stack(row, axis=1) for row in rows], axis=1)
    # Anywhere in the frame; a large object also up to an eighth of its size outside.
    offset = (draw.columns(2) - 0.5) * tf.maximum(1 - share, 0.25 * share)[:, None]
    return tf.concat([linear, box[:, :2, None] - linear @ offset[..., None]], axis=2)


def _inside(geometry, size):
    """Distance of each pixel of the result from the edge of the image it shows, in sides; < 0 outside."""
    return 0.5 - tf.maximum(*(tf.abs(at) for at in augment.points(geometry, size)))


@tf.function(jit_compile=True, autograph=False)
def _shadow(images, geometry, size):
    """The mask, sampled coarsely and made larger, so that it is soft: `[batch, size, size]`, 0..1."""
    coarse = -(-size // _SHADOW_STEP)
    mask = augment.resample(images[..., 3:], geometry, coarse)[..., 0] / 255
    mask = tf.where(_inside(geometry, coarse) > 0, mask, 0.0)
    # Linear interpolation as two small matrix products, which is faster than gathering.
    place = (np.arange(size) + 0.5) / size * coarse - 0.5
    larger = np.maximum(1 - np.abs(place[:, None] - np.arange(coarse)), 0).astype(np.float32)
    larger /= larger.sum(axis=1, keepdims=True)
    return larger @ mask @ larger.T


def _ground(bank, scene, size):
    """The nearest pixels of a background, tinted: float32 `[batch, size, size, 3]`, 0..255."""
    return _tinted(bank, _nearest(scene, *bank.shape[:3], size), scene.tint)


@tf.function(jit_compile=True, autograph=False)
def _nearest(scene, count, height, width, size):
    """The pixel of the bank that is nearest to each point of a background: int32 `[batch, size, size]`."""
    y, x = augment.points(scene.ground, size)
    top = tf.clip_by_value(tf.cast((y + 0.5) * height, tf.int32), 0, height - 1)
    left = tf.clip_by_value(tf.cast((x + 0.5) * width, tf.int32), 0, width - 1)
    chosen = tf.minimum(tf.cast(scene.choice * count, tf.int32), count - 1)[:, None, None]
    return (chosen * height + top) * width + left


@tf.function(jit_compile=True, autograph=False)
def _tinted(bank, places, tint):
    pixels = tf.gather(tf.reshape(bank, (-1, bank.shape[-1])), places)
    return tf.minimum(tf.cast(pixels, tf.float32) * tint[:, None, None], 255.0)


def _compose(pixels, ground, shadow, color, scene):
    """Objects on `ground`, in the images whose background is replaced.

    The colors of the image over the color of its background say how much light the object takes away: that
    darkens the new background in the object's own shadow, and through the object where it is transparent.

    Args:
        pixels: float32 `[batch, size, size, 4]`, colors and mask, 0..255, sampled with `scene.geometry`.
        ground: float32 `[batch, size, size, 3]`, the new background.
        shadow: float32 `[batch, size, size]`, 0..1, the cast shadow.
        color: `[batch, 3]`, of the original background.
        scene: a `Scene`.

    Returns:
        float32 `[batch, 3, size, size]`.
    """
    opaque, shade = _light(pixels, shadow, color, scene)
    return _blend(pixels, ground, opaque, shade, color)


# The two halves are compiled apart: in one, the first would be computed once per channel of the second.
@tf.function(jit_compile=True, autograph=False)
def _light(pixels, shadow, color, scene):
    """How opaque each pixel of an image is, and how bright the new background beside the object.

    Returns:
        Two float32 `[batch, size, size]`: 0..1, 1 everywhere in images that keep their background; and
        brightness 0..1, or -1 where the background is seen through the object.
    """
    own, cast, transparency, replaced = (
        part[:, None, None] for part in (scene.own, scene.cast, scene.transparency, scene.replaced)
    )
    inside = _inside(scene.geometry, pixels.shape[1])
    mask = pixels[..., 3] / 255 * tf.clip_by_value(30 * inside + 0.5, 0.0, 1.0)
    inverse = 1 / tf.maximum(color, _DARK)
    ratio = [pixels[..., i] * inverse[:, i, None, None] for i in range(3)]
    light = sum(float(augment.LUMA[i]) * ratio[i] for i in range(3))
    # Fades towards the edge of the image, which would show on the new background.
    own *= tf.clip_by_value(8 * inside, 0.0, 1.0)
    shade = (1 - own * tf.clip_by_value(0.95 - light, 0.0, 0.8)) * (1 - cast * shadow)
    difference = functools.reduce(tf.maximum, [tf.abs(part - 1) for part in ratio])
    alike = 1 / tf.square(1 + tf.square(difference / 0.3))
    opaque = mask * (1 - transparency * alike)
    return tf.where(replaced, opaque, 1.0), tf.where(mask > 0.5, -1.0, shade)


@tf.function(jit_compile=True, autograph=False)
def _blend(pixels, ground, opaque, shade, color):
    """The image where it is opaque, else the background: float32 `[batch, 3, size, size]`."""
    colors, ground = (tf.transpose(part, (0, 3, 1, 2)) for part in (pixels[..., :3], ground))
    opaque, shade = opaque[:, None], shade[:, None]
    inverse = (1 / tf.maximum(color, _DARK))[:, :, None, None]
    through = tf.where(shade < 0, tf.minimum(colors * inverse, 1.3), shade) * ground
    return through + opaque * (colors - through)


def _photograph(example):
    """One composed image, `[3, size, size]`, as a camera would have taken it: float32 `[size, size, 3]`."""
    planes, scene = example
    planes = tf.cond(scene.blur > 0, lambda: blur(blur(planes, scene.blur, 1), scene.blur, 2), lambda: planes)
    image = tf.cond(
        scene.noise > 0, lambda: _develop(planes, scene, True), lambda: _develop(planes, scene, False)
    )
    return tf.cond(scene.quality > 0, lambda: compress(image, scene.quality), lambda: image)


@tf.function(jit_compile=True, autograph=False)
def blur(planes, deviation, axis):
    """One image blurred along one axis. Keras' Gaussian pads with black.

    Args:
        planes: float32 `[3, size, size]`.
        deviation: standard deviation of a Gaussian, over the side of the image; at most `BLUR`.
        axis: 1 or 2.

    Returns:
        float32 of the same shape.
    """
    size = planes.shape[axis]
    reach = math.ceil(2.5 * BLUR * size)
    offsets = np.arange(-reach, reach + 1, dtype=np.float32)
    weights = tf.exp(-tf.square(offsets / tf.maximum(deviation * size, 0.1)) / 2)
    weights /= tf.reduce_sum(weights)
    padded = tf.pad(planes, [(reach, reach) if part == axis else (0, 0) for part in range(3)], "SYMMETRIC")
    shifted = (
        padded[:, k : k + size] if axis == 1 else padded[:, :, k : k + size] for k in range(2 * reach + 1)
    )
    return tf.add_n([weights[k] * part for k, part in enumerate(shifted)])


@tf.function(jit_compile=True, autograph=False)
def _develop(planes, scene, noisy):
    """Exposure, white balance, saturation and contrast as one matrix, the vignette, and noise.

    Args:
        planes: float32 `[3, size, size]`.
        scene: the `Scene` of this one image.
        noisy: whether it has noise.

    Returns:
        float32 `[size, size, 3]`, 0..255.
    """
    grey = tf.tensordot(augment.LUMA, tf.reduce_mean(planes[:, ::8, ::8], axis=[1, 2]), 1)
    colors = scene.saturation * np.eye(3, dtype=np.float32) + (1 - scene.saturation) * augment.LUMA
    matrix = scene.contrast * colors * scene.gains
    offset = (1 - scene.contrast) * grey * scene.gains[1]
    place = (np.arange(planes.shape[1], dtype=np.float32) + 0.5) / planes.shape[1] - 0.5
    falloff = 1 - scene.vignette * 2 * (place[:, None] ** 2 + place**2)
    channels = [(sum(planes[i] * matrix[j, i] for i in range(3)) + offset) * falloff for j in range(3)]
    image = tf.stack(channels, axis=-1)
    noise = scene.noise * _hash(scene.seeds, image.shape) if noisy else 0.0
    return tf.clip_by_value(image + noise, 0.0, 255.0)


def compress(image, quality):
    """An image as it is after JPEG compression.

    Args:
        image: float32 `[size, size, 3]`, 0..255.
        quality: int32, 1..100.

    Returns:
        float32 of the same shape, whole numbers.
    """
    return tf.cast(tf.image.adjust_jpeg_quality(tf.cast(tf.round(image), tf.uint8), quality), tf.float32)


def _hash(seed, shape):
    """Noise in -0.5..0.5 of a shape, from the seed alone (the mixing of MurmurHash3)."""
    bits = np.arange(np.prod(shape), dtype=np.uint32).reshape(shape) * np.uint32(2654435761) + seed
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        bits = tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, np.uint32(shift))) * np.uint32(
            factor
        )
    return tf.cast(tf.bitwise.right_shift(bits, np.uint32(8)), tf.float32) / 2**24 - 0.5

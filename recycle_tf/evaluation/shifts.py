"""Simulated shifts: accuracy on photographs taken under other conditions than those of the training data.

Every shift has five strengths, in the manner of Hendrycks and Dietterich, Benchmarking Neural Network
Robustness to Common Corruptions and Perturbations, arXiv 1903.12261, with the kinds that a phone in a kitchen
or a street produces. The same seed gives the same images.
"""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from recycle_tf.data import backgrounds, cutout

STRENGTHS = (1, 2, 3, 4, 5)

PART = 512
"""Images that are shifted at once: as numbers, an image takes twenty times the memory of its bytes."""

_GROUNDS = 32
"""Backgrounds that are drawn for one shift."""


def white_balance(images, strength, rng):
    """Warm or cold light: red and blue are scaled in opposite directions, by up to 40 %."""
    gain = 1 + np.outer(rng.choice([-1, 1], len(images)), [1, 0, -1]) * 0.08 * strength
    return images * gain[:, None, None]


def color_cast(images, strength, rng):
    """One tint over the whole image, as from a colored lamp or a wall."""
    tint = rng.uniform(0, 255, (len(images), 1, 1, 3))
    weight = 0.06 * strength
    return (1 - weight) * images + weight * tint


def dim(images, strength, rng):
    """Underexposure: the light falls to 80, 62, 48, 36 or 27 %, with the noise that comes with it."""
    factor = (0.80, 0.62, 0.48, 0.36, 0.27)[strength - 1]
    return _noisy(images * factor, 1.5 * strength, rng)


def bright(images, strength, rng):
    """Overexposure: highlights clip."""
    return images * (1 + 0.15 * strength)


def shadow(images, strength, rng):
    """A soft-edged shadow over one side, at a random angle."""
    size = images.shape[1]
    angle = rng.uniform(0, 2 * np.pi, (len(images), 1, 1))
    offset = rng.uniform(-0.25, 0.25, (len(images), 1, 1))
    y, x = np.mgrid[-0.5 : 0.5 : size * 1j, -0.5 : 0.5 : size * 1j]
    distance = np.cos(angle) * x + np.sin(angle) * y - offset
    covered = 1 / (1 + np.exp(-30 * distance))
    return images * (1 - 0.14 * strength * covered[..., None])


def small(images, strength, rng):
    """The object further away: the image shrinks to 85, 70, 58, 46 or 36 % of the frame."""
    return _affine(images, 1 / (0.85, 0.70, 0.58, 0.46, 0.36)[strength - 1], 0, 0, 0)


def cut_off(images, strength, rng):
    """The object partly outside the frame: shifted by 8 to 40 % of the side."""
    shift = 0.08 * strength * images.shape[1]
    angle = rng.uniform(0, 2 * np.pi, len(images))
    return _affine(images, 1, 0, shift * np.cos(angle), shift * np.sin(angle))


def rotation(images, strength, rng):
    """Turned by 15, 30, 45, 60 or 90 degrees, to either side."""
    degrees = (15, 30, 45, 60, 90)[strength - 1] * rng.choice([-1, 1], len(images))
    return _affine(images, 1, np.radians(degrees), 0, 0)


def blur(images, strength, rng):
    """Out of focus: a Gaussian with a standard deviation of 0.4 to 2 % of the side."""
    sigma = 0.004 * strength * images.shape[1]
    half = int(np.ceil(3 * sigma))
    size = 2 * half + 1
    # Keras pads with black.
    padded = np.pad(images, ((0, 0), (half, half), (half, half), (0, 0)), "reflect").astype(np.float32)
    blurred = keras.ops.image.gaussian_blur(padded, (size, size), (sigma, sigma))
    return np.array(blurred)[:, half:-half, half:-half]


def noise(images, strength, rng):
    """Sensor noise with a standard deviation of 6 to 30 gray levels."""
    return _noisy(images, 6 * strength, rng)


def background(images, strength, rng):
    """Another ground under the object, at 20 to 100 %; images without a certain mask stay as they are."""
    size = images.shape[1]
    grounds = backgrounds.bank(_GROUNDS, size, int(rng.integers(2**31)))[
        rng.integers(_GROUNDS, size=len(images))
    ]
    weight = strength / len(STRENGTHS) * (1 - cutout.masks(_bytes(images))[..., None] / 255)
    return images + weight * (grounds - images)


def jpeg(images, strength, rng):
    """JPEG compression at quality 50, 30, 18, 10 or 6."""
    quality = (50, 30, 18, 10, 6)[strength - 1]
    return np.stack([tf.image.adjust_jpeg_quality(image, quality).numpy() for image in _bytes(images)])


SHIFTS = {
    function.__name__: function
    for function in (
        white_balance,
        color_cast,
        dim,
        bright,
        shadow,
        small,
        cut_off,
        rotation,
        blur,
        noise,
        jpeg,
        background,
    )
}


@dataclasses.dataclass(frozen=True)
class Robustness:
    """Accuracy under every shift.

    Attributes:
        clean: accuracy on the images as they are, 0..1.
        accuracy: `{shift: [accuracy at each of STRENGTHS]}`.
        examples: number of images.
    """

    clean: float
    accuracy: dict
    examples: int

    def __str__(self):
        return table(self)

    def mean(self, strength):
        """Mean accuracy over the kinds of shift at a strength, 0..1."""
        return float(np.mean([row[STRENGTHS.index(strength)] for row in self.accuracy.values()]))


def shift(name, images, strength, seed=0):
    """Applies a shift.

    Args:
        name: a key of `SHIFTS`.
        images: uint8 RGB, `[batch, height, width, 3]`, square.
        strength: one of `STRENGTHS`.
        seed: of everything random.

    Returns:
        uint8, of the same shape.
    """
    parts = []
    for start in range(0, len(images), PART):
        part = images[start : start + PART].astype(np.float32)
        rng = np.random.default_rng([seed + start, strength, list(SHIFTS).index(name)])
        parts.append(_bytes(SHIFTS[name](part, strength, rng)))
    return np.concatenate(parts)


def measure(predict, images, labels, names=tuple(SHIFTS), seed=0, progress=iter):
    """Accuracy under simulated shifts.

    Args:
        predict: uint8 `[batch, height, width, 3]` -> probabilities `[batch, num_classes]`.
        images: uint8 RGB `[examples, height, width, 3]`.
        labels: true classes, `[examples]`.
        names: of the shifts.
        seed: of everything random.
        progress: wraps the iteration over shifts and strengths, as tqdm does.

    Returns:
        A `Robustness`.
    """

    def accuracy(shifted):
        return float((predict(shifted).argmax(axis=1) == labels).mean())

    pairs = [(name, strength) for name in names for strength in STRENGTHS]
    found = {pair: accuracy(shift(pair[0], images, pair[1], seed)) for pair in progress(pairs)}
    rows = {name: [found[name, strength] for strength in STRENGTHS] for name in names}
    return Robustness(accuracy(images), rows, len(images))


def example(images):
    """The first image in which another background shows, whose mask is certain; else the first image.

    Args:
        images: uint8 RGB, `[examples, height, width, 3]`.
    """
    masks = (cutout.masks(images[index : index + 1])[0] for index in range(len(images)))
    chosen = next((index for index, mask in enumerate(masks) if not mask.all()), 0)
    return images[chosen]


def table(robustness):
    """One row per shift, one column per strength, in percent; below, their means."""
    width = max(map(len, robustness.accuracy))
    lines = [f"{'shift':{width}}" + "".join(f"  strength {strength}" for strength in STRENGTHS)]
    for name, row in robustness.accuracy.items():
        lines.append(f"{name:{width}}" + "".join(f"  {100 * accuracy:9.1f}%" for accuracy in row))
    means = "".join(f"  {100 * robustness.mean(strength):9.1f}%" for strength in STRENGTHS)
    lines.append(f"{'mean':{width}}{means}")
    lines.append(f"{'clean':{width}}  {100 * robustness.clean:9.1f}%  ({robustness.examples} images)")
    return "\n".join(lines)


def _affine(images, scale, angle, right, down):
    """Rotates, scales and shifts around the center; what comes into view has the median color of the border.

    Args:
        images: float32 `[batch, size, size, 3]`.
        scale: of the field of view; above 1 the content becomes smaller.
        angle: radians, a number or `[batch]`.
        right: shift in pixels, a number or `[batch]`.
        down: likewise.
    """
    center = (images.shape[1] - 1) / 2
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    first = (cos, -sin, center - cos * center + sin * center - right)
    second = (sin, cos, center - sin * center - cos * center - down)
    columns = np.broadcast_arrays(*first, *second, 0, 0, np.zeros(len(images)))[:8]
    border = np.concatenate([images[:, [0, -1]], images[:, :, [0, -1]].swapaxes(1, 2)], axis=2)
    color = np.median(border.reshape(len(images), -1, 3), axis=1)[:, None, None]
    # Outside of the image the interpolation reads 0: relative to the color, that is the color.
    moved = keras.ops.image.affine_transform(
        (images - color).astype(np.float32),
        np.stack(columns, axis=1).astype(np.float32),
        interpolation="bilinear",
        fill_mode="constant",
    )
    return np.array(moved) + color


def _noisy(images, deviation, rng):
    """Adds normal noise, some images at a time: the noise of all of them would take eight bytes per value."""
    parts = np.array_split(images, -(-len(images) // 64))
    return np.concatenate([_bytes(part + rng.normal(0, deviation, part.shape)) for part in parts])


def _bytes(images):
    return np.clip(np.round(images), 0, 255).astype(np.uint8)

"""Masks of objects that were photographed on a plain background.

A smooth surface is fitted to the colors of the border; what reaches the border through pixels that look like
this surface is background. Shadows are background too: they darken the surface but keep its hue, and their
edges are soft. Everything else is the object. Where the result is doubtful, the image has no mask.

All images are segmented at `SIDE` pixels, whatever their size.
"""

import numpy as np
import tensorflow as tf

SIDE = 128
"""Height and width at which images are segmented, in pixels."""

CHROMA, EDGE = 0.06, 0.06
"""Most that a background pixel may differ from the surface in hue, and from its neighbors in brightness."""

DARKEST, BRIGHTEST = 0.35, 1.25
"""Brightness of the background, shadows included, relative to the surface."""

COVERAGE = (0.01, 0.8)
"""Fraction of the image that a certain mask covers."""

MAX_TOUCH = 0.6
"""Largest fraction of the border that a certain mask covers."""

MAX_RAGGED = 0.3
"""Largest fraction of a certain mask that an opening removes."""

MAX_SATURATION = 0.33
"""Of the background. A plain surface of a strong color may be the object: cardboard that fills the image."""

MIN_BRIGHTNESS = 90.0
"""Of the background, 0..255. In the dark, object and shadow look alike."""

_SIGMAS = (40, 25, 16, 12, 9, 7, 6, 6)
_TERMS = (3, 3, 6, 6, 6, 10, 10, 10)


def masks(images):
    """The objects of a batch of images.

    Args:
        images: uint8 `[count, size, size, 3]`.

    Returns:
        uint8 `[count, size, size]`: 255 for the object, 0 for its background, between at the edge; 255
        everywhere in images without a certain mask.
    """
    size = images.shape[1]
    small = tf.image.resize(images, (SIDE, SIDE), antialias=True).numpy()
    surface = background(small)
    objects, certain = _segment(small, surface)
    # A mean over 3x3 pixels makes the edge soft; the resizing below would leave it stepped.
    soft = tf.image.resize(_mean3(objects.astype(np.float32))[..., None], (size, size)).numpy()[..., 0]
    soft[~certain] = 1.0
    return (255 * np.clip(1.5 * soft - 0.35, 0, 1) + 0.5).astype(np.uint8)


def background(images):
    """The surface that continues the border's color under the object: a cubic polynomial per channel.

    Least squares with weights that fall off with the distance from the surface fitted before, which starts
    at the median of the border; first on the border only, then on all pixels.

    Args:
        images: float32 `[count, side, side, 3]`, 0..255.

    Returns:
        float32 of the same shape.
    """
    count, side = images.shape[:2]
    step = max(1, side // 48)
    pixels = images[:, ::step, ::step].reshape(count, -1, 3)
    terms = _polynomial(-(-side // step))
    border = _border(-(-side // step), 3).ravel()
    found = np.zeros((count, 10, 3), np.float32)
    found[:, 0] = np.median(pixels[:, border], axis=1)
    for sigma, used in zip(_SIGMAS, _TERMS, strict=True):
        residual = pixels - terms @ found
        light = residual.mean(-1)
        distance = 2 * np.square(residual - light[..., None]).sum(-1) + light**2
        inside = 0.0 if used == 3 else 0.3
        weights = np.exp(-distance / (2 * sigma**2)) * np.where(border, 1.0, inside)
        basis = terms[:, :used]
        # A little ridge on the higher terms: the object may hide most of the image.
        ridge = np.diag(np.float32([3e-3, 6, 6, 12, 12, 12, 24, 24, 24, 24][:used]))
        weighted = basis * weights[..., None]
        found[:] = 0
        found[:, :used] = np.linalg.solve(
            np.swapaxes(weighted, 1, 2) @ basis + ridge, np.swapaxes(weighted, 1, 2) @ pixels
        )
    return (_polynomial(side) @ found).reshape(images.shape).astype(np.float32)


def _polynomial(side):
    """The ten monomials up to degree 3 at each pixel, `[side * side, 10]`, places in -1..1."""
    place = (np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1
    y, x = (axis.ravel() for axis in np.meshgrid(place, place, indexing="ij"))
    return np.stack([np.ones_like(y), y, x, y * y, x * y, x * x, y**3, y * y * x, y * x * x, x**3], axis=-1)


def _border(side, width):
    border = np.ones((side, side), bool)
    border[width:-width, width:-width] = False
    return border


def _segment(images, surface):
    """Object masks, bool `[count, side, side]`, and which of them are certain, bool `[count]`."""
    border = _border(images.shape[1], 2)
    ratio = (_mean3(images) + 4) / (np.maximum(surface, 16) + 4)
    light = ratio.mean(-1)
    chroma = np.linalg.norm(ratio / light[..., None] - 1, axis=-1) * np.sqrt(np.minimum(light, 1))
    edges = (_dilate(light, 1) + _dilate(-light, 1)) / np.maximum(light, 0.3)
    smooth = (chroma < CHROMA) & (edges < EDGE)
    plain = smooth & (light > DARKEST) & (light < BRIGHTEST)
    ground = _reach(smooth & (np.abs(light - 1) < 0.1) & border, plain)
    # Through a gap of one or two pixels nothing is reached.
    ground = _reach(_erode(ground, 1), ground)

    # Brightness differs up to a pixel outside of an edge. Thin remains, such as edges of shadows, are none.
    rough = _erode(~ground, 1)
    objects = _close(_filled(_reach(_erode(rough, 2), rough), border), 3)
    # Paper on paper shows only as its outline.
    hollow = _ragged(objects) > MAX_RAGGED / 3
    objects[hollow] = _between(objects[hollow])

    coverage = objects.mean((1, 2))
    color = np.median(surface[:, ::8, ::8].reshape(len(surface), -1, 3), axis=1)
    saturation = 1 - color.min(1) / np.maximum(color.max(1), 1)
    certain = (coverage > COVERAGE[0]) & (coverage < COVERAGE[1]) & (_ragged(objects) < MAX_RAGGED)
    certain &= objects[:, border].mean(1) < MAX_TOUCH
    return objects, certain & (saturation < MAX_SATURATION) & (color.max(1) > MIN_BRIGHTNESS)


def _ragged(objects):
    """Fraction of each mask that an opening removes."""
    return (objects & ~_open(objects, 3)).mean((1, 2)) / np.maximum(objects.mean((1, 2)), 1e-6)


def _filled(objects, border):
    """The masks without holes."""
    return ~_reach(~objects & border, ~objects)


def _between(objects):
    """The pixels with parts of the mask on all four sides, and the mask itself."""
    sides = []
    for axis in (1, 2):
        for way in (slice(None), slice(None, None, -1)):
            turn = (slice(None),) * axis + (way,)
            sides.append(np.logical_or.accumulate(objects[turn], axis=axis)[turn])
    return objects | np.logical_and.reduce(sides)


def _reach(start, allowed):
    """The pixels of `allowed` that a path within it joins to `start`: bool `[count, side, side]`.

    Whole rows and columns at a time, in both directions, until nothing changes.
    """
    found = start & allowed
    number = np.arange(found.shape[1], dtype=np.int16)
    pending = np.arange(len(found))
    while len(pending):
        before = found[pending]
        now, free = before, allowed[pending]
        for flipped in (False, True):
            for axis in (1, 2):
                turn = (slice(None),) * axis + (slice(None, None, -1),) if flipped else slice(None)
                place = number.reshape((-1, 1) if axis == 1 else (1, -1))
                last = np.maximum.accumulate(np.where(now[turn], place, -1), axis=axis)
                wall = np.maximum.accumulate(np.where(free[turn], -1, place), axis=axis)
                now = (last > wall)[turn]
        found[pending] = now
        pending = pending[(now != before).any((1, 2))]
    return found


def _shifted(images, reach, axis, combine):
    """`combine` over a window of `2 * reach + 1` pixels along an axis; the border pixels continue outside."""
    width = [(0, 0)] * images.ndim
    width[axis] = (reach, reach)
    padded = np.pad(images, width, "edge")
    size = images.shape[axis]
    found = images
    for start in range(2 * reach + 1):
        found = combine(found, padded[(slice(None),) * axis + (slice(start, start + size),)])
    return found


def _dilate(images, reach):
    return _shifted(_shifted(images, reach, 1, np.maximum), reach, 2, np.maximum)


def _erode(images, reach):
    return _shifted(_shifted(images, reach, 1, np.minimum), reach, 2, np.minimum)


def _close(images, reach):
    return _erode(_dilate(images, reach), reach)


def _open(images, reach):
    return _dilate(_erode(images, reach), reach)


def _mean3(images):
    rows = _shifted(images, 1, 1, np.add) - images
    return (_shifted(rows, 1, 2, np.add) - rows) / 9

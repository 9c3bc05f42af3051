"""Draws one image of waste: an object, its wear, the floor that it lies on, and the light.

    draw("glass", seed=17).show()

Color alone does not reveal the class, on purpose: there is brown glass, brown paper and brown cardboard, the
colors of cups and cans come from the same distribution, and all classes share the same floors. Classes differ
in shape and material: how a rim curves, where a surface shines, and what torn edges look like.
"""

import numpy as np
from PIL import Image, ImageFilter

from .brushes import Canvas, Color, hsv, noise, patches, pick
from .objects import KINDS

WIDTH, HEIGHT = 160, 120
LABELS = tuple(KINDS)

_OVERSAMPLING = 2
_SCENE = (HEIGHT * _OVERSAMPLING, WIDTH * _OVERSAMPLING)


def draw(label: str, seed: int) -> Image.Image:
    """Draws an image, the same one for the same arguments.

    Args:
        label: one of `LABELS`.
        seed: a number of 0 or more. It alone determines the image: images can be drawn in any order, and in
            several processes.

    Returns:
        An RGB `PIL.Image.Image` of `WIDTH` x `HEIGHT` pixels.

    Raises:
        ValueError: the label is not one of `LABELS`.
    """
    rgb, alpha, lamp, rng = _object(label, seed)
    scene = pick(rng, FLOORS)(rng)
    scene *= 1 - _shadow(alpha, lamp, rng)[..., None]
    scene = scene * (1 - alpha[..., None]) + rgb
    if rng.random() < 0.15:
        _drop_leaf(scene, rng)
    scene = _expose(scene, lamp, rng)

    image = Image.fromarray((np.clip(scene, 0, 1) * 255).astype(np.uint8))
    return image.reduce(_OVERSAMPLING)


def draw_mask(label: str, seed: int) -> Image.Image:
    """Where the object is in the image that `draw` draws for the same arguments.

    Args:
        label: one of `LABELS`.
        seed: as for `draw`.

    Returns:
        A `PIL.Image.Image` of mode L: the opacity of the object, 0..255. A leaf over it is ignored.
    """
    _, alpha, _, _ = _object(label, seed)
    return Image.fromarray((alpha * 255).astype(np.uint8)).reduce(_OVERSAMPLING)


def _object(label: str, seed: int):
    """The object as it lies: color times opacity, opacity, direction of the light, and the generator."""
    if label not in KINDS:
        raise ValueError(f"unknown label {label!r}: use one of {', '.join(LABELS)}")
    rng = np.random.default_rng([LABELS.index(label), seed])
    angle = _angle(rng)
    lamp = rng.uniform(0, 2 * np.pi)
    canvas = Canvas(light=(np.cos(lamp - angle), np.sin(lamp - angle)))

    pick(rng, KINDS[label])(canvas, rng)
    _wear(canvas, rng)
    rgb, alpha = _lay_down(canvas, angle, rng)
    return rgb, alpha, lamp, rng


def _wear(canvas: Canvas, rng: np.random.Generator) -> None:
    """Dents and dirt, in varying amounts."""
    dents = rng.uniform(0, 0.045)
    canvas.bend(dents * (noise(rng, 5) - 0.5), dents * (noise(rng, 5) - 0.5))
    if rng.random() < 0.3:
        mottled = 0.65 * noise(rng, 7) + 0.35 * noise(rng, 24)
        grime = patches(mottled, rng.uniform(0.6, 0.75), blur=0.3)
        canvas.stain(grime * rng.uniform(0.2, 0.55), (0.3, 0.25, 0.18))


def _angle(rng: np.random.Generator) -> float:
    """Roughly upright, as people hold a phone."""
    return rng.normal(0, 0.16)


def _lay_down(canvas: Canvas, angle: float, rng: np.random.Generator):
    """Rotates, scales and places the object; returns its color times opacity, and its opacity."""
    rows, columns = _SCENE
    side = canvas.alpha.shape[0]
    scale = side / (rows * rng.uniform(1.02, 1.2))
    centre_x = columns * (0.5 + rng.normal(0, 0.035))
    centre_y = rows * (0.5 + rng.normal(0, 0.03))
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    inverse = (
        cos,
        sin,
        side / 2 - cos * centre_x - sin * centre_y,
        -sin,
        cos,
        side / 2 + sin * centre_x - cos * centre_y,
    )
    rgba = np.dstack([canvas.rgb, canvas.alpha])
    # The colors are already multiplied by opacity; in mode "RGBA" Pillow would do so again.
    sprite = Image.frombytes("RGBX", (side, side), (np.clip(rgba, 0, 1) * 255).astype(np.uint8))
    placed = sprite.transform((columns, rows), Image.Transform.AFFINE, inverse, Image.Resampling.BILINEAR)
    placed = np.asarray(placed, np.float32) / 255
    return placed[..., :3], placed[..., 3]


def _shadow(alpha: np.ndarray, lamp: float, rng: np.random.Generator) -> np.ndarray:
    """The shadow, on the side away from the light."""
    reach = rng.uniform(5, 13)
    opaque = Image.fromarray((alpha * 255).astype(np.uint8))
    shift = (1, 0, reach * np.cos(lamp), 0, 1, reach * np.sin(lamp))
    moved = opaque.transform(opaque.size, Image.Transform.AFFINE, shift)
    blurred = np.asarray(moved.filter(ImageFilter.BoxBlur(rng.uniform(2, 7))), np.float32)
    return blurred * (rng.uniform(0.3, 0.55) / 255)


# ---- floors


def poster_board(rng: np.random.Generator) -> np.ndarray:
    """Plain poster board, white or colored."""
    color = hsv(rng.random(), rng.choice([0.03, 0.15]), rng.uniform(0.7, 0.95))
    return _floor(color, 0.04 * (noise(rng, 3, _SCENE) - 0.5))


def table(rng: np.random.Generator) -> np.ndarray:
    """Planks with wood grain."""
    grain = noise(rng, 90, _SCENE, aspect=12) - 0.5 + noise(rng, 12, _SCENE, aspect=6) - 0.5
    planks = (np.arange(_SCENE[0]) + rng.integers(90)) % 90 < 3
    texture = 0.22 * grain - 0.4 * planks[:, None]
    wood = hsv(rng.uniform(0.05, 0.11), rng.uniform(0.25, 0.6), rng.uniform(0.4, 0.85))
    return _floor(wood, texture)


def grass(rng: np.random.Generator) -> np.ndarray:
    """A lawn, green or dry."""
    blades = noise(rng, 70, _SCENE, aspect=0.25) - 0.5 + 0.6 * (noise(rng, 8, _SCENE) - 0.5)
    return _floor(hsv(rng.uniform(0.17, 0.32), rng.uniform(0.3, 0.55), rng.uniform(0.35, 0.65)), 0.6 * blades)


def concrete(rng: np.random.Generator) -> np.ndarray:
    """Pavement: speckled, sometimes with a joint."""
    speckle = rng.normal(0, 0.09, _SCENE).astype(np.float32) + 0.25 * (noise(rng, 7, _SCENE) - 0.5)
    if rng.random() < 0.5:
        joint = rng.integers(_SCENE[1])
        speckle[:, joint : joint + 4] -= 0.35
    return _floor(hsv(rng.uniform(0.05, 0.65), 0.06, rng.uniform(0.4, 0.8)), speckle)


def tiles(rng: np.random.Generator) -> np.ndarray:
    """Floor tiles."""
    pitch, rows, columns = rng.integers(60, 110), *np.indices(_SCENE, np.float32)
    joints = ((rows + rng.integers(60)) % pitch < 4) | ((columns + rng.integers(60)) % pitch < 4)
    texture = 0.12 * (noise(rng, 10, _SCENE) - 0.5) - 0.15 * joints
    return _floor(hsv(rng.random(), rng.uniform(0.03, 0.15), rng.uniform(0.6, 0.9)), texture)


FLOORS = (poster_board, table, grass, concrete, tiles)


def _floor(color: Color, texture: np.ndarray) -> np.ndarray:
    return np.asarray(color, np.float32) * (1 + texture.astype(np.float32))[..., None]


def _drop_leaf(scene: np.ndarray, rng: np.random.Generator) -> None:
    """Draws a leaf over the object; modifies `scene`."""
    rows, columns = np.indices(_SCENE, np.float32)
    cx, cy = rng.uniform(0.25, 0.75) * _SCENE[1], rng.uniform(0.2, 0.8) * _SCENE[0]
    turn, long, wide = rng.uniform(0, np.pi), rng.uniform(35, 60), rng.uniform(9, 14)
    along = (columns - cx) * np.cos(turn) + (rows - cy) * np.sin(turn)
    across = -(columns - cx) * np.sin(turn) + (rows - cy) * np.cos(turn)
    leaf = np.abs(across) < wide * np.maximum(0, 1 - (along / long) ** 2)
    vein = np.abs(across) < 1.2
    color = np.asarray(hsv(rng.uniform(0.03, 0.33), rng.uniform(0.3, 0.8), rng.uniform(0.3, 0.7)))
    scene[leaf] = color
    scene[leaf & vein] = color * 0.7


def _expose(scene: np.ndarray, lamp: float, rng: np.random.Generator) -> np.ndarray:
    """Uneven light, a color cast, exposure and sensor noise."""
    rows, columns = np.indices(_SCENE, np.float32)
    slope = (columns / _SCENE[1] - 0.5) * np.cos(lamp) + (rows / _SCENE[0] - 0.5) * np.sin(lamp)
    light = rng.uniform(0.85, 1.12) * (1 + rng.uniform(0, 0.35) * slope)
    cast = np.array((1 + rng.normal(0, 0.04), 1, 1 + rng.normal(0, 0.05)))
    grain = rng.normal(0, rng.uniform(0.005, 0.015), scene.shape)
    return (scene * light[..., None] * cast + grain).astype(np.float32)

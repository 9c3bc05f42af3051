"""Drawing primitives: a canvas, shapes, textures and colors.

Coordinates run from -1 to 1, x to the right and y downwards. A shape or a texture is a float32 array
`[SIDE, SIDE]` over that square with values 0 to 1; a color is RGB with values 0 to 1. Shapes are combined
with
arithmetic: `a * b` is the intersection, and `a * (1 - b)` cuts b out of a.
"""

import colorsys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

SIDE = 208
"""Side of a canvas, in pixels."""

_TICKS = (np.arange(SIDE, dtype=np.float32) + 0.5) * (2 / SIDE) - 1
X, Y = np.meshgrid(_TICKS, _TICKS)

Color = Sequence[float] | np.ndarray
Points = Sequence[tuple[float, float]]

WHITE = (0.97, 0.97, 0.95)
INK = (0.12, 0.12, 0.15)


class Canvas:
    """A transparent square on which an object is painted.

    Attributes:
        rgb: color times opacity, `[SIDE, SIDE, 3]`, so that resampling leaves no dark fringes.
        alpha: opacity, `[SIDE, SIDE]`.
        light: unit vector from the object towards the light, in canvas coordinates.
    """

    def __init__(self, light: tuple[float, float]):
        """Makes an empty canvas that is lit from `light`."""
        self.rgb = np.zeros((SIDE, SIDE, 3), np.float32)
        self.alpha = np.zeros((SIDE, SIDE), np.float32)
        self.light = light

    def paint(self, shape: np.ndarray, color: Color, shade: np.ndarray | float = 1.0) -> None:
        """Paints a color over the canvas.

        Args:
            shape: where and how densely to paint: 0 leaves the canvas as it is, 1 covers it.
            color: one RGB color, or one per pixel, `[SIDE, SIDE, 3]`.
            shade: factor of the color; values above 1 are highlights.
        """
        cover = shape[..., None]
        lit = np.clip(np.asarray(color, np.float32) * np.asarray(shade)[..., None], 0, 1)
        self.rgb = self.rgb * (1 - cover) + lit * cover
        self.alpha = self.alpha * (1 - shape) + shape

    def stain(self, shape: np.ndarray, color: Color) -> None:
        """Paints only where the object already is."""
        self.paint(shape * self.alpha, color)

    def bend(self, dx: np.ndarray | float, dy: np.ndarray | float) -> None:
        """Distorts the painting: each pixel takes the color at (x + dx, y + dy)."""
        columns = _pixels(X + dx)
        rows = _pixels(Y + dy)
        self.rgb = self.rgb[rows, columns]
        self.alpha = self.alpha[rows, columns]


class Surface(NamedTuple):
    """The visible side of a solid of revolution.

    Attributes:
        shape: its silhouette.
        u: horizontal position on it, -1 at the left edge and 1 at the right.
        v: height on it; lines of equal v are horizontal circles, seen from slightly above.
    """

    shape: np.ndarray
    u: np.ndarray
    v: np.ndarray

    def band(self, top: float, bottom: float) -> np.ndarray:
        """The part between two heights: a label, a rib, a strip of print."""
        return self.shape * soft(self.v - top) * soft(bottom - self.v)


def _pixels(position: np.ndarray) -> np.ndarray:
    return np.clip((position + 1) * (SIDE / 2), 0, SIDE - 1).astype(np.intp)


def soft(distance: np.ndarray) -> np.ndarray:
    """A shape with an antialiased edge, from the distance to the edge (positive inside)."""
    return np.clip(distance * (SIDE / 2) + 0.5, 0, 1)


def turned(profile: Points, curve: float = 0.06) -> Surface:
    """A solid of revolution, such as a bottle, a can or a cup.

    Args:
        profile: (height, half width) pairs, from top to bottom.
        curve: how far horizontal circles sag, which depends on the viewing angle.
    """
    heights, widths = zip(*profile, strict=True)
    half_width = np.interp(Y, heights, widths).astype(np.float32)
    u = np.clip(X / half_width, -1, 1)
    v = Y - curve * (half_width / max(widths)) * np.sqrt(1 - u**2)
    shape = soft(half_width - np.abs(X)) * soft(v - heights[0]) * soft(heights[-1] - curve - v)
    return Surface(shape, u, v)


def ellipse(cx: float, cy: float, rx: float, ry: float) -> np.ndarray:
    """A filled ellipse."""
    return soft((1 - np.hypot((X - cx) / rx, (Y - cy) / ry)) * min(rx, ry))


def ring(cx: float, cy: float, rx: float, ry: float, thickness: float) -> np.ndarray:
    """The outline of an ellipse, drawn inwards."""
    inner = ellipse(cx, cy, rx - thickness, ry - thickness * ry / rx)
    return ellipse(cx, cy, rx, ry) * (1 - inner)


def box(cx: float, cy: float, half_width: float, half_height: float, radius: float = 0.0) -> np.ndarray:
    """A rectangle with rounded corners."""
    dx = np.abs(X - cx) - (half_width - radius)
    dy = np.abs(Y - cy) - (half_height - radius)
    outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
    inside = np.minimum(np.maximum(dx, dy), 0)
    return soft(radius - outside - inside)


def polygon(points: Points) -> np.ndarray:
    """A filled polygon."""
    image = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(image).polygon(_to_pixels(points), fill=255)
    return np.asarray(image, np.float32) / 255


def strokes(paths: Sequence[Points], width: float) -> np.ndarray:
    """Lines through the points of each path."""
    image = Image.new("L", (SIDE, SIDE))
    pen = ImageDraw.Draw(image)
    for path in paths:
        pen.line(_to_pixels(path), fill=255, width=max(1, round(width * SIDE / 2)), joint="curve")
    return np.asarray(image, np.float32) / 255


def _to_pixels(points: Points) -> list[tuple[float, float]]:
    return [((x + 1) * SIDE / 2, (y + 1) * SIDE / 2) for x, y in points]


def blob(rng: np.random.Generator, radius: float, roughness: float, corners: int = 14) -> Points:
    """The outline of a crumpled object around the origin."""
    angles = rng.uniform(0, 2 * np.pi) + np.linspace(0, 2 * np.pi, corners, endpoint=False)
    radii = radius * (1 + roughness * rng.uniform(-1, 1, corners))
    return [(r * np.cos(a), r * np.sin(a)) for r, a in zip(radii, angles, strict=True)]


def writing(
    rng: np.random.Generator, left: float, top: float, right: float, bottom: float, line: float = 0.085
) -> np.ndarray:
    """Lines of words too small to read, in a rectangle."""
    words = []
    for y in np.arange(top, bottom, line):
        x = left
        end = right if rng.random() < 0.8 else rng.uniform(left + (right - left) / 3, right)
        while x < end:
            length = min(rng.uniform(0.05, 0.2), end - x)
            words.append([(x, y), (x + length, y)])
            x += length + 0.035
    return strokes(words, line * 0.42)


def noise(
    rng: np.random.Generator, cells: int, shape: tuple[int, int] = (SIDE, SIDE), aspect: float = 1.0
) -> np.ndarray:
    """Smooth random hills and valleys.

    Args:
        rng: random generator.
        cells: approximate number of hills along the height.
        shape: rows and columns of the result.
        aspect: values above 1 stretch them horizontally, like wood grain.
    """
    columns = max(2, round(cells / aspect * shape[1] / shape[0]))
    coarse = Image.fromarray(rng.random((max(2, cells), columns), np.float32))
    return np.clip(np.asarray(coarse.resize(shape[::-1], Image.Resampling.BICUBIC)), 0, 1)


def creases(rng: np.random.Generator, count: int) -> np.ndarray:
    """The flat facets of a crumpled surface, each tilted differently: about 0 to 1, mean 0.5."""
    centres = rng.uniform(-1, 1, (count, 2)).astype(np.float32)
    distances = (X[..., None] - centres[:, 0]) ** 2 + (Y[..., None] - centres[:, 1]) ** 2
    facet = distances.argmin(axis=-1)
    tilt = rng.normal(0, 0.7, (count, 2)).astype(np.float32)
    level = rng.uniform(0.25, 0.75, count).astype(np.float32)
    offset_x, offset_y = X - centres[facet, 0], Y - centres[facet, 1]
    return np.clip(level[facet] + tilt[facet, 0] * offset_x + tilt[facet, 1] * offset_y, 0, 1)


def patches(texture: np.ndarray, level: float, blur: float = 0.05) -> np.ndarray:
    """The parts of a texture above a level, with edges that are `blur` wide."""
    return np.clip((texture - level) / blur + 0.5, 0, 1)


def hsv(hue: float, saturation: float, value: float) -> tuple[float, float, float]:
    """A color by hue, saturation and value, each 0 to 1."""
    return colorsys.hsv_to_rgb(hue % 1, saturation, value)


def pick(rng: np.random.Generator, choices: Sequence):
    """One of several values, drawn uniformly."""
    return choices[rng.integers(len(choices))]

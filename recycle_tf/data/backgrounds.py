"""A bank of backgrounds: textures drawn from a seed, and images of a folder.

The policy `wild` (`recycle_tf.data.wild`) pastes objects onto them. The textures imitate the grounds on
which waste is photographed: asphalt, soil, grass, gravel, leaves, planks, tiles, fabric. They follow two
models of natural images: noise with a spectrum of 1/f^a (Field, 1987) and dead leaves, shapes that cover
each other (Lee, Mumford, Huang, 2001). Baradad et al., Learning to See by Looking at Noise, arXiv
2106.05963, train on such images.
"""

import math

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFilter

from recycle_tf.data import decode
from recycle_tf.errors import UserError
from recycle_tf.paths import from_user

PALETTES = {
    "asphalt": [(40, 40, 44), (90, 90, 92), (150, 148, 145)],
    "concrete": [(105, 102, 98), (155, 152, 146), (205, 202, 196)],
    "soil": [(38, 28, 20), (95, 72, 52), (150, 122, 95)],
    "sand": [(140, 115, 85), (190, 165, 130), (225, 208, 180)],
    "grass": [(22, 40, 14), (75, 110, 40), (150, 180, 90)],
    "hay": [(62, 48, 30), (150, 125, 80), (215, 198, 150)],
    "leaves": [(50, 28, 14), (135, 80, 42), (205, 150, 90)],
    "stones": [(48, 48, 50), (118, 116, 114), (200, 198, 194)],
    "wood": [(70, 42, 22), (150, 100, 58), (212, 165, 112)],
    "red": [(70, 28, 22), (140, 70, 55), (190, 130, 110)],
    "blue": [(30, 42, 66), (84, 108, 140), (170, 190, 212)],
    "white": [(165, 162, 158), (215, 213, 210), (245, 244, 242)],
    "dark": [(8, 8, 10), (34, 33, 36), (80, 78, 80)],
}
"""Three colors of each ground, from dark to light."""


COUNT = 256
"""Backgrounds of a bank."""


def load(folder, size, seed):
    """The bank of a training run: drawn, or half of it images of a folder.

    Args:
        folder: a folder with images, searched with its subfolders, or None.
        size: side of the backgrounds, in pixels.
        seed: decides what is drawn, and which images are taken of a larger folder.

    Returns:
        uint8 `[COUNT, size, size, 3]`.

    Raises:
        UserError: the folder has no image, or one that cannot be decoded.
    """
    if folder is None:
        return bank(COUNT, size, seed)
    paths = sorted(decode.images_in(from_user(folder, "backgrounds")))
    if not paths:
        raise UserError(f"`backgrounds={folder}`: no image ({', '.join(decode.SUFFIXES)}) found there")
    order = np.random.default_rng(seed).permutation(len(paths))
    found = [_read(paths[order[number % len(paths)]], size) for number in range(COUNT // 2)]
    return np.concatenate([np.stack(found), bank(COUNT - COUNT // 2, size, seed)])


def _read(path, size):
    decode.check_file(path)
    try:
        return decode.decode_quickly(tf.constant(path.read_bytes()), size, "crop").numpy()
    except tf.errors.OpError:
        raise UserError(f"{path}: missing or damaged; replace it or remove it") from None


def bank(count, size, seed=0):
    """Draws backgrounds.

    Args:
        count: number of images.
        size: their side, in pixels.
        seed: the same seed gives the same images.

    Returns:
        uint8 `[count, size, size, 3]`.
    """
    rng = np.random.default_rng([seed, 0x3117D])
    return (
        np.stack([draw(rng, size) for _ in range(count)]) if count else np.empty((0, size, size, 3), np.uint8)
    )


def draw(rng, size):
    """One background, uint8 `[size, size, 3]`: a texture, sometimes two side by side, in uneven light."""
    image = _texture(rng, size)
    if rng.random() < 0.15:
        across = _plane(rng, size)
        image = np.where((across > rng.uniform(-0.25, 0.25))[..., None], image, _texture(rng, size))
    image = image * _light(rng, size)[..., None]
    gray = image.mean()
    image = gray + (image - gray) * rng.uniform(0.6, 1.2)
    tint = np.exp(rng.normal(0, 0.08, 3)) * rng.uniform(0.75, 1.25)
    return np.clip(image * tint, 0, 255).astype(np.uint8)


def _texture(rng, size):
    return KINDS[rng.integers(len(KINDS))](rng, size)


def _palette(rng, *names):
    colors = np.float32(PALETTES[names[rng.integers(len(names))] if names else rng.choice(list(PALETTES))])
    return np.clip(colors + rng.normal(0, 10, (1, 3)), 0, 255)


def _colored(values, palette):
    """Values 0..1, `[height, width]`, as colors between the three of a palette."""
    at = np.linspace(0, 1, len(palette))
    return np.stack([np.interp(values, at, palette[:, channel]) for channel in range(3)], axis=-1)


def _noise(rng, size, exponent, stretch=1.0):
    """Noise with amplitudes 1/f^`exponent`, in 0..1; `stretch` makes it longer along the rows."""
    y = np.fft.fftfreq(size)[:, None]
    x = np.fft.rfftfreq(size)[None] * stretch
    frequency = np.sqrt(y**2 + x**2)
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) / frequency**exponent
    found = np.fft.irfft2(spectrum, (size, size))
    return np.clip(0.5 + found / (5 * found.std() + 1e-9), 0, 1)


def _plane(rng, size):
    """A ramp of random direction, about -0.7..0.7."""
    place = (np.arange(size) + 0.5) / size - 0.5
    angle = rng.uniform(0, 2 * math.pi)
    return math.cos(angle) * place[:, None] + math.sin(angle) * place


def _light(rng, size):
    """Factors of the light: a ramp, and at times the edge of a shadow."""
    light = 1 + rng.uniform(0, 0.5) * _plane(rng, size)
    if rng.random() < 0.3:
        edge = _noise(rng, size, 2.5) - rng.uniform(0.35, 0.65)
        softness = rng.uniform(0.01, 0.1)
        light = light * (1 - rng.uniform(0.2, 0.6) / (1 + np.exp(-np.clip(edge / softness, -30, 30))))
    return light


def _plain(rng, size):
    """One color, with a little grain."""
    color = _colored(rng.random((1, 1)), _palette(rng))
    return color + rng.uniform(0, 8) * (_noise(rng, size, rng.uniform(0, 1.5)) - 0.5)[..., None] * 2


def _ground(rng, size):
    """Asphalt, concrete, soil, sand: noise of two scales and speckles."""
    rough = _noise(rng, size, rng.uniform(0.2, 0.9))
    values = rng.uniform(0.3, 1) * rough + rng.uniform(0.2, 0.8) * _noise(rng, size, rng.uniform(1.2, 2.2))
    values = 0.5 + (values - values.mean()) * rng.uniform(0.6, 1.8)
    return _colored(
        values, _palette(rng, "asphalt", "asphalt", "concrete", "concrete", "soil", "sand", "red", "blue")
    )


def _strokes(rng, size):
    """Grass, hay, twigs: many curved strokes over each other."""
    name = ("grass", "grass", "hay", "soil", "leaves")[rng.integers(5)]
    palette = _palette(rng, name)
    second = _palette(rng, "hay", "soil", "grass")
    canvas = Image.fromarray(_colored(_noise(rng, size, 1.2) * 0.5, palette).astype(np.uint8))
    pen = ImageDraw.Draw(canvas)
    length, width = size * rng.uniform(0.08, 0.4), max(1, size * rng.uniform(0.004, 0.02))
    direction, spread = rng.uniform(0, 2 * math.pi), rng.choice([0.3, 0.8, 3.0])
    count = int(min(1500, 2.5 * size * size / (length * width)))
    mixed = rng.uniform(0, 0.4)
    for depth in range(count):
        angle = direction + rng.normal(0, spread)
        start = rng.uniform(-0.1, 1.1, 2) * size
        step = length * rng.uniform(0.3, 1) * np.array([math.cos(angle), math.sin(angle)]) / 2
        bend = rng.normal(0, 0.15, 2) * length
        points = [tuple(start), tuple(start + step + bend), tuple(start + 2 * step)]
        tone = np.clip(0.25 + 0.6 * depth / count + rng.normal(0, 0.2), 0, 1)
        color = _colored(tone, second if rng.random() < mixed else palette)
        pen.line(points, tuple(int(part) for part in color), max(1, round(width * rng.uniform(0.5, 1.6))))
    return np.asarray(canvas.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2))), np.float32)


def _shapes(rng, size):
    """Leaves, gravel, clutter: polygons that cover each other, each with its own shade."""
    names = ("leaves", "stones", "stones", "soil", "clutter")
    name = names[rng.integers(len(names))]
    palettes = [_palette(rng) for _ in range(6)] if name == "clutter" else [_palette(rng, name)]
    canvas = Image.fromarray(_colored(_noise(rng, size, 1.0) * 0.4, palettes[0]).astype(np.uint8))
    pen = ImageDraw.Draw(canvas)
    largest = size * rng.uniform(0.04, 0.25)
    smallest = largest * rng.uniform(0.15, 0.8)
    count = int(min(700, 6 * size * size / (smallest + largest) ** 2 * 4))
    for _ in range(count):
        # Radii of dead leaves fall off as 1 / r^3.
        radius = 1 / math.sqrt(rng.uniform(1 / largest**2, 1 / smallest**2))
        corners = rng.integers(4, 10)
        angles = np.sort(rng.uniform(0, 2 * math.pi, corners))
        radii = radius * rng.uniform(0.6, 1.1, corners)
        narrow, turn = rng.uniform(0.4, 1), rng.uniform(0, 2 * math.pi)
        x, y = radii * np.cos(angles), narrow * radii * np.sin(angles)
        center = rng.uniform(-0.05, 1.05, 2) * size
        points = center + np.stack(
            [x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)], 1
        )
        palette = palettes[rng.integers(len(palettes))]
        tone = rng.uniform(0.1, 1)
        dark = tuple(int(part) for part in _colored(tone * 0.4, palette))
        pen.polygon([tuple(point + radius * 0.12) for point in points], dark)
        pen.polygon([tuple(point) for point in points], tuple(int(part) for part in _colored(tone, palette)))
    image = np.asarray(canvas.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.5))), np.float32)
    return image * (1 + rng.uniform(0.1, 0.5) * (_noise(rng, size, rng.uniform(0.4, 1.2)) - 0.5)[..., None])


def _planks(rng, size):
    """Wood: grain along the boards, which differ in shade, with dark gaps."""
    grain = _noise(rng, size, rng.uniform(0.9, 1.5), stretch=rng.uniform(6, 25))
    boards = rng.integers(1, 8)
    place = np.arange(size) / size * boards + rng.random()
    shade = rng.normal(0, 0.12, boards + 2)[place.astype(int)]
    palette = _palette(rng, "wood", "wood", "hay", "asphalt", "concrete", "white")
    image = _colored(np.clip(0.5 + (grain - 0.5) * rng.uniform(0.5, 1.6) + shade[:, None], 0, 1), palette)
    if boards > 1:
        image = (
            image * np.where(place % 1 < rng.uniform(0.01, 0.06), rng.uniform(0.2, 0.8), 1.0)[:, None, None]
        )
    return _turned(rng, image)


def _tiles(rng, size):
    """Tiles, paving, bricks: cells with joints."""
    rows = rng.uniform(1.2, 8)
    columns = rows * rng.choice([1.0, 1.0, 0.5])
    y = np.arange(size)[:, None] / size * rows + rng.random()
    x = np.arange(size)[None] / size * columns + rng.random() + (y.astype(int) % 2) * rng.choice([0.0, 0.5])
    y = np.broadcast_to(y, x.shape)
    tones = rng.normal(0, rng.uniform(0, 0.15), (12, 12))[y.astype(int) % 12, x.astype(int) % 12]
    values = 0.55 + tones + rng.uniform(0.1, 0.8) * (_noise(rng, size, rng.uniform(0.4, 1.6)) - 0.5)
    image = _colored(
        np.clip(values, 0, 1), _palette(rng, "concrete", "red", "stones", "white", "sand", "blue")
    )
    joint = rng.uniform(0.02, 0.09)
    joints = (y % 1 < joint) | (x % 1 < joint * columns / rows)
    return _turned(rng, np.where(joints[..., None], image * rng.uniform(0.4, 1.3), image))


def _fabric(rng, size):
    """Cloth: a weave, or stripes, with soft folds."""
    place = np.arange(size) / size * 2 * math.pi
    y, x = rng.uniform(8, 60, 2)
    weave = (
        np.sin(y * place)[:, None] * np.sin(x * place)
        if rng.random() < 0.6
        else np.sin(y * place)[:, None] + 0 * place
    )
    folds = _noise(rng, size, 2.2)
    grain = _noise(rng, size, rng.uniform(0.1, 0.8))
    values = (
        0.5 + rng.uniform(0.03, 0.25) * weave + rng.uniform(0.3, 1.0) * (folds - 0.5) + 0.3 * (grain - 0.5)
    )
    return _turned(rng, _colored(np.clip(values, 0, 1), _palette(rng)))


def _turned(rng, image):
    """By a random angle: cut from the middle of the mirrored image, so that no corner is empty."""
    size = len(image)
    tiled = np.pad(image, [(size // 4, size // 4)] * 2 + [(0, 0)], "symmetric")
    canvas = Image.fromarray(np.clip(tiled, 0, 255).astype(np.uint8))
    turned = canvas.rotate(rng.uniform(0, 360), Image.Resampling.BILINEAR)
    start = size // 4
    return np.asarray(turned, np.float32)[start : start + size, start : start + size]


# Likelier kinds stand here twice.
KINDS = (_plain, _ground, _ground, _strokes, _strokes, _shapes, _shapes, _planks, _tiles, _fabric)
"""Kinds of textures, `(rng, size) -> [size, size, 3]`, about 0..255."""

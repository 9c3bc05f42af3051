"""The kinds of objects, by class: each function paints one onto an empty canvas, upright.

Classes differ in shape and material; the comment above each class says how. Whatever is printed or dyed
takes its colors from one distribution (`_paint`), which all classes share.
"""

from collections.abc import Callable

import numpy as np

from .brushes import (
    INK,
    WHITE,
    Canvas,
    Color,
    Surface,
    X,
    Y,
    blob,
    box,
    creases,
    ellipse,
    hsv,
    noise,
    patches,
    pick,
    polygon,
    ring,
    soft,
    strokes,
    turned,
    writing,
)

# ---- glass: transparent, darker towards the edges, with narrow hard highlights


def bottle(canvas: Canvas, rng: np.random.Generator) -> None:
    """A wine or beer bottle, often with the remains of its label."""
    width = rng.uniform(0.24, 0.32)
    neck, shoulder = rng.uniform(0.085, 0.11), rng.uniform(-0.35, 0.0)
    body = turned(
        [
            (-0.95, neck * 1.25),
            (-0.87, neck * 1.25),
            (-0.86, neck),
            (shoulder - 0.25, neck),
            (shoulder - 0.08, width * 0.75),
            (shoulder, width),
            (0.88, width),
            (0.95, width * 0.9),
        ],
        curve=0.05,
    )
    _glass(canvas, body, _glass_tint(rng), rng)
    if rng.random() < 0.6:
        _label(canvas, body, shoulder + 0.15, rng.uniform(0.5, 0.75), rng)
        _gleam(canvas, body, 0.25, rng)


def jar(canvas: Canvas, rng: np.random.Generator) -> None:
    """A jam jar without a lid: the thread and the opening are visible."""
    width, top = rng.uniform(0.42, 0.55), rng.uniform(-0.75, -0.5)
    mouth = width * rng.uniform(0.75, 0.88)
    body = turned(
        [(top, mouth), (top + 0.2, mouth), (top + 0.3, width), (0.68, width), (0.78, width * 0.9)], curve=0.12
    )
    tint = _glass_tint(rng)
    _glass(canvas, body, tint, rng)
    for thread in (0.02, 0.1):
        canvas.stain(0.5 * body.band(top + thread, top + thread + 0.025), WHITE)
    _mouth(canvas, top, mouth, 0.12, tint)
    if rng.random() < 0.4:
        _label(canvas, body, top + 0.5, 0.45, rng)
        _gleam(canvas, body, 0.25, rng)


def drinking_glass(canvas: Canvas, rng: np.random.Generator) -> None:
    """A tumbler, sometimes with some liquid in it."""
    top_width, base_width = rng.uniform(0.36, 0.48), rng.uniform(0.26, 0.34)
    top = rng.uniform(-0.8, -0.5)
    body = turned([(top, top_width), (0.8, base_width)], curve=0.1)
    tint = _glass_tint(rng)
    _glass(canvas, body, tint, rng)
    if rng.random() < 0.5:
        canvas.paint(0.55 * body.band(rng.uniform(0.1, 0.5), 0.62), _paint(rng))
    canvas.stain(0.55 * body.band(0.62, 0.66), WHITE)
    _mouth(canvas, top, top_width, 0.1, tint)


def _glass_tint(rng: np.random.Generator) -> Color:
    tints = [
        (0.78, 0.88, 0.88),
        (0.86, 0.9, 0.88),
        (0.2, 0.42, 0.2),
        (0.42, 0.24, 0.08),
        (0.25, 0.4, 0.6),
        hsv(rng.random(), 0.35, 0.75),
    ]
    return np.array(pick(rng, tints)) * rng.uniform(0.85, 1.1)


def _glass(canvas: Canvas, body: Surface, tint: Color, rng: np.random.Generator) -> None:
    edge = np.abs(body.u) ** 5
    canvas.paint(body.shape * (0.36 + 0.5 * edge), tint, shade=1.05 - 0.65 * edge)
    canvas.paint(body.shape * 0.35 * noise(rng, 7), tint, shade=0.55)
    _gleam(canvas, body, 0.9, rng)


def _gleam(canvas: Canvas, body: Surface, strength: float, rng: np.random.Generator) -> None:
    """The reflection of a window: a hard streak on the lit side, and a faint one opposite."""
    lit = 0.55 * (1 if canvas.light[0] >= 0 else -1)
    for centre, width, opacity in ((lit, 0.11, strength), (-lit * 1.25, 0.05, strength * 0.7)):
        streak = np.exp(-(((body.u - centre) / width) ** 4))
        fade = noise(rng, 5, aspect=0.2) * 0.7 + 0.3
        canvas.paint(body.shape * streak * opacity * fade, WHITE)


def _mouth(canvas: Canvas, top: float, width: float, curve: float, tint: Color) -> None:
    """The open end of a transparent object: the far rim is visible through the near one."""
    canvas.paint(0.3 * ellipse(0, top, width, curve), np.asarray(tint) * 0.6)
    canvas.paint(0.85 * ring(0, top, width, curve, 0.035), np.asarray(tint) * 0.5)
    canvas.paint(0.95 * ring(0, top - 0.008, width - 0.005, curve, 0.014), WHITE)


# ---- paper: thin, flat, matte and written on, with fine edges and sharp folds


def sheet(canvas: Canvas, rng: np.random.Generator) -> None:
    """A written or printed page that was folded."""
    color, half = _paper_color(rng), rng.uniform(0.5, 0.66)
    page = box(0, 0, half, 0.86)
    fold = rng.uniform(-0.3, 0.3)
    shade = 0.95 + 0.07 * np.tanh((Y - fold) * 30) * np.sign(canvas.light[1])
    canvas.paint(page, color, shade + 0.06 * (noise(rng, 5) - 0.5))
    ink = INK if rng.random() < 0.7 else hsv(rng.random(), 0.8, 0.5)
    canvas.paint(0.85 * writing(rng, -half + 0.12, -0.7, half * 0.5, -0.65, 0.14), ink)
    canvas.paint(0.7 * writing(rng, -half + 0.12, -0.48, half - 0.12, 0.75), ink)
    if rng.random() < 0.4:
        illustration = box(half * 0.35, 0.3, half * 0.4, 0.22)
        canvas.paint(illustration, _paint(rng), 0.7 + 0.5 * noise(rng, 6))
    _dog_ear(canvas, half, color, rng.uniform(0.12, 0.35))


def _dog_ear(canvas: Canvas, half: float, color: Color, size: float) -> None:
    beyond = X - Y - (half + 0.86 - size)
    cut = soft(-beyond)
    canvas.rgb *= cut[..., None]
    canvas.alpha *= cut
    ear = [(half - size, -0.86), (half, -0.86 + size), (half - size, -0.86 + size)]
    canvas.paint(polygon(ear), color, 0.78)


def paper_ball(canvas: Canvas, rng: np.random.Generator) -> None:
    """A crumpled page; some of the writing is visible."""
    ball = polygon(blob(rng, rng.uniform(0.6, 0.75), 0.12))
    folds = creases(rng, 34)
    round_off = 1 - 0.28 * (np.hypot(X, Y) / 0.75) ** 3 + 0.2 * _towards_light(canvas)
    canvas.paint(ball, _paper_color(rng), (0.62 + 0.5 * folds) * round_off)
    canvas.stain(0.4 * writing(rng, -0.6, -0.6, 0.6, 0.6, 0.11) * (folds > 0.5), INK)
    ripple = 0.05 * (noise(rng, 9) - 0.5)
    canvas.bend(ripple, -ripple)


def newspaper(canvas: Canvas, rng: np.random.Generator) -> None:
    """A folded newspaper: title, photograph and columns of text."""
    color = np.array((0.82, 0.8, 0.74)) * rng.uniform(0.9, 1.1)
    if rng.random() < 0.25:
        color = np.array((0.93, 0.76, 0.66))
    ink = (0.2, 0.2, 0.22)
    for layer in (0.06, 0.03, 0):
        canvas.paint(box(layer, layer, 0.7, 0.8), color, 0.75 if layer else 0.97)
    canvas.paint(writing(rng, -0.55, -0.68, 0.5, -0.6, 0.3), ink)
    canvas.paint(strokes([[(-0.62, -0.54), (0.62, -0.54)]], 0.02), ink)
    photo_left = pick(rng, (-0.61, 0.0))
    canvas.paint(
        box(photo_left + 0.3, -0.2, 0.3, 0.24), hsv(rng.random(), 0.3, 0.7), 0.35 + 0.8 * noise(rng, 5)
    )
    for left in (-0.61, -0.19, 0.23):
        top = 0.14 if abs(left + 0.2 - photo_left - 0.3) < 0.5 else -0.42
        canvas.paint(0.75 * writing(rng, left, top, left + 0.37, 0.74, 0.065), ink)
    canvas.paint(0.25 * strokes([[(-0.7, 0.02), (0.7, 0.02)]], 0.05), INK)


def envelope(canvas: Canvas, rng: np.random.Generator) -> None:
    """An envelope: its back with the flap, or its front with the stamp."""
    color, tall = _paper_color(rng), rng.uniform(0.45, 0.58)
    canvas.paint(box(0, 0, 0.86, tall, 0.015), color, 0.96 + 0.06 * (noise(rng, 4) - 0.5))
    if rng.random() < 0.5:
        sides = [[(-0.86, tall), (-0.1, 0.05)], [(0.86, tall), (0.1, 0.05)]]
        canvas.paint(0.3 * strokes(sides, 0.02), INK)
        flap = [(-0.86, -tall), (0.86, -tall), (0.05, 0.16), (-0.05, 0.16)]
        canvas.paint(0.25 * polygon([(x, y + 0.05) for x, y in flap]), INK)
        canvas.paint(polygon(flap), color, 0.92)
    else:
        canvas.paint(box(0.68, -tall + 0.2, 0.11, 0.13), _paint(rng), 0.7 + 0.5 * noise(rng, 9))
        canvas.paint(0.5 * ring(0.48, -tall + 0.2, 0.13, 0.13, 0.02), INK)
        canvas.paint(0.75 * writing(rng, -0.2, 0.02, 0.4, 0.3, 0.11), INK)
        canvas.paint(0.7 * writing(rng, -0.78, -tall + 0.1, -0.4, -tall + 0.3, 0.07), INK)


def _paper_color(rng: np.random.Generator) -> Color:
    kraft, white = (0.76, 0.62, 0.44), np.array(WHITE)
    tinted = hsv(rng.random(), rng.uniform(0.1, 0.4), 0.95)
    return pick(rng, [white, white, white * 0.93, tinted, kraft])


# ---- cardboard: thick, with visible flutes where it is cut, and stiff edges where it is folded

_KRAFT, _GRAY_BOARD = np.array((0.72, 0.54, 0.35)), np.array((0.62, 0.6, 0.57))


def carton(canvas: Canvas, rng: np.random.Generator) -> None:
    """An open box, seen from a corner, with the flaps up."""
    color = _board_color(rng)
    half, depth, tall = rng.uniform(0.5, 0.62), rng.uniform(0.18, 0.28), rng.uniform(0.5, 0.75)
    top = -0.15
    left, right, near, far = (-half, top), (half, top), (0.05, top + depth), (-0.05, top - depth)
    down = np.array((0, tall))
    left_lit = canvas.light[0] < 0
    canvas.paint(polygon([left, near, right, far]), color, 0.38)
    canvas.paint(
        polygon([left, far, (far[0] - 0.35, far[1] - 0.2), (left[0] - 0.3, left[1] - 0.22)]), color, 0.82
    )
    canvas.paint(
        polygon([far, right, (right[0] + 0.3, right[1] - 0.22), (far[0] + 0.35, far[1] - 0.2)]), color, 0.9
    )
    _board(canvas, polygon([left, near, near + down, left + down]), color, 1.0 if left_lit else 0.72, rng)
    _board(canvas, polygon([near, right, right + down, near + down]), color, 0.72 if left_lit else 1.0, rng)
    canvas.paint(0.6 * strokes([[left, near, right]], 0.025), np.asarray(color) * 0.55)
    if rng.random() < 0.6:
        tape = polygon(
            [
                (-0.3, top + 0.5 * depth),
                (-0.16, top + 0.75 * depth),
                (-0.16, top + 0.3 + 0.75 * depth),
                (-0.3, top + 0.3 + 0.5 * depth),
            ]
        )
        canvas.paint(0.7 * tape, _paint(rng))
    canvas.paint(0.6 * writing(rng, 0.2, 0.3, 0.42, 0.45, 0.08), INK)


def corrugated_sheet(canvas: Canvas, rng: np.random.Generator) -> None:
    """A torn piece of corrugated cardboard: liner, and bare flutes where it has come off."""
    color = np.asarray(_board_color(rng))
    outline = np.array(
        [
            (-0.85, -0.6),
            (-0.2, -0.66),
            (0.4, -0.6),
            (0.85, -0.64),
            (0.8, 0.0),
            (0.86, 0.55),
            (0.2, 0.64),
            (-0.4, 0.56),
            (-0.84, 0.62),
        ]
    )
    piece = polygon([tuple(p) for p in outline + rng.normal(0, 0.05, outline.shape)])
    flutes = 0.5 + 0.5 * np.sin(X * rng.uniform(45, 60))
    bare = patches(noise(rng, 3) + 0.05 * noise(rng, 30), rng.uniform(0.42, 0.57), 0.01)
    canvas.paint(piece, color * 0.5)
    canvas.bend(0, -0.05)
    _board(canvas, piece, color, 1.0, rng)
    canvas.paint(piece * bare, color, 0.5 + 0.5 * flutes)


def tube(canvas: Canvas, rng: np.random.Generator) -> None:
    """The core of a roll: a spiral seam, thick walls and a dark inside."""
    width, top = rng.uniform(0.26, 0.42), rng.uniform(-0.8, -0.5)
    body = turned([(top, width), (0.88, width)], curve=0.17)
    color = pick(rng, (_KRAFT, _KRAFT * 0.8, _GRAY_BOARD))
    canvas.paint(body.shape, color, _matte(body, canvas) + 0.1 * (noise(rng, 24) - 0.5))
    seam = (body.v * 1.4 + np.arcsin(body.u) * 0.22) % 0.45
    canvas.stain(0.7 * soft(0.035 - seam) * soft(seam), color * 0.45)
    canvas.paint(ellipse(0, top, width, 0.17), color, 1.12)
    canvas.paint(ellipse(0, top, width - 0.08, 0.12), color, 0.3 + 0.15 * (X / width + 1))


def egg_carton(canvas: Canvas, rng: np.random.Generator) -> None:
    """An egg carton of molded pulp, from above."""
    columns, rows = pick(rng, ((3, 2), (4, 2), (5, 2), (4, 3)))
    color = np.asarray(_board_color(rng))
    pitch = 1.7 / columns
    canvas.paint(box(0, 0, 0.88, pitch * rows / 2 + 0.06, 0.12), color, 0.85 + 0.25 * (noise(rng, 60) - 0.5))
    radius = pitch * 0.43
    for row in range(rows):
        for column in range(columns):
            cx, cy = (column - (columns - 1) / 2) * pitch, (row - (rows - 1) / 2) * pitch
            hollow = -_towards_light(canvas, cx, cy) / radius
            canvas.paint(ellipse(cx, cy, radius, radius), color, 0.6 + 0.32 * hollow)
            canvas.paint(ellipse(cx, cy, radius * 0.5, radius * 0.5), color, 0.55)
            if row and column:
                px, py = cx - pitch / 2, cy - pitch / 2
                bump = _towards_light(canvas, px, py) / radius
                canvas.paint(ellipse(px, py, radius * 0.42, radius * 0.42), color, 1 + 0.5 * bump)


def _board_color(rng: np.random.Generator) -> Color:
    kraft = _KRAFT * rng.uniform(0.8, 1.15)
    return pick(rng, [kraft] * 9 + [_GRAY_BOARD, np.array(WHITE) * 0.95, _paint(rng)])


def _board(canvas: Canvas, shape: np.ndarray, color: Color, light: float, rng: np.random.Generator) -> None:
    """Paints a liner: dull and fibrous, with faint stripes where the flutes are."""
    stripes = 0.035 * np.sin(X * rng.uniform(45, 60))
    canvas.paint(shape, color, light * (0.95 + stripes + 0.14 * (noise(rng, 40, aspect=4) - 0.5)))


# ---- plastic: broad soft highlights, molded ribs and rims, translucent colors


def pet_bottle(canvas: Canvas, rng: np.random.Generator) -> None:
    """A water bottle with ribs, a cap and a wrap-around label."""
    width = rng.uniform(0.28, 0.36)
    body = turned(
        [
            (-0.78, 0.09),
            (-0.7, 0.09),
            (-0.55, width * 0.7),
            (-0.38, width),
            (0.0, width),
            (0.06, width * 0.88),
            (0.12, width),
            (0.82, width),
            (0.92, width * 0.8),
        ],
        curve=0.06,
    )
    tint = pick(rng, [(0.85, 0.92, 0.97), (0.6, 0.8, 0.95), hsv(rng.random(), 0.4, 0.85)])
    ribs = 0.5 + 0.5 * np.sin(body.v * rng.uniform(45, 62))
    canvas.paint(body.shape * (0.42 + 0.3 * body.u**2), tint, 0.85 + 0.2 * (1 - body.u**2))
    canvas.paint(body.band(0.12, 0.8) * ribs * 0.55, WHITE)
    canvas.paint(body.band(0.12, 0.8) * (1 - ribs) * 0.35, tint, 0.45)
    canvas.paint(body.shape * 0.4 * (creases(rng, 26) > 0.62), WHITE)
    if rng.random() < 0.75:
        canvas.paint(body.band(-0.32, rng.uniform(-0.02, 0.15)), _paint(rng), _matte(body, canvas))
    _soft_light(canvas, body)
    cap = turned([(-0.95, 0.11), (-0.77, 0.115)], curve=0.03)
    canvas.paint(cap.shape, _paint(rng), _matte(cap, canvas) + 0.15 * np.sin(cap.u * 30))
    canvas.paint(turned([(-0.78, 0.13), (-0.71, 0.13)], 0.03).shape * 0.8, tint, 0.7)


def cup(canvas: Canvas, rng: np.random.Generator) -> None:
    """A takeaway cup with a lid and usually a straw."""
    top_width = rng.uniform(0.4, 0.48)
    body = turned([(-0.45, top_width), (0.88, top_width * 0.68)], curve=0.09)
    color = _paint(rng)
    if rng.random() < 0.75:
        lean = rng.uniform(-0.25, 0.25)
        straw = [[(0, -0.45), (lean, -0.95)]]
        canvas.paint(strokes(straw, 0.075), _paint(rng))
        canvas.paint(0.5 * strokes(straw, 0.025), WHITE)
    opacity = pick(rng, (0.75, 1.0))
    canvas.paint(opacity * body.shape, color, _matte(body, canvas))
    canvas.paint(0.55 * body.band(rng.uniform(-0.1, 0.2), 0.75), _paint(rng), _matte(body, canvas))
    for rib in (-0.28, -0.2, 0.74, 0.8):
        canvas.stain(0.4 * body.band(rib, rib + 0.03), WHITE)
    _soft_light(canvas, body)
    dome = turned(
        [
            (-0.62, top_width * 0.72),
            (-0.5, top_width * 0.9),
            (-0.45, top_width * 1.08),
            (-0.34, top_width * 1.08),
        ],
        curve=0.08,
    )
    canvas.paint(0.88 * dome.shape, pick(rng, (WHITE, color, INK)), _matte(dome, canvas))
    canvas.paint(0.5 * ring(0, -0.6, top_width * 0.66, 0.06, 0.02), WHITE)
    _soft_light(canvas, dome)


def bag(canvas: Canvas, rng: np.random.Generator) -> None:
    """A carrier bag of thin film: two handles, and wrinkles below them."""
    color = pick(rng, (np.array(WHITE), np.asarray(_paint(rng))))
    flare = rng.uniform(0.52, 0.66)
    outline = [
        (-0.42, -0.95),
        (-0.26, -0.95),
        (-0.2, -0.45),
        (0.2, -0.45),
        (0.26, -0.95),
        (0.42, -0.95),
        (flare, -0.2),
        (flare * 1.05, 0.8),
        (0, 0.9),
        (-flare * 1.05, 0.8),
        (-flare, -0.2),
    ]
    film = polygon(outline)
    handles = film * soft(-0.4 - Y)
    wrinkles = np.sin(X * 16 / (1.2 + 0.4 * Y) + 5 * noise(rng, 4)) * soft(0.9 - np.abs(Y))
    canvas.paint(film * (0.78 + 0.14 * wrinkles), color, 0.9 + 0.2 * wrinkles)
    canvas.paint(0.35 * handles, color, 0.7)
    canvas.paint(film * 0.4 * patches(creases(rng, 30), 0.75, 0.2), WHITE)
    if rng.random() < 0.6:
        canvas.paint(0.7 * film * ellipse(0, 0.25, 0.3, 0.26), _paint(rng))
        canvas.paint(0.8 * writing(rng, -0.2, 0.2, 0.2, 0.36, 0.12), WHITE)
    ripple = 0.1 * (noise(rng, 5) - 0.5)
    canvas.bend(ripple, 0.5 * ripple)


def tub(canvas: Canvas, rng: np.random.Generator) -> None:
    """A yogurt or margarine tub: opaque and thin, with a wide rim and a printed side."""
    width, top = rng.uniform(0.55, 0.72), rng.uniform(-0.45, -0.15)
    bottom = top + rng.uniform(0.7, 0.95)
    body = turned([(top, width * 0.94), (bottom, width * 0.72)], curve=0.16)
    color, inside = _paint(rng), np.array(WHITE) * 0.93
    canvas.paint(body.shape, color, _matte(body, canvas))
    print_top = top + rng.uniform(0.1, 0.2)
    canvas.paint(body.band(print_top, bottom - 0.28), _paint(rng), _matte(body, canvas))
    canvas.stain(0.8 * writing(rng, -0.25, print_top + 0.3, 0.25, print_top + 0.4, 0.13), WHITE)
    _soft_light(canvas, body)
    canvas.paint(ellipse(0, top + 0.03, width * 1.02, 0.19), inside, 0.72)
    canvas.paint(ellipse(0, top, width * 1.02, 0.18), inside, 1.02)
    canvas.paint(ellipse(0, top, width * 0.9, 0.145), inside, 0.72 + 0.2 * X * canvas.light[0])
    if rng.random() < 0.5:
        canvas.stain(0.6 * ellipse(0, top + 0.05, width * 0.7, 0.08) * noise(rng, 7), _paint(rng))


def detergent_bottle(canvas: Canvas, rng: np.random.Generator) -> None:
    """A bottle of one color, with a handle cut through its shoulder."""
    width = rng.uniform(0.4, 0.5)
    body = turned(
        [
            (-0.68, 0.13),
            (-0.6, 0.14),
            (-0.35, width * 0.9),
            (-0.2, width),
            (0.85, width),
            (0.93, width * 0.92),
        ],
        curve=0.04,
    )
    color = _paint(rng)
    grip = ellipse(width * 0.55, -0.05, 0.09, 0.25)
    flask = Surface(body.shape * (1 - grip), body.u, body.v)
    canvas.paint(flask.shape, color, _matte(body, canvas))
    canvas.stain(0.5 * ellipse(width * 0.55, -0.05, 0.14, 0.3) * (1 - grip), np.array(color) * 0.5)
    canvas.paint(box(-0.08, 0.45, width * 0.62, 0.28, 0.06), _paint(rng))
    canvas.paint(writing(rng, -0.25, 0.35, 0.1, 0.5, 0.14), WHITE)
    _soft_light(canvas, flask)
    cap = turned([(-0.95, 0.13), (-0.66, 0.17)], curve=0.03)
    canvas.paint(cap.shape, _paint(rng), _matte(cap, canvas) + 0.12 * np.sin(cap.u * 24))


def _soft_light(canvas: Canvas, body: Surface) -> None:
    """The broad, blurred highlight of molded plastic."""
    centre = 0.4 * canvas.light[0]
    canvas.paint(body.shape * 0.5 * np.exp(-(((body.u - centre) / 0.22) ** 2)), WHITE)


# ---- metal: reflects the room, in bands from nearly white to nearly black


def drinks_can(canvas: Canvas, rng: np.random.Generator) -> None:
    """A printed drinks can with bare ends and a tab."""
    width = rng.uniform(0.36, 0.44)
    body = turned([(-0.8, width * 0.86), (-0.68, width), (0.74, width), (0.86, width * 0.84)], curve=0.1)
    metal = _metal_color(rng)
    mirror = _mirror(body.u, rng)
    canvas.paint(body.shape, metal, mirror)
    printed = body.band(-0.66, 0.68)
    canvas.paint(printed * rng.uniform(0.75, 1), _paint(rng), 0.25 + 0.8 * mirror)
    swoosh = soft(0.14 - np.abs(body.v - 0.25 * np.sin(body.u * 2 + rng.uniform(0, 6))))
    canvas.paint(printed * swoosh, _paint(rng), 0.25 + 0.8 * mirror)
    _can_end(canvas, -0.8, width * 0.86, metal)


def crushed_can(canvas: Canvas, rng: np.random.Generator) -> None:
    """A crushed can: shortened and buckled."""
    drinks_can(canvas, rng)
    squeeze = rng.uniform(0.25, 0.5)
    buckle = rng.uniform(0.1, 0.16) * np.sin(Y * rng.uniform(7, 10) + rng.uniform(0, 6))
    canvas.bend(buckle * (1 - 0.6 * np.abs(Y)), squeeze * Y + 0.08 * np.sin(X * 6))
    folds = creases(rng, 18)
    canvas.stain(0.7 * patches(folds, 0.68), WHITE)
    canvas.stain(0.6 * patches(-folds, -0.36), INK)


def tin(canvas: Canvas, rng: np.random.Generator) -> None:
    """A food can: bare ribbed sides, and the lid bent back."""
    width, top = rng.uniform(0.45, 0.58), rng.uniform(-0.45, -0.3)
    body = turned([(top, width), (0.8, width)], curve=0.15)
    metal = _metal_color(rng)
    mirror = _mirror(body.u, rng)
    canvas.paint(ellipse(0, top - 0.3, width * 0.85, 0.27), metal, _mirror(X + Y, rng))
    canvas.paint(ring(0, top - 0.3, width * 0.85, 0.27, 0.03), metal, 0.5)
    canvas.paint(ring(0, top - 0.3, width * 0.6, 0.19, 0.02), metal, 0.7)
    ribbed = patches(-np.abs(body.v - 0.25), -0.35)
    ribs = 1 + 0.3 * np.sin(body.v * rng.uniform(38, 55)) * ribbed
    canvas.paint(body.shape, metal, mirror * ribs)
    if rng.random() < 0.4:
        canvas.paint(0.95 * body.band(top + 0.3, 0.5), _paint(rng), _matte(body, canvas))
        canvas.stain(0.8 * writing(rng, -0.3, 0.3, 0.3, 0.4, 0.13), WHITE)
    canvas.paint(ellipse(0, top, width * 1.02, 0.16), metal, 1.15)
    inside = 0.3 + 0.5 * _mirror(-X / width, rng) ** 2
    canvas.paint(ellipse(0, top, width * 0.93, 0.13), metal, inside)


def foil_ball(canvas: Canvas, rng: np.random.Generator) -> None:
    """A ball of aluminum foil: facets that are either very bright or dark."""
    ball = polygon(blob(rng, rng.uniform(0.58, 0.75), 0.14))
    facets = 0.55 * creases(rng, 75) + 0.45 * creases(rng, 40) - 0.5
    contrast = np.clip(3 * facets + 0.72 + 0.25 * _towards_light(canvas), 0.2, 1.25)
    canvas.paint(ball, _metal_color(rng), contrast)
    ripple = 0.05 * (noise(rng, 12) - 0.5)
    canvas.bend(ripple, -ripple)


def lid(canvas: Canvas, rng: np.random.Generator) -> None:
    """A jar lid or a crown cap, from above: pressed rings and a knurled rim."""
    radius = rng.uniform(0.6, 0.8)
    teeth = pick(rng, (21, 60))
    angle = np.arctan2(Y, X)
    distance = np.hypot(X, Y)
    metal = _metal_color(rng)
    sweep = _mirror(np.sin(angle * 2 + rng.uniform(0, 6)), rng)
    depth = 0.06 if teeth == 21 else 0.015
    rim = soft(radius * (1 + depth * np.sin(angle * teeth)) - distance)
    canvas.paint(rim, metal, sweep * (0.7 + 0.3 * np.sin(angle * teeth)))
    face = ellipse(0, 0, radius * 0.86, radius * 0.86)
    canvas.paint(face, pick(rng, (metal, _paint(rng))), 0.3 + 0.75 * sweep)
    for r in rng.uniform(0.3, 0.8, 2) * radius:
        canvas.paint(0.7 * ring(0, 0, r, r, 0.03), metal, 0.5)
        canvas.paint(0.8 * ring(0.01 * canvas.light[0], 0.01 * canvas.light[1], r, r, 0.015), WHITE)


def _metal_color(rng: np.random.Generator) -> Color:
    silver, gold = np.array((0.84, 0.86, 0.88)), np.array((0.85, 0.7, 0.42))
    return pick(rng, (silver, silver, silver * 0.85, gold)) * rng.uniform(0.9, 1.05)


def _mirror(u: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The reflection of a room in curved metal: bright windows beside dark walls."""
    reflection = np.full_like(u, 0.62)
    for strength in (0.55, 0.5, -0.42, -0.38, 0.3):
        centre, width = rng.uniform(-0.95, 0.95), rng.uniform(0.06, 0.18)
        reflection += strength * np.exp(-(((u - centre) / width) ** 2))
    return np.clip(reflection, 0.12, 1.3)


def _can_end(canvas: Canvas, top: float, width: float, metal: Color) -> None:
    """Paints the end of a can, with the opening and the tab."""
    canvas.paint(ellipse(0, top, width, 0.12), metal, 1.1)
    canvas.paint(ellipse(0, top, width * 0.88, 0.1), metal, 0.6 + 0.4 * X * canvas.light[0] / width)
    canvas.paint(ellipse(0, top + 0.045, width * 0.32, 0.035), INK)
    canvas.paint(ring(0, top - 0.03, width * 0.22, 0.035, 0.03), metal, 1.2)


# ---- trash: not recyclable; soft, soiled, or of several materials at once


def banana_peel(canvas: Canvas, rng: np.random.Generator) -> None:
    """Three or four strips that hang from a stalk, with brown spots."""
    ripe = hsv(rng.uniform(0.11, 0.16), rng.uniform(0.55, 0.8), rng.uniform(0.6, 0.95))
    brown = (0.25, 0.16, 0.08)
    turn = rng.uniform(0, 2 * np.pi)
    strips = rng.integers(3, 5)
    for strip in range(strips):
        heading = turn + 2 * np.pi * strip / strips + rng.normal(0, 0.2)
        spine = np.linspace(0, rng.uniform(0.75, 0.9), 9)
        bend = heading + rng.uniform(-0.9, 0.9) * spine
        path = np.stack([spine * np.cos(bend), spine * np.sin(bend)], axis=-1)
        normal = np.stack([-np.sin(bend), np.cos(bend)], axis=-1)
        girth = (0.17 * np.sin(np.linspace(0.7, 2.95, 9)))[:, None]
        outline = [*map(tuple, path + normal * girth), *map(tuple, (path - normal * girth)[::-1])]
        inner = [*map(tuple, path + normal * girth * 0.7), *map(tuple, path[::-1])]
        canvas.paint(polygon(outline), ripe, 0.82 + 0.15 * noise(rng, 6))
        canvas.paint(0.8 * polygon(inner), (0.94, 0.89, 0.7))
    canvas.stain(patches(noise(rng, 11), rng.uniform(0.6, 0.75)), brown)
    canvas.paint(ellipse(0, 0, 0.11, 0.11), brown)


def apple_core(canvas: Canvas, rng: np.random.Generator) -> None:
    """An apple core: skin above and below, flesh, seeds and a stalk."""
    waist = rng.uniform(0.14, 0.22)
    core = turned(
        [
            (-0.62, 0.2),
            (-0.55, 0.44),
            (-0.42, 0.42),
            (-0.2, waist * 1.2),
            (0.05, waist),
            (0.3, waist * 1.2),
            (0.48, 0.38),
            (0.62, 0.34),
            (0.72, 0.15),
        ],
        curve=0.1,
    )
    skin = hsv(pick(rng, (0.0, 0.03, 0.2, 0.25)), 0.75, rng.uniform(0.5, 0.8))
    canvas.paint(
        strokes([[(0, -0.52), (0.04, -0.72), (rng.uniform(-0.1, 0.2), -0.92)]], 0.05), (0.3, 0.2, 0.1)
    )
    canvas.paint(core.shape, (0.93, 0.86, 0.62), _matte(core, canvas))
    canvas.stain(0.5 * noise(rng, 7), (0.6, 0.4, 0.16))
    canvas.paint(
        core.shape * soft(np.abs(Y - 0.02 + 0.06 * noise(rng, 12)) - 0.4), skin, _matte(core, canvas)
    )
    for x, y in ((-0.05, 0.0), (0.06, 0.1)):
        canvas.paint(ellipse(x, y, 0.035, 0.065), (0.2, 0.1, 0.05))
    canvas.bend(0.06 * np.sin(Y * 9 + rng.uniform(0, 6)), 0)


def cigarette_ends(canvas: Canvas, rng: np.random.Generator) -> None:
    """A few cigarette ends across each other, with ash."""
    for _ in range(rng.integers(3, 6)):
        start, heading = rng.uniform(-0.45, 0.45, 2), rng.uniform(0, 2 * np.pi)
        along = np.array((np.cos(heading), np.sin(heading)))
        length = rng.uniform(0.25, 0.4)
        tip, ash, end = start - along * 0.42, start + along * (length - 0.1), start + along * length
        canvas.paint(0.35 * strokes([[tuple(tip + 0.04), tuple(end + 0.04)]], 0.2), INK)
        canvas.paint(strokes([[tuple(start), tuple(ash)]], 0.19), np.array(WHITE) * 0.95)
        canvas.paint(strokes([[tuple(tip), tuple(start)]], 0.19), (0.85, 0.56, 0.26))
        canvas.paint(strokes([[tuple(ash), tuple(end)]], 0.17), (0.2, 0.19, 0.19))
        side = np.array((-along[1], along[0])) * 0.045
        canvas.paint(0.45 * strokes([[tuple(tip + side), tuple(ash + side)]], 0.04), WHITE)
    canvas.stain(0.5 * noise(rng, 30) ** 2, (0.4, 0.32, 0.25))
    for x, y in rng.uniform(-0.8, 0.8, (40, 2)):
        canvas.paint(0.7 * ellipse(x, y, 0.02, 0.015), (0.35, 0.35, 0.36))


def wrapper(canvas: Canvas, rng: np.random.Generator) -> None:
    """A greasy packet of film and foil, sealed with zigzags and torn open."""
    width, tall, teeth = rng.uniform(0.5, 0.62), 0.8, 13
    xs = np.linspace(-width, width, 2 * teeth + 1)
    zigzag = 0.05 * (np.arange(2 * teeth + 1) % 2)
    tear = rng.uniform(0.1, 0.45) * np.cos(xs * 4 + rng.uniform(0, 6))
    top = list(zip(xs, -tall + zigzag + np.maximum(0, tear), strict=True))
    bottom = list(zip(xs[::-1], tall - zigzag, strict=True))
    packet = polygon([*top, (width * 0.92, 0), *bottom, (-width * 0.92, 0)])
    folds = 0.8 + 0.35 * creases(rng, 16)
    canvas.paint(packet, _paint(rng), folds)
    canvas.paint(packet * ellipse(0, 0.05, 0.38, 0.3), _paint(rng), folds)
    canvas.paint(packet * writing(rng, -0.25, 0.03, 0.25, 0.1, 0.2), WHITE)
    canvas.paint(packet * (np.abs(Y) > 0.68) * (0.5 + 0.3 * np.sin(Y * 120)), (0.8, 0.8, 0.82))
    canvas.paint(strokes([top], 0.07), (0.8, 0.8, 0.82))
    canvas.stain(0.6 * patches(noise(rng, 6), 0.65, 0.2), (0.35, 0.24, 0.12))
    ripple = 0.09 * (noise(rng, 6) - 0.5)
    canvas.bend(ripple, ripple)


def face_mask(canvas: Canvas, rng: np.random.Generator) -> None:
    """A used face mask: three pleats, a nose wire and two ear loops."""
    blue = (0.6, 0.79, 0.9)
    fabric = pick(rng, [blue, blue, blue, WHITE, hsv(rng.random(), 0.25, 0.9)])
    for side in (-1, 1):
        droop = rng.uniform(-0.15, 0.15)
        loop = [
            (side * 0.6, -0.36),
            (side * 0.85, -0.3 + droop),
            (side * 0.94, droop),
            (side * 0.85, 0.3 + droop),
            (side * 0.6, 0.36),
        ]
        canvas.paint(strokes([loop], 0.05), WHITE)
    canvas.paint(box(0, 0, 0.64, 0.44, 0.05), fabric, 0.92 + 0.1 * (noise(rng, 50) - 0.5))
    for pleat in (-0.2, 0.0, 0.2):
        canvas.stain(0.4 * box(0, pleat + 0.03, 0.62, 0.04), INK)
        canvas.stain(0.7 * box(0, pleat - 0.015, 0.62, 0.018), WHITE)
    canvas.stain(0.5 * box(0, -0.35, 0.25, 0.02), WHITE)
    stitches = [[(x, y), (x + 0.03, y)] for x in np.arange(-0.6, 0.6, 0.06) for y in (-0.41, 0.41)]
    canvas.stain(0.6 * strokes(stitches, 0.015), INK)
    canvas.stain(0.4 * patches(noise(rng, 5), 0.65, 0.2), (0.4, 0.3, 0.18))
    sag = 0.12 * np.sin(X * 2.2 + rng.uniform(0, 6))
    canvas.bend(0, sag)


# ---- shared by several materials


def _paint(rng: np.random.Generator) -> Color:
    """A color for print or dye, from the same distribution for every class."""
    if rng.random() < 0.2:
        return np.array((1, 1, 1)) * pick(rng, (0.95, 0.8, 0.25))
    return np.array(hsv(rng.random(), rng.uniform(0.35, 0.9), rng.uniform(0.45, 0.95)))


def _matte(body: Surface, canvas: Canvas) -> np.ndarray:
    """Shading of a matte round body, darker away from the light."""
    turned_away = body.u - 0.45 * canvas.light[0]
    return 1.08 - 0.42 * turned_away**2


def _towards_light(canvas: Canvas, cx: float = 0.0, cy: float = 0.0) -> np.ndarray:
    """How far each point lies from (cx, cy) in the direction of the light."""
    return (X - cx) * canvas.light[0] + (Y - cy) * canvas.light[1]


def _label(canvas: Canvas, body: Surface, top: float, bottom: float, rng: np.random.Generator) -> None:
    """Paints a paper label on a round body, sometimes partly scraped off."""
    sticker = body.band(top, bottom) * soft(0.88 - np.abs(body.u))
    if rng.random() < 0.4:
        sticker = sticker * patches(noise(rng, 5), 0.35)
    canvas.paint(sticker, _paint(rng), _matte(body, canvas))
    stripe = sticker * body.band(top + 0.06, top + 0.06 + 0.3 * (bottom - top))
    canvas.paint(stripe, _paint(rng), _matte(body, canvas))
    text = writing(rng, -0.2, (top + bottom) / 2 + 0.08, 0.2, bottom, 0.08)
    canvas.paint(0.8 * sticker * text, INK)


KINDS: dict[str, tuple[Callable[[Canvas, np.random.Generator], None], ...]] = {
    "glass": (bottle, jar, drinking_glass),
    "paper": (sheet, paper_ball, newspaper, envelope),
    "cardboard": (carton, corrugated_sheet, tube, egg_carton),
    "plastic": (pet_bottle, cup, bag, tub, detergent_bottle),
    "metal": (drinks_can, crushed_can, tin, foil_ball, lid),
    "trash": (banana_peel, apple_core, cigarette_ends, wrapper, face_mask),
}

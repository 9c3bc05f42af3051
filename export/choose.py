"""Which of the exported files to ship: `python -m export --choose --max_mb=4 --max_ms=10`."""

import dataclasses

from recycle_tf.errors import UserError

WEIGHT_BYTES = {
    "tflite_float32": 4,
    "tflite_float16": 2,
    "tflite_dynamic": 1,
    "tflite_int8": 1,
    "tflite_int16x8": 1,
}
SAME_SPEED = 1.05
"""Ratio of two times that a measurement does not tell apart; of two such files the smaller is taken."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a file may cost, beside the accuracy that the gates ask for; None is no limit.

    Attributes:
        max_mb: megabytes of the file.
        max_ms: milliseconds a picture, with one thread of this machine.
    """

    max_mb: float | None
    max_ms: float | None


def too_large(format_name, parameters, limits):
    """Why a format need not be built, or None: its weights alone are too large."""
    least = parameters * WEIGHT_BYTES[format_name] / 1e6
    if limits.max_mb is not None and least > limits.max_mb:
        return f"its weights alone take {least:.2f} MB, more than --max_mb={limits.max_mb:g}"
    return None


def choose(rows, limits):
    """Picks the fastest file within the limits; of equally fast ones the smallest.

    Args:
        rows: of `export.json`, of `.tflite` files.
        limits: the `Limits`.

    Returns:
        A text: the front, that is what no other file beats in size, accuracy and latency at once; what keeps
        each of the others out; and the choice with its reason.

    Raises:
        UserError: no file is within the limits; says what keeps each out.
    """
    obstacles = {row["format"]: _obstacle(row, limits) for row in rows}
    fitting = [row for row in rows if not obstacles[row["format"]]]
    if not fitting:
        reasons = "; ".join(f"{name} {obstacle}" for name, obstacle in obstacles.items())
        raise UserError(f"--choose: nothing fits: {reasons}")
    fastest = min(_costs(row)[2] for row in fitting)
    chosen = min(
        (row for row in fitting if _costs(row)[2] <= SAME_SPEED * fastest), key=lambda row: row["bytes"]
    )
    lines = [f"{'front':16} {'MB':>6} {'drop':>6} {'ms':>8}"]
    for row in rows:
        megabytes, drop, milliseconds = _costs(row)
        beaten = [other["format"] for other in fitting if _beats(other, row)]
        note = obstacles[row["format"]] or (f"beaten by {', '.join(beaten)}" if beaten else "")
        lines.append(f"{row['format']:16} {megabytes:6.2f} {drop:6.2f} {milliseconds:8.2f}  {note}".rstrip())
    megabytes, drop, milliseconds = _costs(chosen)
    among = f"the fastest of {len(fitting)} that fit" if len(fitting) > 1 else "the only one that fits"
    if milliseconds > fastest:
        among = f"of {len(fitting)} that fit the smallest of those within 5 % of the fastest"
    costs = f"{megabytes:.2f} MB, {milliseconds:.2f} ms, {drop:.2f} points lost"
    lines.append(f"choice: {chosen['path']}, {among}: {costs}")
    return "\n".join(lines)


def _costs(row):
    """(megabytes, points lost, milliseconds): the less, the better."""
    return row["bytes"] / 1e6, row["verification"]["drop"], row["latency_ms"]["threads_1"]


def _beats(one, other):
    """Whether one is nowhere worse, and somewhere better."""
    pairs = list(zip(_costs(one), _costs(other), strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def _obstacle(row, limits):
    """What keeps a file from being chosen, or None."""
    megabytes, _, milliseconds = _costs(row)
    if row["verification"]["failure"]:
        return f"rejected: {row['verification']['failure']}"
    if limits.max_mb is not None and megabytes > limits.max_mb:
        return f"has {megabytes:.2f} MB, more than --max_mb={limits.max_mb:g}"
    if limits.max_ms is not None and milliseconds > limits.max_ms:
        return f"takes {milliseconds:.2f} ms, more than --max_ms={limits.max_ms:g}"
    return None

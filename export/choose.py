"""Recommends which of the exported files to ship: the settings `choose`, `max_mb` and `max_ms`.

Accuracy is that of the validation split: the test split must not select, so that its figures for the chosen
file stay unbiased.
"""

import dataclasses

from recycle_tf.errors import UserError

SAME_SPEED = 1.05
"""Ratio of two latencies that a measurement cannot distinguish; of such files the smallest is chosen."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of a file, in addition to the gates; None is no limit.

    Attributes:
        max_mb: megabytes of the file.
        max_ms: milliseconds per image with one thread of this machine.
    """

    max_mb: float | None
    max_ms: float | None


def too_large(bytes_per_parameter, parameters, limits):
    """Why a format need not be exported: its weights alone are too large; or None."""
    least = parameters * bytes_per_parameter / 1e6
    if limits.max_mb is not None and least > limits.max_mb:
        return f"its weights alone take {least:.2f} MB, more than `max_mb={limits.max_mb:g}`"
    return None


def choose(rows, limits):
    """Chooses the fastest file within the limits and gates; of equally fast ones the smallest.

    Args:
        rows: rows of `export.json` of `.tflite` files, with a `selection`.
        limits: the `Limits`.

    Returns:
        The chosen row, and a text: what each file costs, which files are better in size, accuracy and
        latency, what excludes it, and the choice with its reason.

    Raises:
        UserError: no file is within the limits; says what excludes each.
    """
    obstacles = {row["format"]: _obstacle(row, limits) for row in rows}
    fitting = [row for row in rows if not obstacles[row["format"]]]
    if not fitting:
        reasons = "; ".join(f"{name} {obstacle}" for name, obstacle in obstacles.items())
        raise UserError(f"`choose`: no file fits: {reasons}")
    fastest = min(_costs(row)[2] for row in fitting)
    chosen = min(
        (row for row in fitting if _costs(row)[2] <= SAME_SPEED * fastest), key=lambda row: row["bytes"]
    )
    lines = [f"{'validation split':16} {'MB':>6} {'drop':>6} {'ms':>8}"]
    for row in rows:
        megabytes, drop, milliseconds = _costs(row)
        better = [other["format"] for other in fitting if _dominates(other, row)]
        note = obstacles[row["format"]] or (f"dominated by {', '.join(better)}" if better else "")
        lines.append(f"{row['format']:16} {megabytes:6.2f} {drop:6.2f} {milliseconds:8.2f}  {note}".rstrip())
    megabytes, drop, milliseconds = _costs(chosen)
    reason = f"the fastest of {len(fitting)} that fit" if len(fitting) > 1 else "the only one that fits"
    if milliseconds > fastest:
        reason = f"of {len(fitting)} that fit, the smallest of those within 5 % of the fastest"
    costs = f"{megabytes:.2f} MB, {milliseconds:.2f} ms, {drop:.2f} points lost"
    lines.append(f"choice: {chosen['path']}, {reason}: {costs}")
    return chosen, "\n".join(lines)


def _costs(row):
    """(megabytes, points lost on the validation split, milliseconds): lower is better."""
    return row["bytes"] / 1e6, row["selection"]["drop"], row["latency_ms"]["threads_1"]


def _dominates(one, other):
    """Whether a file is nowhere worse than another, and somewhere better."""
    pairs = list(zip(_costs(one), _costs(other), strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def _obstacle(row, limits):
    """What excludes a file from the choice, or None."""
    megabytes, _, milliseconds = _costs(row)
    if row["selection"]["failure"]:
        return f"fails its gate: {row['selection']['failure']}"
    if limits.max_mb is not None and megabytes > limits.max_mb:
        return f"has {megabytes:.2f} MB, more than `max_mb={limits.max_mb:g}`"
    if limits.max_ms is not None and milliseconds > limits.max_ms:
        return f"takes {milliseconds:.2f} ms, more than `max_ms={limits.max_ms:g}`"
    return None

"""Advice: which file to ship."""

import pytest

from export.choose import Limits, choose, too_large
from recycle_tf.errors import UserError


def row(name, megabytes, drop, milliseconds, failure=None):
    return {
        "format": f"tflite_{name}",
        "path": f"model_{name}.tflite",
        "bytes": megabytes * 1e6,
        "verification": {"drop": drop, "failure": failure},
        "latency_ms": {"threads_1": milliseconds},
    }


ROWS = [
    row("float32", 11.2, 0.0, 4.7),
    row("float16", 5.6, 0.0, 4.9),
    row("dynamic", 2.85, -0.2, 2.1),
    row("int8", 2.9, 0.2, 1.9),
]


def test_the_fastest_that_fits():
    text = choose(ROWS, Limits(None, None))
    assert "choice: model_int8.tflite, the fastest of 4 that fit: 2.90 MB, 1.90 ms, 0.20 points lost" in text
    lines = {line.split()[0]: line for line in text.splitlines()}
    assert lines["tflite_float32"].endswith("beaten by tflite_dynamic")
    assert "beaten" not in lines["tflite_dynamic"]
    assert "beaten" not in lines["tflite_int8"]


def test_of_equally_fast_ones_the_smallest():
    rows = [*ROWS[:3], row("int8", 2.9, 0.2, 2.05)]
    assert "choice: model_dynamic.tflite, of 4 that fit the smallest of those within 5 %" in choose(
        rows, Limits(None, None)
    )


def test_limits_and_rejections():
    rows = [*ROWS[:3], row("int8", 2.9, 9.0, 1.9, failure="it loses 9.0 points")]
    text = choose(rows, Limits(max_mb=5, max_ms=4))
    assert "choice: model_dynamic.tflite, the only one that fits" in text
    assert "has 11.20 MB, more than --max_mb=5" in text
    assert "rejected: it loses 9.0 points" in text


def test_nothing_fits():
    with pytest.raises(UserError, match="nothing fits: .*tflite_int8 takes 1.90 ms, more than --max_ms=1$"):
        choose(ROWS, Limits(None, max_ms=1))


def test_what_need_not_be_built():
    assert "alone take 44.00 MB, more than --max_mb=20" in too_large(
        "tflite_float32", 11_000_000, Limits(20, None)
    )
    assert too_large("tflite_int8", 11_000_000, Limits(20, None)) is None
    assert too_large("tflite_float32", 11_000_000, Limits(None, 5)) is None

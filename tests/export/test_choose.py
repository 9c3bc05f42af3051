"""The recommendation which file to ship."""

import pytest

from export import exporting
from export.choose import Limits, choose, too_large
from export.settings import ExportSettings
from recycle_tf import runs
from recycle_tf.errors import UserError


def row(name, megabytes, drop, milliseconds, failure=None):
    return {
        "format": f"tflite_{name}",
        "path": f"model_{name}.tflite",
        "bytes": megabytes * 1e6,
        "selection": {"drop": drop, "failure": failure},
        # Figures of the test split, which must not select.
        "verification": {"drop": -50 * megabytes, "failure": None},
        "latency_ms": {"threads_1": milliseconds},
    }


ROWS = [
    row("float32", 11.2, 0.0, 4.7),
    row("float16", 5.6, 0.0, 4.9),
    row("dynamic", 2.85, -0.2, 2.1),
    row("int8", 2.9, 0.2, 1.9),
]


def test_the_fastest_that_fits():
    chosen, text = choose(ROWS, Limits(None, None))
    assert chosen is ROWS[3]
    assert "choice: model_int8.tflite, the fastest of 4 that fit: 2.90 MB, 1.90 ms, 0.20 points lost" in text
    lines = {line.split()[0]: line for line in text.splitlines()}
    assert lines["tflite_float32"].endswith("dominated by tflite_dynamic")
    assert "dominated" not in lines["tflite_dynamic"]
    assert "dominated" not in lines["tflite_int8"]


def test_the_smallest_of_equally_fast_ones():
    rows = [*ROWS[:3], row("int8", 2.9, 0.2, 2.05)]
    chosen, text = choose(rows, Limits(None, None))
    assert chosen is rows[2]
    assert "the smallest of those within 5 %" in text


def test_limits_and_rejections():
    rows = [*ROWS[:3], row("int8", 2.9, 9.0, 1.9, failure="it loses 9.0 points")]
    chosen, text = choose(rows, Limits(max_mb=5, max_ms=4))
    assert chosen is rows[2]
    assert "has 11.20 MB, more than `max_mb=5`" in text
    assert "it loses 9.0 points" in text


def test_nothing_fits():
    with pytest.raises(UserError, match="tflite_int8 takes 1.90 ms, more than `max_ms=1`$"):
        choose(ROWS, Limits(None, max_ms=1))


def test_weights_that_are_too_large():
    assert "44.00 MB, more than `max_mb=20`" in too_large(4, 11_000_000, Limits(20, None))
    assert too_large(1, 11_000_000, Limits(20, None)) is None
    assert too_large(4, 11_000_000, Limits(None, 5)) is None


def test_a_choice_that_fails_on_the_test_split_is_an_error(tmp_path, capsys):
    """The next best is not taken instead: the test split would select."""
    run, settings = runs.Run(tmp_path), ExportSettings(run="r", choose=True)
    failed = [{**one, "verification": {"failure": "it fails"}} for one in ROWS]
    exporting.report(settings, run, [*failed[:3], ROWS[3]], test=None)
    with pytest.raises(UserError, match="tflite_int8: rejected"):
        exporting.report(settings, run, [*ROWS[:3], failed[3]], test=None)
    assert "choice: model_int8.tflite" in capsys.readouterr().out

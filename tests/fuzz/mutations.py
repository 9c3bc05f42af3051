"""Hypothesis strategies for damaged files, and what must hold whatever a file contains.

`FUZZ`: multiplies the number of examples of every test; 1 in `make test`, 50 in `make fuzz`.
"""

import contextlib
import io
import json
import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from recycle_tf.errors import UserError

FACTOR = int(os.environ.get("FUZZ", "1"))

DEEP = "[" * 100_000
"""JSON that is nested too deeply for Python's parser."""

NESTED_BOMBS = st.sampled_from([DEEP, '{"a":' * 100_000, DEEP + "]" * 100_000])

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -1, 0, 2**63, float("nan"), float("inf"), -0.0, 1e308])
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["", "\0", "\ud800", "a\nb", "../../x", "%s" * 50, "-", "NaN", "1e999", "x" * 5000])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
"""Whatever JSON can hold, and what Python's parser takes besides: NaN, infinity, half of a surrogate pair."""


def examples(count):
    """The settings of a test that runs `count` examples in the short form."""
    return settings(
        max_examples=count * FACTOR,
        deadline=None,
        database=None,
        # The short form must not fail by chance in a change that has nothing to do with it.
        derandomize=FACTOR == 1,
        suppress_health_check=list(HealthCheck),
    )


@st.composite
def damaged(draw, content):
    """Bytes with one to five damages: overwritten, inserted, deleted, repeated, zeroed, or cut off."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 5))):
        if not content:
            break
        # Formats keep what they depend on in their first bytes.
        last = len(content) - 1
        start = draw(st.integers(0, last) | st.integers(0, min(last, 64)))
        length = draw(st.integers(1, 16))
        new = draw(st.binary(min_size=1, max_size=8))
        kind = draw(st.sampled_from(["overwrite", "bit", "insert", "delete", "repeat", "zero", "truncate"]))
        if kind == "overwrite":
            content[start : start + len(new)] = new
        elif kind == "bit":
            content[start] ^= 1 << (new[0] % 8)
        elif kind == "insert":
            content[start:start] = new
        elif kind == "delete":
            del content[start : start + length]
        elif kind == "repeat":
            content[start:start] = content[start : start + length] * 20
        elif kind == "zero":
            content[start : start + length] = bytes(length)
        else:
            del content[start:]
    return bytes(content)


@st.composite
def damaged_json(draw, record):
    """A text: JSON of a dict of which some values, at any depth, are others or missing; or damaged text."""
    record = json.loads(json.dumps(record))
    for _ in range(draw(st.integers(1, 2))):
        place = record
        while True:
            key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            if isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            break
        if draw(st.integers(0, 4)):
            place[key] = draw(values)
        else:
            del place[key]
        if not record:
            break
    text = json.dumps(record)
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(NESTED_BOMBS)
    if kind == 1:
        return draw(damaged(text.encode())).decode("latin-1")
    return text


def answer_or_user_error(function, *arguments):
    """Calls a function; returns its answer, or the `UserError`. Any other exception fails the test."""
    try:
        return function(*arguments)
    except UserError as error:
        return error


def run_command(main, *argv):
    """Runs a command in this process.

    Returns:
        Its exit status and what it wrote on standard error. A status of 2 comes with one line that begins
        with `error: `.
    """
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main([str(argument) for argument in argv])
        except SystemExit as exit:
            status = exit.code or 0
    lines = [line for line in err.getvalue().splitlines() if not line.startswith("warning: ")]
    if status == 2:
        assert len(lines) == 1, lines
        assert lines[0].startswith("error: ")
    return status, err.getvalue()

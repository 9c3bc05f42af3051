"""Paths that a user gives, checked before anything is opened."""

import pathlib

from recycle_tf.errors import UserError

_SHOWN = 100
"""Characters of a path that a message shows."""


def from_user(text, parameter):
    """A path from a parameter's value, with `~` expanded.

    Args:
        text: the value, a string or a path.
        parameter: name of the parameter, for messages.

    Returns:
        A `pathlib.Path`; nothing may exist there.

    Raises:
        UserError: the value is empty, not UTF-8, names the home of an unknown user, or is a path that the
            system does not accept.
    """
    text = str(text)
    if not text:
        raise UserError(f"`{parameter}`: empty; give a path")
    given = f"`{parameter}={printable(text[:_SHOWN])}{'…' * (len(text) > _SHOWN)}`"
    if "\0" in text:
        raise UserError(f"{given}: has a zero byte in it")
    try:
        path = pathlib.Path(text).expanduser()
    except RuntimeError:
        raise UserError(f"{given}: no such user") from None
    try:
        # If nothing exists there, it may be the name of a TFDS builder: the current folder does not matter.
        resolved = path.resolve() if path.exists() else path
    except (OSError, RuntimeError) as error:
        raise UserError(f"{given}: not a valid path ({getattr(error, 'strerror', error)})") from error
    for shown in (path, resolved):
        # TensorFlow, JSON and labels.txt take UTF-8 only.
        if not is_utf8(str(shown)):
            raise UserError(f"{given}: {printable(shown)} is not UTF-8; rename it")
    return path


def is_utf8(text):
    """Whether a name from the file system is UTF-8: Python represents other bytes by lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def printable(path):
    """A path as text that can be printed on one line of UTF-8."""
    return str(path) if str(path).isprintable() else repr(str(path))

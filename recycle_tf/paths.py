"""Paths that a user gives, checked before anything is opened; and paths as text for a terminal."""

import os
import pathlib
import unicodedata

from recycle_tf import remote
from recycle_tf.errors import UserError

_SHOWN = 100
"""Characters of a path that a message shows."""


def of_dataset(text):
    """The path that `dataset` gives: on this machine, or of a folder on another one (`gs://BUCKET/photos`).

    Args:
        text: the value, a string or a path.

    Returns:
        A `pathlib.Path` or a `remote.RemotePath`; nothing may exist there.

    Raises:
        UserError: as `from_user`.
    """
    return remote.path(text) if remote.is_remote(text) else from_user(text, "dataset")


def from_user(text, parameter=None, utf8=True):
    """A path that a user gave, with `~` expanded.

    Args:
        text: the value, a string or a path (any `os.PathLike`).
        parameter: name of the parameter, for messages; None for an argument without a name.
        utf8: whether the path must be UTF-8, as all that goes through TensorFlow or JSON must.

    Returns:
        A `pathlib.Path`; nothing may exist there.

    Raises:
        UserError: the value is empty, not UTF-8, names the home of an unknown user, or is a path that the
            system does not accept.
    """
    # A run of the Python API stands for its folder.
    text = os.fspath(text) if isinstance(text, os.PathLike) else str(text)
    shown = f"{printable(text[:_SHOWN])}{'…' * (len(text) > _SHOWN)}"
    given = f"`{parameter}={shown}`" if parameter else shown
    if not text:
        raise UserError(
            f"`{parameter}`: empty; give a path" if parameter else "a path is empty; name a file or folder"
        )
    if "\0" in text:
        raise UserError(f"{given}: has a zero byte in it")
    if remote.is_remote(text):
        raise UserError(f"{given}: on another machine; only a dataset may be there, give a path on this one")
    try:
        path = pathlib.Path(text).expanduser()
    except RuntimeError:
        raise UserError(f"{given}: no such user") from None
    try:
        # If nothing exists there, it may be the name of a TFDS builder: the current folder does not matter.
        resolved = path.resolve() if path.exists() else path
    except (OSError, RuntimeError) as error:
        raise UserError(f"{given}: not a valid path ({getattr(error, 'strerror', error)})") from error
    for place in (path, resolved):
        if utf8 and not is_utf8(str(place)):
            raise UserError(f"{given}: {printable(place)} is not UTF-8; rename it")
    return path


def is_utf8(text):
    """Whether a name from the file system is UTF-8: Python represents other bytes by lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def is_one_line(text):
    """Whether a text can be shown as it is and written into a CSV: UTF-8, without control characters.

    Any space is allowed: macOS puts a narrow one (U+202F) into the names of screenshots.
    """
    return all(c.isprintable() or unicodedata.category(c) == "Zs" for c in text)


def printable(text):
    """The text with control characters and undecodable bytes escaped, so that it cannot change a terminal."""
    text = str(text).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)

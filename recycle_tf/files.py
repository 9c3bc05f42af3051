"""Atomic replacement of files: a file under its final name is always complete."""

import contextlib
import os
import pathlib

from recycle_tf.errors import UserError

PARTIAL = ".partial-"
"""Prefix of the names of files that are being written."""


def user_path(text):
    """A path that a user gave, with `~` expanded.

    Raises:
        UserError: `~NAME` of a user that does not exist.
    """
    try:
        return pathlib.Path(text).expanduser()
    except RuntimeError as error:
        raise UserError(f"{text}: no such user") from error


@contextlib.contextmanager
def replacing(path):
    """Yields a temporary path beside `path`, of the same suffixes; it replaces `path` if the block succeeds.

    Args:
        path: `pathlib.Path` of the file to write.
    """
    temporary = path.with_name(f"{PARTIAL}{os.getpid()}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)

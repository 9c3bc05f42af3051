"""Atomic replacement of files: a file under its final name is always complete."""

import contextlib
import os
import pathlib

from recycle_tf.errors import UserError

PARTIAL = ".partial-"
"""Prefix of the names of files that are being written."""


def lock(file):
    """Locks an open file until it is closed, however the process ends.

    The lock is held on the file, not on its name: lock only files that are never replaced.

    Args:
        file: a binary file, open for writing.

    Raises:
        BlockingIOError, PermissionError: another process holds the lock.
    """
    if os.name == "nt":
        import msvcrt

        file.seek(2**30)  # Beyond the contents, which others must be able to read.
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


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

"""Atomic replacement of files: a file under its final name is always complete."""

import contextlib
import os

PARTIAL = ".partial-"
"""Prefix of the names of files that are being written."""


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

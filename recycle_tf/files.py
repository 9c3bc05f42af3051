"""Replaces files and folders as a whole: what stands under its final name is always complete.

Also the two rules for errors: whatever reading a file raises, and whatever the file system refuses to write,
becomes one line that names the place.

What is being written lies beside it, as `.partial-PID-NAME`. If its process is killed, the next process that
writes the same name removes it.
"""

import contextlib
import ctypes
import errno
import os
import re
import shutil
import sys

import psutil

from recycle_tf.errors import UserError

PARTIAL = ".partial-"
"""Prefix of the names of files and folders that are being written."""

_EARLIER = ".earlier-"
"""Prefix of the name of a folder whose replacement is about to take its place."""

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of <fcntl.h> and <stdio.h>


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


@contextlib.contextmanager
def reading(place, remedy=None):
    """Within this context, any exception becomes one line: a file that somebody made cannot be read.

    For formats whose readers call what the file names with what it holds (HDF5, zip, NumPy, Keras, LiteRT):
    such a file decides which exceptions are raised, and no list of them is complete.

    Args:
        place: a path, or a parameter with its value.
        remedy: what the user can do about it, if the place does not say it.

    Raises:
        UserError: of the block itself, or the file is damaged.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]:.200}".removesuffix(": ")
        advice = f"; {remedy}" if remedy else ""
        raise UserError(f"{place}: cannot be read, damaged or of another kind ({reason}){advice}") from error


@contextlib.contextmanager
def writing(place):
    """Within this context, an error of the file system becomes one line that names a place.

    Args:
        place: a path, or a parameter with its value.

    Raises:
        UserError: the place cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{place}: cannot be written ({error.strerror or error})") from error


@contextlib.contextmanager
def replacing(path):
    """Yields a temporary path beside `path`, of the same suffixes; it replaces `path` if the block succeeds.

    Args:
        path: `pathlib.Path` of the file to write.

    Raises:
        OSError: something cannot be written; the file is unchanged.
    """
    recover(path.parent, path.name)
    temporary = _beside(path, PARTIAL)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path):
    """Yields an empty folder beside `path`, which takes the place of `path` if the block succeeds.

    On Linux there is no moment without a folder at `path`. Where the system cannot exchange two folders at
    once, a process that is killed between two renames leaves none, and `recover` puts the earlier one back.

    Args:
        path: `pathlib.Path` of the folder to write; it may be missing, or a link to a folder.

    Raises:
        OSError: something cannot be written; the folder is unchanged.
    """
    path = path.resolve()  # Renames have to happen where the folder is.
    recover(path.parent, path.name)
    new = _beside(path, PARTIAL)
    new.mkdir()
    try:
        yield new
        if path.exists():
            _exchange(new, path)
        else:
            new.rename(path)
    finally:
        # Afterwards this is the earlier folder. What cannot be removed now is removed the next time.
        shutil.rmtree(new, ignore_errors=True)


def remove_folder(path):
    """Removes a folder; a process that is killed meanwhile leaves the whole folder or, under its name, none.

    Args:
        path: `pathlib.Path`; it may be missing.

    Raises:
        OSError: it cannot be removed.
    """
    if path.exists():
        doomed = path.rename(_beside(path, PARTIAL))
        shutil.rmtree(doomed, ignore_errors=True)


def recover(folder, name=None):
    """Removes from a folder what killed processes were writing, and undoes half of an exchange.

    What living processes are writing is left alone. Whether one lives is known on this machine only.

    Args:
        folder: `pathlib.Path`; it may be missing.
        name: final name of a file or folder that was being written; None for any.
    """
    pattern = re.compile(rf"({re.escape(PARTIAL)}|{re.escape(_EARLIER)})(\d{{1,9}})-(.+)", re.DOTALL)
    for entry in os.listdir(folder) if folder.is_dir() else ():
        match = pattern.fullmatch(entry)
        if not match or name not in (None, match[3]) or _is_writing(int(match[2])):
            continue
        leftover, final = folder / entry, folder / match[3]
        if match[1] == _EARLIER and not final.exists():
            leftover.rename(final)
        elif leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)  # Another process may be doing the same.


def _is_writing(pid):
    # This process writes each name once at a time: what has its number was left by an earlier one.
    return pid != os.getpid() and psutil.pid_exists(pid)


def _beside(path, prefix):
    return path.with_name(f"{prefix}{os.getpid()}-{path.name}")


def _exchange(new, path):
    """Exchanges two folders, at once where the system can."""
    if _exchange_at_once(new, path):
        return
    earlier = _beside(path, _EARLIER)
    path.rename(earlier)
    try:
        new.rename(path)
    except BaseException:
        earlier.rename(path)
        raise
    earlier.rename(new)


def _exchange_at_once(one, other):
    """Exchanges two folders in one step; returns False where system or file system cannot."""
    library = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if not hasattr(library, "renameat2"):
        return False
    names = (os.fsencode(one), os.fsencode(other))
    if library.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code), str(other))

"""Replaces a run's export folder as a whole: either everything under its final names changes, or nothing.

The new folder is built beside the old one, which it replaces with two renames. A process that is killed
between the two leaves no export folder; the next export starts by renaming the old one back.
"""

import contextlib
import os
import shutil

from recycle_tf import files
from recycle_tf.errors import UserError


@contextlib.contextmanager
def locked(run):
    """Keeps other processes from exporting a run, and recovers from an export that was killed.

    Args:
        run: a `runs.Run`.

    Raises:
        UserError: another process is exporting the run.
        OSError: the run folder cannot be written.
    """
    # This file is never replaced.
    with open(run.config_file, "r+b") as file:
        try:
            files.lock(file)
        except (BlockingIOError, PermissionError) as error:
            raise UserError(
                f"{run.path}: another process is exporting this run; wait until it has finished"
            ) from error
        _recover(*_places(run.export))
        yield


@contextlib.contextmanager
def replacing(folder, without=()):
    """Yields a copy of a folder, which replaces the folder if the block succeeds. Call it under `locked`.

    Unchanged files cost no space: the copy consists of hard links where the file system has them. They must
    therefore be replaced, never written to.

    Args:
        folder: the folder; it may be missing.
        without: patterns of names directly in the folder that are not copied.

    Raises:
        OSError: something cannot be written; the folder is unchanged.
    """
    final, new, old = _places(folder)
    try:
        if final.exists():
            _copy(final, new, without)
        else:
            new.mkdir()
        yield new
        _swap(final, new, old)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _places(folder):
    """The folder, and beside it the places of the next and of the previous one."""
    # Behind a link, renames have to happen where the folder is.
    final = folder.resolve()
    return final, final.with_name(f".{final.name}-new"), final.with_name(f".{final.name}-old")


def _copy(source, target, without):
    ignored_names = shutil.ignore_patterns(*without)

    def ignored(directory, names):
        return ignored_names(directory, names) if directory == os.fspath(source) else ()

    shutil.copytree(source, target, symlinks=True, ignore=ignored, copy_function=_link)


def _link(source, target):
    try:
        os.link(source, target)
    except OSError:
        # The file system has no hard links; a full disk fails here as well.
        shutil.copy2(source, target)


def _swap(final, new, old):
    try:
        if final.exists():
            final.rename(old)
        new.rename(final)
    except BaseException:
        _recover(final, new, old)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _recover(final, new, old):
    """Undoes a swap that was interrupted, and removes what was left behind."""
    if old.exists() and not final.exists():
        old.rename(final)
    for leftover in (new, old):
        if leftover.exists():
            shutil.rmtree(leftover)

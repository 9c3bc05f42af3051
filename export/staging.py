"""One export of a run at a time; and what an export keeps of the one before."""

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
        final = run.export.resolve()
        files.recover(final.parent, final.name)
        yield


def copy(source, target, without=()):
    """Copies what a folder holds into another one.

    Unchanged files cost no space: the copies are hard links where the file system has them. They must
    therefore be replaced, never written to.

    Args:
        source: the folder; it may be missing.
        target: an empty folder.
        without: patterns of names directly in `source` that are not copied.

    Raises:
        OSError: something cannot be written.
    """
    ignored_names = shutil.ignore_patterns(*without)

    def ignored(directory, names):
        return ignored_names(directory, names) if directory == os.fspath(source) else ()

    if source.exists():
        shutil.copytree(
            source, target, symlinks=True, ignore=ignored, copy_function=_link, dirs_exist_ok=True
        )


def _link(source, target):
    try:
        os.link(source, target)
    except OSError:
        # The file system has no hard links; a full disk fails here as well.
        shutil.copy2(source, target)

"""Hides what C++ libraries print."""

import contextlib
import os
import sys
import tempfile


@contextlib.contextmanager
def hushed(*descriptors):
    """Hides what is written to file descriptors (1, 2) by C++ code; shows it if an exception is raised."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    saved = {descriptor: os.dup(descriptor) for descriptor in descriptors}
    with tempfile.TemporaryFile() as hidden:
        for descriptor in descriptors:
            os.dup2(hidden.fileno(), descriptor)
        try:
            yield
        except BaseException:
            hidden.seek(0)
            os.write(saved[descriptors[-1]], hidden.read())
            raise
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            for descriptor, copy in saved.items():
                os.dup2(copy, descriptor)
                os.close(copy)

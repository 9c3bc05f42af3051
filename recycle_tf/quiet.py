"""Imports TensorFlow, and hides what C++ libraries print meanwhile."""

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


def import_tensorflow():
    """Imports TensorFlow and Keras without their startup messages; nothing if that has happened already.

    oneDNN computes convolutions and matrix products on every CPU, not only where TensorFlow chooses it
    (AVX-512 with VNNI): with AVX2 alone it takes half the time (docs/performance.md). The variable
    `TF_ENABLE_ONEDNN_OPTS=0` turns it off.
    """
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
        # TensorFlow writes some lines before it reads its log level, hence both ways.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        with hushed(2):
            import keras  # noqa: F401
            import tensorflow as tf
        tf.get_logger().setLevel("ERROR")
    return sys.modules["tensorflow"]

"""Imports TensorFlow, and hides what C++ libraries print meanwhile."""

import contextlib
import logging
import os
import sys
import tempfile


@contextlib.contextmanager
def hushed(*descriptors):
    """Hides what is written to file descriptors (1, 2) by C++ code; shows it if an exception is raised."""
    _flush()
    saved = {descriptor: os.dup(descriptor) for descriptor in descriptors if _is_open(descriptor)}
    with tempfile.TemporaryFile() as hidden:
        for descriptor in saved:
            os.dup2(hidden.fileno(), descriptor)
        try:
            yield
        except BaseException:
            hidden.seek(0)
            for copy in list(saved.values())[-1:]:
                os.write(copy, hidden.read())
            raise
        finally:
            _flush()
            for descriptor, copy in saved.items():
                os.dup2(copy, descriptor)
                os.close(copy)


def _is_open(descriptor):
    """Whether a file descriptor is open; a program without a terminal may have closed it."""
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _flush():
    """Writes what is buffered; a program without a terminal may have no streams."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.flush()


@contextlib.contextmanager
def only_errors(name):
    """Within this context, the logger `name` reports errors only: for warnings that a user cannot act on."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def import_tensorflow():
    """Imports TensorFlow and Keras without their startup messages; nothing if that has happened already."""
    if "tensorflow" not in sys.modules:
        # TensorFlow writes some lines before it reads its log level, hence both ways.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        with hushed(2):
            import keras  # noqa: F401
            import tensorflow as tf
        tf.get_logger().setLevel("ERROR")
    # Otherwise GPUs round the inputs of float32 convolutions to 10 bits (TensorFloat-32): files in float32,
    # which a processor runs, would not answer like the network. Training has bfloat16 for speed.
    sys.modules["tensorflow"].config.experimental.enable_tensor_float_32_execution(False)
    return sys.modules["tensorflow"]

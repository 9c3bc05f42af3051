"""The pictures that an artifact answers otherwise than Keras, for people to look at."""

import pathlib
import re
import shutil
import tempfile

import tensorflow as tf

from . import verify

MOST = 100
"""Pictures kept of one format; a broken one flips nearly all of them."""


def write(directory, format_name, split, names, found, expected):
    """Writes `directory/FORMAT/`, a file a flip, Keras' surest first; an earlier folder goes.

    A file's name says both answers: `01_keras-glass-0.52_tflite_int8-metal-0.47_glass12.jpg`.

    Args:
        directory: where each format has its folder.
        format_name: the format.
        split: the `sources.Split` that was replayed.
        names: of the classes.
        found: the artifact's probabilities, `[len(split), num_classes]`.
        expected: Keras'.
    """
    shutil.rmtree(directory / format_name, ignore_errors=True)
    indices, _ = verify.find_flips(found, expected)
    if not len(indices):
        return
    directory.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=directory) as partial:
        folder = pathlib.Path(partial) / format_name
        folder.mkdir()
        for number, index in enumerate(indices[:MOST], start=1):
            file = pathlib.PurePath(split.ids[index])
            keras, other = (_answer(row[index], names) for row in (expected, found))
            name = f"{number:02d}_keras-{keras}_{format_name}-{other}_{_short(file.stem)}{file.suffix}"
            (folder / name).write_bytes(split.encoded(tf.constant(index, tf.int64)).numpy())
        folder.rename(directory / format_name)


def _answer(probabilities, names):
    best = probabilities.argmax()
    return f"{_short(names[best])}-{probabilities[best]:.2f}"


def _short(text):
    """What of a text can stand in a file's name, four of them in one."""
    return re.sub(r'[/\\:*?"<>|\x00-\x1f]', "_", text)[:16]

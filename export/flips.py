"""Saves the images that an artifact and the Keras model answer differently, for people to look at."""

import pathlib
import re

import tensorflow as tf

from recycle_tf.data import decode

from . import gates

MAX_IMAGES = 100
"""Images saved per format; a broken file flips nearly all of them."""


def write(folder, format_name, split, names, found, expected):
    """Writes one file per flip into `folder`, the most confident answers of Keras first.

    A file's name contains both answers: `01_keras-glass-0.52_tflite_int8-metal-0.47_glass12.jpg`.

    Args:
        folder: folder to create; not created if there are no flips.
        format_name: name of the format.
        split: the `sources.Split` that was compared.
        names: names of the classes.
        found: the artifact's probabilities, `[len(split), num_classes]`.
        expected: those of Keras.
    """
    indices, _ = gates.find_flips(found, expected)
    if not len(indices):
        return
    folder.mkdir(parents=True)
    answers = gates.answers(expected), gates.answers(found)
    for number, index in enumerate(indices[:MAX_IMAGES], start=1):
        encoded = split.encoded(tf.constant(index, tf.int64)).numpy()
        file = pathlib.PurePath(decode.file_name(split.ids[index], encoded))
        keras, other = (_answer(row[index], [*names, "unlike"]) for row in answers)
        name = f"{number:02d}_keras-{keras}_{format_name}-{other}_{_short(file.stem)}{file.suffix}"
        (folder / name).write_bytes(encoded)


def _answer(probabilities, names):
    best = probabilities.argmax()
    return f"{_short(names[best])}-{probabilities[best]:.2f}"


def _short(text):
    """A text shortened to what four of can stand in one file name, without special characters."""
    return re.sub(r'[/\\:*?"<>|\x00-\x1f]', "_", text)[:16]

"""What an exported file promises: uint8 RGB pixels in, probabilities out, its labels inside."""

import dataclasses
import pathlib

import keras
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Artifact:
    """An exported file or folder.

    Attributes:
        format: its name in `--formats`.
        path: where it lies.
        bytes: its size, of all files of a folder.
        spec: what an app has to know, as in `spec.json`.
    """

    format: str
    path: pathlib.Path
    bytes: int
    spec: dict


def make_spec(run, model, format_name):
    """The facts an app's developer needs, for JSON: input, resize rule, labels, origin."""
    return {
        "format": format_name,
        "arch": model.name,
        "run": run.path.resolve().name,
        "image_size": model.input_shape[1],
        "resize": run.config["resize"],
        "input": "uint8 RGB pixels, [1, image_size, image_size, 3]",
        "output": "float32 probabilities, [1, number of labels]",
        "labels": run.labels,
    }


def answer(model, pixels):
    """The whole of an artifact's graph: pixels 0..255, `[batch, height, width, 3]`, to probabilities."""
    return keras.ops.softmax(model(tf.cast(pixels, tf.float32), training=False))


def size_of(path):
    """Bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(p.stat().st_size for p in files)

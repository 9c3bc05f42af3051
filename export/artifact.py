"""What an exported file promises: uint8 RGB pixels in, probabilities out, its labels inside."""

import dataclasses
import hashlib
import json
import pathlib

import keras
import tensorflow as tf

from . import korean


@dataclasses.dataclass(frozen=True)
class Artifact:
    """An exported file or folder.

    Attributes:
        format: its name in `--formats`.
        path: where it lies.
        bytes: its size, of all files of a folder.
        spec: what an app has to know, as in `spec.json`.
        operations: how often each operation occurs in the graph of a `.tflite`; None elsewhere.
    """

    format: str
    path: pathlib.Path
    bytes: int
    spec: dict
    operations: dict | None = None


def make_spec(run, model, labels_ko=None, author=None, license=None, calibration=None, batch=1):
    """What an app's developer has to know, for JSON: input, resize rule, labels, origin.

    Args:
        run: the `runs.Run` the model comes from.
        model: its best model.
        labels_ko: Korean names of the classes, or None.
        author: who made the model, or None.
        license: its licence, or None.
        calibration: as `calibrate.calibrate` gives it, or None.
        batch: how many pictures it takes at once, or `"dynamic"`; a SavedModel takes any number.

    Returns:
        A dict without what is None. The formats add their name to it.
    """
    spec = {
        "arch": model.name,
        "run": run.path.resolve().name,
        "dataset": run.config["dataset"],
        "dataset_fingerprint": run.fingerprint,
        "image_size": model.input_shape[1],
        "resize": run.config["resize"],
        "batch": batch,
        "input": f"uint8 RGB pixels, [{batch}, image_size, image_size, 3]",
        "normalization": {"mean": 0, "std": 1},
        "output": f"float32 probabilities, [{batch}, number of labels]",
        "labels": run.labels,
        "labels_locale": "en" if set(run.labels) <= set(korean.NAMES) else None,
        "labels_ko": labels_ko,
        "author": author,
        "license": license,
        **(calibration or {"temperature": 1.0}),
    }
    return {key: value for key, value in spec.items() if value is not None}


def answer(model, pixels):
    """The whole of an artifact's graph: pixels 0..255, `[batch, height, width, 3]`, to probabilities."""
    return keras.ops.softmax(model(tf.cast(pixels, tf.float32), training=False))


def open_batch(spec):
    """The first dimension of an artifact's input: a number, or None for any."""
    return None if spec["batch"] == "dynamic" else spec["batch"]


def size_of(path):
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in _files(path))


def digests(path):
    """SHA-256 of a file, or of all files in a folder: `{path below the folder it lies in: digest}`."""
    return {
        file.relative_to(path.parent).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in _files(path)
    }


def _files(path):
    return [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())


def lines(names):
    """A text of one name a line."""
    return "".join(f"{name}\n" for name in names)


def as_json(value):
    """A text of JSON that people can read, whatever their script."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"

"""What every exported file provides: uint8 RGB pixels in, probabilities out, its labels inside."""

import contextlib
import dataclasses
import errno
import hashlib
import json
import pathlib

import tensorflow as tf

from recycle_tf.evaluation import familiarity

from . import locales
from .settings import DYNAMIC


@dataclasses.dataclass(frozen=True)
class Artifact:
    """An exported file or folder.

    Attributes:
        format: name of its format.
        path: its path.
        bytes: its size; of a folder, the size of all its files.
        spec: what an app needs to know, as in `spec.json`.
        operations: how often each operation occurs in the graph of a `.tflite`; else None.
    """

    format: str
    path: pathlib.Path
    bytes: int
    spec: dict
    operations: dict | None = None


def make_spec(
    run, model, translations=None, author=None, license=None, calibration=None, batch=1, place=None
):
    """What an app developer needs to know, for JSON: input, resizing, labels, origin.

    Args:
        run: the `runs.Run` that the model comes from.
        model: its calibrated model.
        translations: `{locale: class names}`, or None.
        author: author of the model, or None.
        license: its license, or None.
        calibration: as returned by `temperature.calibrate`, or None.
        batch: batch size of the artifact, or `"dynamic"`; a SavedModel takes any number of images.
        place: the `rules.Rules` of the place where it is used, or None.

    Returns:
        A dict without the entries that are None. Each format adds its name.
    """
    spec = {
        "arch": model.name,
        "run": run.path.resolve().name,
        "dataset": run.config["dataset"],
        "dataset_fingerprint": run.fingerprint,
        "image_size": model.input_shape[1],
        "resize": run.config["resize"],
        **_tensors(batch, calibration),
        "normalization": {"mean": 0, "std": 1},
        "labels": run.labels,
        "labels_locale": locales.locale_of(run.labels),
        **{f"labels_{locale}": names for locale, names in (translations or {}).items()},
        "author": author,
        "license": license,
        "rules": place and place.content(run.labels),
        **(calibration or {"temperature": 1.0}),
    }
    return {key: value for key, value in spec.items() if value is not None}


def with_batch(spec, batch):
    """A spec for another batch size."""
    return {**spec, **_tensors(batch, spec)}


def _tensors(batch, calibration):
    """Entries of a spec on what the network takes and returns."""
    missing = "; what is missing to a sum of 1 is the probability of an image unlike those of training"
    return {
        "batch": batch,
        "input": f"uint8 RGB pixels, [{batch}, image_size, image_size, 3]",
        "output": f"float32 probabilities, [{batch}, number of labels]"
        + missing * ("unlike" in (calibration or {})),
    }


def translations(spec):
    """`{locale: class names}` of a spec."""
    return {
        key.removeprefix("labels_"): value
        for key, value in spec.items()
        if key.startswith("labels_") and isinstance(value, list)
    }


def label_files(spec):
    """Text files with one label per line: `{"labels.txt": text, "labels_ko.txt": text, …}`."""
    names = {"labels.txt": spec["labels"]}
    names |= {f"labels_{locale}.txt": translated for locale, translated in translations(spec).items()}
    return {file: "".join(f"{name}\n" for name in content) for file, content in names.items()}


def answer(model, pixels):
    """The graph of every artifact: pixels 0..255, `[batch, height, width, 3]`, to probabilities."""
    return familiarity.probabilities(model(tf.cast(pixels, tf.float32), training=False))


def batch_dimension(spec):
    """The first dimension of an artifact's input: a number, or None for any."""
    return None if spec["batch"] == DYNAMIC else spec["batch"]


def size_of(path):
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in _files(path))


def digests(path, root):
    """SHA-256 of a file, or of all files in a folder: `{path relative to root: digest}`."""
    return {
        file.relative_to(root).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in _files(path)
    }


def _files(path):
    return [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())


def as_json(value):
    """Readable JSON, without escapes for letters of other scripts."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


@contextlib.contextmanager
def writing(path):
    """Turns TensorFlow's error for a failed write, e.g. on a full or read-only disk, into an `OSError`."""
    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(errno.EIO, error.message.splitlines()[0], str(path)) from error

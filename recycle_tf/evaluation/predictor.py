"""Predictions for image files, the same from a run and from its exported files."""

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import zipfile
import zlib
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from recycle_tf import options, runs
from recycle_tf.data import decode
from recycle_tf.errors import UserError
from recycle_tf.evaluation import litert, temperature
from recycle_tf.files import user_path

BATCH = 32
MAX_SPEC_BYTES = 1_000_000
"""No spec is longer; a longer one is cut off and then invalid JSON."""
MAX_IMAGE_SIZE = 4096

_DAMAGED_SPEC = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    KeyError,
    OSError,  # An offset before the file's start.
    RecursionError,
    RuntimeError,  # An encrypted archive, or an unknown method of compression.
    TypeError,
    ValueError,
)
"""What reading a damaged archive or damaged JSON raises."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """The prediction for one image file.

    Attributes:
        path: of the file.
        label: name of the most probable class; None if the file could not be read.
        probability: calibrated probability of that class, 0..1.
        sure: whether the probability reaches the model's threshold; True for a model without one.
        error: why the file could not be read, or None.
    """

    path: pathlib.Path
    label: str | None = None
    probability: float = 0.0
    sure: bool = False
    error: str | None = None


@dataclasses.dataclass(frozen=True)
class Predictor:
    """Calibrated probabilities of a run or an exported file.

    Attributes:
        predict: uint8 RGB `[batch, image_size, image_size, 3]` -> float32 probabilities,
            `[batch, num_classes]`, for at most `BATCH` images.
        labels: names of the classes.
        image_size: height and width of its input, in pixels.
        resize: how an image becomes square, one of `options.RESIZES`.
        threshold: confidence below which the answer is "not sure", 0..1; None without calibration.
    """

    predict: Callable[[np.ndarray], np.ndarray]
    labels: list
    image_size: int
    resize: str
    threshold: float | None

    def predict_all(self, images):
        """Probabilities of any number of images, uint8 `[examples, image_size, image_size, 3]`."""
        batches = range(0, len(images), BATCH)
        return np.concatenate([self.predict(images[start : start + BATCH]) for start in batches])

    def read(self, path):
        """Reads an image file.

        Returns:
            uint8 RGB `[image_size, image_size, 3]`.

        Raises:
            UserError: not an image, or a damaged one.
        """
        decode.check_file(path)
        try:
            return decode.decode(path.read_bytes(), self.image_size, self.resize).numpy()
        except tf.errors.OpError:
            raise UserError(f"{path}: damaged, cannot be decoded") from None
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error

    def answer_files(self, paths):
        """Predicts image files in batches; memory does not grow with their number.

        Args:
            paths: of the files.

        Yields:
            An `Answer` per file, in order. A file that cannot be read has an `error`.
        """
        batches = [paths[start : start + BATCH] for start in range(0, len(paths), BATCH)]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            ahead = None
            for batch in [*batches, None]:
                # The next batch is read while this one is predicted.
                reading, ahead = ahead, batch and (batch, [pool.submit(self._try, path) for path in batch])
                if reading:
                    yield from self._answers(*reading)

    def _try(self, path):
        try:
            return self.read(path)
        except UserError as error:
            return error

    def _answers(self, paths, futures):
        found = [future.result() for future in futures]
        images = [pixels for pixels in found if not isinstance(pixels, UserError)]
        probabilities = iter(self.predict(np.stack(images)) if images else ())
        for path, pixels in zip(paths, found, strict=True):
            if isinstance(pixels, UserError):
                yield Answer(path, error=str(pixels))
                continue
            row = next(probabilities)
            best = int(row.argmax())
            sure = self.threshold is None or bool(row[best] >= self.threshold)
            yield Answer(path, self.labels[best], float(row[best]), sure)


def open_predictor(path):
    """Opens a run folder or a `.tflite` file of `python -m export`.

    Raises:
        UserError: no such file or folder, or a file that was not exported by this package.
    """
    path = user_path(path)
    return _from_tflite(path) if path.suffix == ".tflite" else _from_run(path)


def _from_run(path):
    run = runs.open_run(path, "model")
    model = temperature.load_calibrated_model(run)

    def predict(images):
        # In batches of one size: another shape would be compiled again.
        padded = np.concatenate([images, np.zeros((BATCH - len(images), *images.shape[1:]), np.uint8)])
        logits = model.predict_on_batch(padded)[: len(images)]
        return keras.ops.convert_to_numpy(keras.ops.softmax(logits))

    threshold = run.calibration and run.calibration["threshold"]
    return Predictor(predict, run.labels, model.input_shape[1], run.config["resize"], threshold)


def _from_tflite(path):
    if not path.is_file():
        raise UserError(f"`model={path}`: no such file")
    spec = _read_spec(path)
    try:
        interpreter = litert.open_interpreter(path)
        one = litert.open_predictor(path)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"`model={path}`: damaged, LiteRT cannot load it") from error
    _check_tensors(path, interpreter, spec)

    def predict(images):
        return np.stack([one(image) for image in images])

    return Predictor(predict, spec["labels"], spec["image_size"], spec["resize"], spec.get("threshold"))


def _read_spec(path):
    """The spec that `python -m export` puts into a `.tflite` file; checks the values that are used here."""
    try:
        # TFLite carries associated files as a zip archive behind the network.
        with zipfile.ZipFile(path) as associated:
            spec = json.loads(associated.open("spec.json").read(MAX_SPEC_BYTES))
        labels, image_size, resize = (spec[key] for key in ("labels", "image_size", "resize"))
    except _DAMAGED_SPEC as error:
        raise UserError(
            f"`model={path}`: has no labels in it; give a file that `python -m export` wrote"
        ) from error
    threshold = spec.get("threshold", 1.0)
    valid = {
        "labels": isinstance(labels, list) and labels and all(isinstance(label, str) for label in labels),
        "image_size": type(image_size) is int and 1 <= image_size <= MAX_IMAGE_SIZE,
        "resize": resize in options.RESIZES,
        # Neither NaN nor infinity; 1.01 is a threshold that no answer reaches.
        "threshold": type(threshold) in (int, float) and 0 <= threshold <= 1.01,
    }
    for name, fine in valid.items():
        if not fine:
            raise UserError(f"`model={path}`: its spec.json is invalid: {name} is {spec[name]!r:.40}")
    return spec


def _check_tensors(path, interpreter, spec):
    """Raises where input or output of a `.tflite` file differ from what its spec says."""
    image, output = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    size, classes = spec["image_size"], len(spec["labels"])
    if image["dtype"] != np.uint8 or image["shape"].tolist()[1:] != [size, size, 3]:
        raise UserError(
            f"`model={path}`: its input is {np.dtype(image['dtype'])} {image['shape'].tolist()}, "
            f"expected uint8 [batch, {size}, {size}, 3]"
        )
    if output["dtype"] != np.float32 or output["shape"].tolist()[1:] != [classes]:
        raise UserError(
            f"`model={path}`: its output is {np.dtype(output['dtype'])} {output['shape'].tolist()}, "
            f"expected float32 [batch, {classes}] for its {classes} labels"
        )

"""Predictions for image files, the same from a run and from its exported files."""

import concurrent.futures
import dataclasses
import itertools
import json
import os
import zipfile
import zlib
from collections.abc import Callable

import keras
import numpy as np

from recycle_tf import options, runs
from recycle_tf.errors import UserError
from recycle_tf.evaluation import familiarity, inputs, litert, temperature
from recycle_tf.evaluation.answers import Answer, Answers, make_answer
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
class Predictor:
    """Calibrated probabilities of a run or an exported file.

    Attributes:
        network: uint8 RGB `[batch, image_size, image_size, 3]` -> float32 probabilities,
            `[batch, num_classes]`, for at most `BATCH` images.
        labels: names of the classes.
        image_size: height and width of its input, in pixels.
        resize: how an image becomes square, one of `options.RESIZES`.
        threshold: confidence below which the answer is "not sure", 0..1; None without calibration.
        unlike: probability of being unlike the training images from which the answer is "unlike", 0..1; None
            if the network does not give one.
    """

    network: Callable[[np.ndarray], np.ndarray]
    labels: list
    image_size: int
    resize: str
    threshold: float | None
    unlike: float | None = None

    def probabilities(self, images):
        """Probabilities of any number of images, uint8 `[examples, image_size, image_size, 3]`."""
        batches = range(0, len(images), BATCH)
        return np.concatenate([self.network(images[start : start + BATCH]) for start in batches])

    def predict(self, images, progress=iter):
        """Predicts images, in batches; only the answers stay in memory.

        Args:
            images: a path, a folder (searched for images), a glob pattern, a PIL image, an array (RGB,
                0..255, `[height, width, 3]` or `[batch, height, width, 3]`), or a list of any of these.
            progress: wraps the iteration over images, as tqdm does.

        Returns:
            `Answers`, one per image, in order. An image that cannot be read has an `error`.

        Raises:
            UserError: no such file or folder, or a folder without images.
        """
        return Answers(self.stream(progress(inputs.expand(images))))

    def stream(self, images):
        """As `predict`, one `Answer` after another.

        Args:
            images: an iterable of paths, PIL images and arrays `[height, width, 3]`.
        """
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            reading = None
            for batch in itertools.chain(_batches(images), [None]):
                # The next batch is read while this one is predicted.
                ahead = batch and [(inputs.name(one), pool.submit(self._try, one)) for one in batch]
                if reading:
                    yield from self._answers(reading)
                reading = ahead

    def _try(self, image):
        try:
            return inputs.read(image, self.image_size, self.resize)
        except UserError as error:
            return error

    def _answers(self, reading):
        found = [(name, future.result()) for name, future in reading]
        images = [pixels for _, pixels in found if not isinstance(pixels, UserError)]
        rows = iter(self.probabilities(np.stack(images)) if images else ())
        for name, pixels in found:
            if isinstance(pixels, UserError):
                yield Answer(name, error=str(pixels))
            else:
                yield make_answer(name, next(rows), self.labels, self.threshold, unlike=self.unlike)


def _batches(images):
    """Lists of at most `BATCH` images."""
    images = iter(images)
    while batch := list(itertools.islice(images, BATCH)):
        yield batch


def open_predictor(path):
    """Opens a run folder or a `.tflite` file of `python -m export`.

    Raises:
        UserError: no such file or folder, or a file that was not exported by this package.
    """
    path = user_path(path)
    return _from_tflite(path) if path.suffix == ".tflite" else _from_run(path)


def _from_run(path):
    run = runs.open_run(path, "model")
    model = temperature.load_answering_model(run)

    def predict(images):
        # In batches of one size: another shape would be compiled again.
        padded = np.concatenate([images, np.zeros((BATCH - len(images), *images.shape[1:]), np.uint8)])
        found = familiarity.probabilities(model.predict_on_batch(padded))
        return keras.ops.convert_to_numpy(found)[: len(images)]

    return Predictor(
        predict, run.labels, model.input_shape[1], run.config["resize"], **_thresholds(run.calibration or {})
    )


def _from_tflite(path):
    if not path.is_file():
        raise UserError(f"`model={path}`: no such file")
    spec = _read_spec(path)
    try:
        interpreter = litert.open_interpreter(path)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"`model={path}`: damaged, LiteRT cannot load it") from error
    _check_tensors(path, interpreter, spec)
    one = litert.predictor(interpreter)

    def predict(images):
        return np.stack([one(image) for image in images])

    return Predictor(predict, spec["labels"], spec["image_size"], spec["resize"], **_thresholds(spec))


def _thresholds(calibration):
    """The thresholds of a `Predictor`, from a run's calibration or a spec."""
    unlike = calibration.get("unlike", {}).get("threshold")
    return {"threshold": calibration.get("threshold"), "unlike": unlike}


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
    threshold, unlike = spec.get("threshold", 1.0), spec.get("unlike", {"threshold": 1.0})
    valid = {
        "labels": isinstance(labels, list) and labels and all(isinstance(label, str) for label in labels),
        "image_size": type(image_size) is int and 1 <= image_size <= MAX_IMAGE_SIZE,
        "resize": resize in options.RESIZES,
        # Neither NaN nor infinity; 1.01 is a threshold that no answer reaches.
        "threshold": type(threshold) in (int, float) and 0 <= threshold <= 1.01,
        "unlike": isinstance(unlike, dict)
        and type(unlike.get("threshold")) in (int, float)
        and 0 <= unlike["threshold"] <= 1,
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

"""Predictions for image files, the same from a run and from its exported files."""

import concurrent.futures
import dataclasses
import functools
import itertools
import os
import pathlib
from collections.abc import Callable

import keras
import numpy as np
from tqdm import tqdm

from recycle_tf import runs
from recycle_tf.errors import UserError
from recycle_tf.evaluation import artifacts, familiarity, inputs, rules, temperature
from recycle_tf.evaluation.answers import Answer, Answers, make_answer
from recycle_tf.paths import from_user

BATCH = 32

_progress = functools.partial(tqdm, desc="predict", disable=None, leave=False)


@dataclasses.dataclass(frozen=True, repr=False)
class Predictor:
    """Calibrated probabilities of a run or an exported file.

    Attributes:
        network: uint8 RGB `[batch, image_size, image_size, 3]` -> float32 probabilities,
            `[batch, num_classes]`, for at most `BATCH` images.
        labels: names of the classes.
        image_size: height and width of its input, in pixels.
        resize: how an image becomes square, one of `options.RESIZES`.
        threshold: confidence below which the answer is "not sure", 0..1; None without calibration.
        source: path of the run or file.
        place: the `rules.Rules` that say which bin; or None.
        unlike: probability of being unlike the training images from which the answer is "unlike", 0..1; None
            if the network does not give one.
    """

    network: Callable[[np.ndarray], np.ndarray]
    labels: list
    image_size: int
    resize: str
    threshold: float | None
    source: pathlib.Path
    place: rules.Rules | None = None
    unlike: float | None = None

    def probabilities(self, images):
        """Probabilities of any number of images, uint8 `[examples, image_size, image_size, 3]`."""
        batches = range(0, len(images), BATCH)
        return np.concatenate([self.network(images[start : start + BATCH]) for start in batches])

    def predict(self, images, progress=_progress):
        """Predicts images, in batches; only the answers stay in memory.

        Args:
            images: a path, a folder (searched for images), a glob pattern, the bytes of an image file, a PIL
                image, an array (RGB, 0..255, `[height, width, 3]` or `[batch, height, width, 3]`), or a list
                of any of these.
            progress: wraps the iteration over images; by default a progress bar in a terminal.

        Returns:
            `Answers`, one per image, in order. An image that cannot be read has an `error`.

        Raises:
            UserError: no such file or folder, or a folder without images.
        """
        return Answers(self.stream(images, progress))

    def expand(self, images):
        """The single images in what `predict` takes: a list of paths, PIL images and arrays.

        Raises:
            UserError: as `predict`.
        """
        return inputs.expand(images)

    def stream(self, images, progress=_progress):
        """As `predict`, one `Answer` after another; none stays in memory."""
        images = progress(self.expand(images))
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
                yield make_answer(name, next(rows), self.labels, self.threshold, self.place, self.unlike)

    def __repr__(self):
        sure = "" if self.threshold is None else f", sure from {self.threshold:.0%}"
        return f"{self.source}: {', '.join(self.labels)}; {self.image_size} px, {self.resize}{sure}"


def _batches(images):
    """Lists of at most `BATCH` images."""
    images = iter(images)
    while batch := list(itertools.islice(images, BATCH)):
        yield batch


def open_predictor(path, place=None):
    """Opens a run folder, or a file of `python -m export`: a `.tflite`, a SavedModel's folder, a `.onnx`.

    Args:
        path: of the folder or file.
        place: rules that name the bins: a `.yaml` file or a built-in name, see `rules.load`; None for those
            that were exported with the file, if any.

    Raises:
        UserError: no such file or folder, or a file that was not exported by this package; or no bin for a
            class.
    """
    path = from_user(path, "model")
    if path.suffix in (".tflite", ".onnx") or artifacts.is_saved_model(path):
        spec, network = artifacts.open_artifact(path)
        settings = (spec["labels"], spec["image_size"], spec["resize"])
        found = Predictor(network, *settings, source=path, place=_rules(path, spec), **_thresholds(spec))
    else:
        found = _from_run(path)
    return dataclasses.replace(found, place=rules.load_for(place, found.labels)) if place else found


def _rules(path, spec):
    """The `rules.Rules` that were exported with a file, or None."""
    if "rules" not in spec:
        return None
    where = f"`model={path}`: its spec.json is invalid: rules"
    found = rules.parse(spec["rules"], where)
    for label in spec["labels"]:
        if label not in found.classes:
            raise UserError(f"{where}: no bin for the class {label!r:.40}")
    return found


def _from_run(path):
    run = runs.open_run(path, "model")
    model = temperature.load_answering_model(run)

    def predict(images):
        # In batches of one size: another shape would be compiled again.
        padded = np.concatenate([images, np.zeros((BATCH - len(images), *images.shape[1:]), np.uint8)])
        found = familiarity.probabilities(model.predict_on_batch(padded))
        return keras.ops.convert_to_numpy(found)[: len(images)]

    settings = (run.labels, model.input_shape[1], run.config["resize"])
    return Predictor(predict, *settings, source=path, **_thresholds(run.calibration or {}))


def _thresholds(calibration):
    """The thresholds of a `Predictor`, from a run's calibration or a spec."""
    unlike = calibration.get("unlike", {}).get("threshold")
    return {"threshold": calibration.get("threshold"), "unlike": unlike}

"""One face for a run and for an exported file: pixels in, probabilities out."""

import dataclasses
import json
import pathlib
import zipfile
from collections.abc import Callable

import keras
import numpy as np

from recycle_tf import runs
from recycle_tf.errors import UserError
from recycle_tf.evaluation import litert

MAX_SPEC_BYTES = 1_000_000
"""No spec is longer; what claims to be is cut, and then no JSON."""


@dataclasses.dataclass(frozen=True)
class Classifier:
    """Answers for one picture.

    Attributes:
        predict: uint8 RGB `[image_size, image_size, 3]` -> probabilities `[num_classes]`, float32.
        labels: names of the classes.
        image_size: height and width it takes, in pixels.
        resize: how a picture becomes square, one of `options.RESIZES`.
    """

    predict: Callable[[np.ndarray], np.ndarray]
    labels: list
    image_size: int
    resize: str

    def __call__(self, pixels):
        """Probabilities of one picture."""
        return self.predict(pixels)


def open_classifier(path):
    """The classifier in a run folder or in a `.tflite` file written by `python -m export`.

    Raises:
        UserError: nothing there, or a file without labels.
    """
    path = pathlib.Path(path).expanduser()
    return _from_tflite(path) if path.suffix == ".tflite" else _from_run(path)


def _from_run(path):
    run = runs.open_run(path, "--model")
    model = run.load_model()

    def predict(pixels):
        logits = model(pixels[None], training=False)
        return keras.ops.convert_to_numpy(keras.ops.softmax(logits))[0]

    return Classifier(predict, run.labels, model.input_shape[1], run.config["resize"])


def _from_tflite(path):
    if not path.is_file():
        raise UserError(f"--model={path}: no such file")
    try:
        # TFLite carries associated files as a zip archive behind the network.
        with zipfile.ZipFile(path) as associated:
            spec = json.loads(associated.open("spec.json").read(MAX_SPEC_BYTES))
        labels, image_size, resize = (spec[key] for key in ("labels", "image_size", "resize"))
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"--model={path}: has no labels in it; give a file that `python -m export` wrote"
        ) from error
    try:
        predict = litert.open_predictor(path)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"--model={path}: damaged, LiteRT cannot load it") from error
    return Classifier(predict, labels, image_size, resize)

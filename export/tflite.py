"""TFLite, for phones: float32, float16, int8 weights, or 16-bit activations; `int8` has integers of 8 bits.

The Keras model becomes a SavedModel with a fixed batch size, and that becomes a flat buffer. Two shorter ways
do not work: converting the concrete functions of a Keras 3 model gives a file that returns NaN, and an
unknown batch size leaves shape arithmetic in the graph. Only the runtime's built-in operations are allowed.
"""

import contextlib
import tempfile

import keras
import numpy as np
import tensorflow as tf

from recycle_tf import cli
from recycle_tf.errors import UserError
from recycle_tf.evaluation import litert
from recycle_tf.quantization import fake_quantization, fold

from . import converter, metadata
from .artifact import Artifact, answer, batch_dimension, size_of, writing
from .converter import Conversion
from .flat_buffer import operations

THREADS = 2
"""Threads with which an artifact is compared with Keras."""


MIXED = Conversion(representative=True)
"""int8 with operations that stay in float; see `selective_quantization`."""

CONVERSIONS = {
    "tflite_float32": Conversion(optimize=False),
    "tflite_float16": Conversion(types=("float16",)),
    "tflite_dynamic": Conversion(),
    "tflite_int16x8": Conversion(
        operations=(
            # For the cast of the pixels, the only operation in float.
            "TFLITE_BUILTINS",
            "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8",
        ),
        representative=True,
    ),
}


def why_not(model, name):
    """Why a network cannot be exported to a format, or None."""
    return fake_quantization.why_not(model) if CONVERSIONS[name].representative else None


def export(spec, model, name, folder, representative_images=None):
    """Writes `folder/model_….tflite`, with labels, `spec.json` and TFLite metadata inside.

    Args:
        spec: as returned by `artifact.make_spec`.
        model: a Keras model that returns what `familiarity.probabilities` takes.
        name: name of the format.
        folder: an existing folder.
        representative_images: uint8 images `[examples, image_size, image_size, 3]` on which the ranges of
            activations are measured, if the format quantizes them.

    Returns:
        The `Artifact`.

    Raises:
        OSError: it could not be written.
    """
    conversion = CONVERSIONS[name]
    images = batches(spec, representative_images) if conversion.representative else None
    with saved(spec, model, conversion) as place:
        flat_buffer = converter.convert(place, conversion, images)
    return write(flat_buffer, spec, name, folder)


@contextlib.contextmanager
def saved(spec, model, conversion):
    """Yields the folder of a SavedModel as `converter` expects it.

    Args:
        spec: as in `export`.
        model: as in `export`.
        conversion: a `Conversion`.
    """
    batch, image_size = batch_dimension(spec), model.input_shape[1]
    pixels = tf.TensorSpec([batch, image_size, image_size, 3], tf.uint8, name="pixels")
    folded = fold.fold(model, through_relu=not conversion.representative)
    with saved_endpoint(lambda pixels: {"probabilities": answer(folded, pixels)}, pixels) as folder:
        yield folder


@contextlib.contextmanager
def saved_endpoint(function, pixels):
    """Yields the folder of a SavedModel that computes a function.

    Args:
        function: from a tensor to a dict of tensors.
        pixels: the `tf.TensorSpec` of its argument.
    """
    archive = keras.export.ExportArchive()
    archive.add_endpoint("serve", function, [pixels])
    with tempfile.TemporaryDirectory() as folder:
        with cli.hushed(1, 2), writing(folder):
            archive.write_out(folder, verbose=False)
        yield folder


def batches(spec, images):
    """Representative images as `converter` expects them, `[examples, batch, height, width, 3]`.

    The first batch begins with two uniform images. The last batch is filled with the first images.
    """
    # Two uniform images make the input's range exactly 0..255, so that pixels need no scaling.
    uniform = [np.full_like(images[0], value) for value in (0, 255)]
    images, size = np.stack([*uniform, *images]), batch_dimension(spec) or 1
    count = -(-len(images) // size)
    return np.resize(images, (count * size, *images.shape[1:])).reshape(count, size, *images.shape[1:])


def write(flat_buffer, spec, name, folder):
    """Writes the converter's result as `folder/model_….tflite`, with labels, spec and metadata inside."""
    path = folder / f"model_{name.removeprefix('tflite_')}.tflite"
    spec = {**spec, "format": name}
    path.write_bytes(metadata.attach(flat_buffer, spec))
    return Artifact(name, path, size_of(path), spec, operations(flat_buffer))


def load(path):
    """A function from pixels `[batch, image_size, image_size, 3]` to probabilities, in LiteRT.

    Raises:
        UserError: the file is damaged, or LiteRT has no kernel for one of its operations.
    """
    try:
        interpreter = litert.open_interpreter(path, THREADS)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"LiteRT cannot load the file: {str(error).partition(chr(10))[0]}") from error
    return litert.batch_predictor(interpreter)

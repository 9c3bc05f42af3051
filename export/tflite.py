"""TFLite, for phones: float32, float16, int8 weights, or 16-bit activations; `int8` has integers of 8 bits.

The Keras model becomes a SavedModel with a fixed batch size, and that becomes a flat buffer. Two shorter ways
do not work: converting the concrete functions of a Keras 3 model gives a file that returns NaN, and an
unknown batch size leaves shape arithmetic in the graph. Only the runtime's built-in operations are allowed.
"""

import collections
import contextlib
import dataclasses
import tempfile

import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.tools import flatbuffer_utils

from recycle_tf import cli, layers
from recycle_tf.evaluation import litert

from . import fold, metadata
from .artifact import Artifact, answer, batch_dimension, size_of, writing

THREADS = 2
"""Threads with which an artifact is compared with Keras."""


@dataclasses.dataclass(frozen=True)
class Conversion:
    """Settings of the converter for one format.

    Attributes:
        optimize: whether weights are stored in fewer bits.
        types: types in which the converter may store weights; () for int8.
        operations: operations that the graph may contain.
        representative: whether activations are quantized, to ranges measured on representative images.
    """

    optimize: bool = True
    types: tuple = ()
    operations: tuple = (tf.lite.OpsSet.TFLITE_BUILTINS,)
    representative: bool = False


MIXED = Conversion(representative=True)
"""int8 with operations that stay in float; see `selective_quantization`."""

CONVERSIONS = {
    "tflite_float32": Conversion(optimize=False),
    "tflite_float16": Conversion(types=(tf.float16,)),
    "tflite_dynamic": Conversion(),
    "tflite_int16x8": Conversion(
        operations=(
            # For the cast of the pixels, the only operation in float.
            tf.lite.OpsSet.TFLITE_BUILTINS,
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
        ),
        representative=True,
    ),
}


def why_not(model, name):
    """Why a network cannot be exported to a format, or None."""
    return why_not_integers(model) if CONVERSIONS[name].representative else None


def why_not_integers(model):
    """Why a network cannot compute in integers, or None."""
    if any(isinstance(layer, layers.DeformableConv2D) for layer in model.layers):
        return (
            f"{model.name} samples its feature maps at computed coordinates, which integers would round; "
            "tflite_dynamic keeps them in float"
        )
    return None


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
    with converting(spec, model, conversion, representative_images) as converter:
        flat_buffer = converter.convert()
    return write(flat_buffer, spec, name, folder)


@contextlib.contextmanager
def converting(spec, model, conversion, representative_images=None):
    """Yields the converter of a model, and hides its messages.

    Args:
        spec: as in `export`.
        model: as in `export`.
        conversion: a `Conversion`.
        representative_images: as in `export`.
    """
    batch, image_size = batch_dimension(spec), model.input_shape[1]
    pixels = tf.TensorSpec([batch, image_size, image_size, 3], tf.uint8, name="pixels")
    folded = fold.fold(model, through_relu=not conversion.representative)
    archive = keras.export.ExportArchive()
    archive.add_endpoint("serve", lambda pixels: {"probabilities": answer(folded, pixels)}, [pixels])
    with tempfile.TemporaryDirectory() as folder, cli.hushed(1, 2):
        with writing(folder):
            archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serve"])
        converter.target_spec.supported_ops = list(conversion.operations)
        converter.target_spec.supported_types = list(conversion.types)
        if conversion.optimize:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if conversion.representative:
            converter.representative_dataset = _batches(representative_images, batch or 1)
        yield converter


def _batches(images, batch):
    """The representative dataset as the converter expects it."""
    # Two uniform images make the input's range exactly 0..255, so that pixels need no scaling.
    uniform = [np.full_like(images[0], value) for value in (0, 255)]
    return lambda: ([np.repeat(image[None], batch, axis=0)] for image in [*uniform, *images])


def write(flat_buffer, spec, name, folder):
    """Writes the converter's result as `folder/model_….tflite`, with labels, spec and metadata inside."""
    path = folder / f"model_{name.removeprefix('tflite_')}.tflite"
    spec = {"format": name, **spec}
    path.write_bytes(metadata.attach(flat_buffer, spec))
    return Artifact(name, path, size_of(path), spec, _operations(flat_buffer))


def load(path):
    """A function from pixels `[batch, image_size, image_size, 3]` to probabilities, in LiteRT."""
    interpreter = litert.open_interpreter(path, THREADS)
    image, probabilities = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    fixed = image["shape_signature"][0]

    def predict(pixels):
        size = len(pixels) if fixed == -1 else fixed
        if fixed == -1:
            interpreter.resize_tensor_input(image["index"], pixels.shape)
            interpreter.allocate_tensors()
        found = []
        for start in range(0, len(pixels), size):
            part = pixels[start : start + size]
            # `np.resize` repeats images to fill the last batch; their results are dropped.
            interpreter.set_tensor(image["index"], np.resize(part, (size, *part.shape[1:])))
            interpreter.invoke()
            found.append(interpreter.get_tensor(probabilities["index"])[: len(part)])
        return np.concatenate(found)

    return predict


def _operations(flat_buffer):
    model = flatbuffer_utils.convert_bytearray_to_object(flat_buffer)
    names = (
        flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex)
        for graph in model.subgraphs
        for operator in graph.operators
    )
    return dict(collections.Counter(names).most_common())

"""TFLite, for phones: float32, float16, int8 weights, or integers throughout (activations of 8 or 16 bits).

The Keras model becomes a SavedModel with a fixed batch of one, and that a flat buffer: asking the converter
for a Keras 3 model's concrete functions gives a file that answers NaN, and an open batch leaves shape
arithmetic in the graph. Only the runtime's builtin operations are allowed.
"""

import collections
import contextlib
import tempfile

import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.tools import flatbuffer_utils

from recycle_tf import cli, layers
from recycle_tf.evaluation import litert

from . import fold, metadata
from .artifact import Artifact, answer, open_batch, size_of

FORMATS = ("tflite_float32", "tflite_float16", "tflite_dynamic", "tflite_int8", "tflite_int16x8")
CALIBRATED = ("tflite_int8", "tflite_int16x8")
"""Those whose integers get their ranges from the activations of pictures."""
THREADS = 2


def export(spec, model, format_name, directory, calibration=None):
    """Writes `directory/model_….tflite`, with labels, `spec.json` and TFLite metadata inside.

    Args:
        spec: of the model, as `artifact.make_spec` gives it.
        model: a Keras model with logits.
        format_name: one of `FORMATS`.
        directory: an existing folder.
        calibration: for those in `CALIBRATED`, uint8 pictures `[examples, image_size, image_size, 3]` whose
            activations give the ranges of the integers.
    """
    with converting(spec, model, format_name, calibration) as converter:
        flat_buffer = converter.convert()
    artifact = write(flat_buffer, spec, format_name, directory)
    if format_name == "tflite_int8" and _input_quantisation(artifact.path) != (1.0, 0):
        scaled = _input_quantisation(artifact.path)
        raise RuntimeError(f"{artifact.path}: takes pixels scaled by {scaled}, not as they are")
    return artifact


@contextlib.contextmanager
def converting(spec, model, format_name, calibration=None, in_part=False):
    """Yields the converter of a model, and hides what it says.

    Args:
        spec: as in `export`.
        model: as in `export`.
        format_name: as in `export`.
        calibration: as in `export`.
        in_part: leave operations in float that are told to stay so, between others in integers.
    """
    integer = format_name == "tflite_int8" and not in_part
    image_size = model.input_shape[1]
    # The converter itself puts the uint8 input before an integer graph; elsewhere it is cast in the graph.
    batch = open_batch(spec)
    pixels = tf.TensorSpec(
        [batch, image_size, image_size, 3], tf.float32 if integer else tf.uint8, name="pixels"
    )
    folded = fold.fold(model, through_relu=format_name not in CALIBRATED)
    archive = keras.export.ExportArchive()
    archive.add_endpoint("serve", lambda pixels: {"probabilities": answer(folded, pixels)}, [pixels])
    with tempfile.TemporaryDirectory() as folder, cli.hushed(1, 2):
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serve"])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if format_name != "tflite_float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if format_name == "tflite_float16":
            converter.target_spec.supported_types = [tf.float16]
        if format_name == "tflite_int16x8":
            # The cast of the pixels alone stays with the float operations.
            converter.target_spec.supported_ops.append(
                tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
            )
        if format_name in CALIBRATED:
            # Two plain pictures let the input's range be exactly 0..255, so that it takes pixels as they are.
            plain = [np.full_like(calibration[0], value) for value in (0, 255)]
            pictures = [*plain, *calibration]
            converter.representative_dataset = lambda: (
                [np.repeat(one[None], batch or 1, axis=0).astype(pixels.dtype.as_numpy_dtype)]
                for one in pictures
            )
        if integer:
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = tf.uint8
        yield converter


def write(flat_buffer, spec, format_name, directory):
    """Writes what a converter gave as `directory/model_….tflite`, with all that belongs inside."""
    path = directory / f"model_{format_name.removeprefix('tflite_')}.tflite"
    spec = {"format": format_name, **spec}
    path.write_bytes(metadata.attach(flat_buffer, spec))
    return Artifact(format_name, path, size_of(path), spec, _operations(flat_buffer))


def why_not(model, format_name, without_pictures=False):
    """Why a network cannot be had in a format, or None."""
    deformable = any(isinstance(layer, layers.DeformableConv2D) for layer in model.layers)
    if format_name in CALIBRATED and deformable:
        return (
            f"{model.name} samples its maps at computed coordinates, which integers would round; "
            "tflite_dynamic keeps them in float"
        )
    if format_name in CALIBRATED and without_pictures:
        return "the ranges of its integers are measured on training pictures; tflite_dynamic needs none"
    return None


def load(path):
    """Pixels `[batch, image_size, image_size, 3]` -> probabilities, through LiteRT."""
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
            # The last batch is filled up with pictures that have been asked about.
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


def _input_quantisation(path):
    return litert.open_interpreter(path).get_input_details()[0]["quantization"]

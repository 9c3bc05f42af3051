"""A TFLite file that computes in integers of 8 bits, from a Keras model and a few training images.

The network is folded, its kernels are rounded so that each layer's output changes least, and the ranges of
its feature maps are measured; the converter only writes down the integers that follow from them.
"""

import tempfile

import keras
import tensorflow as tf

from recycle_tf import cli
from recycle_tf.evaluation import familiarity, litert

from . import fake_quantization, fold, ranges, rounding, tflite
from .artifact import batch_dimension, writing

load = tflite.load


def why_not(model, name):
    """Why a network cannot be exported in integers, or None."""
    return tflite.why_not_integers(model)


def export(spec, model, name, folder, representative_images):
    """Writes `folder/model_int8.tflite`, with labels, `spec.json` and TFLite metadata inside.

    Args:
        spec: as returned by `artifact.make_spec`.
        model: a Keras model that returns what `familiarity.probabilities` takes.
        name: name of the format.
        folder: an existing folder.
        representative_images: as in `simulate`.

    Returns:
        The `Artifact`.

    Raises:
        OSError: it could not be written.
    """
    flat_buffer = convert(model, representative_images, batch_dimension(spec))
    artifact = tflite.write(flat_buffer, spec, name, folder)
    scale = litert.open_interpreter(artifact.path).get_input_details()[0]["quantization"]
    if scale != (1.0, 0):
        raise RuntimeError(f"{artifact.path}: expects pixels scaled by {scale}, not 0..255")
    return artifact


def simulate(model, images):
    """The network that `convert` writes, as a float model: for tests, and to find what integers cost where.

    Args:
        model: a functional model; it stays as it is.
        images: uint8 training images, `[examples, image_size, image_size, 3]`; a few hundred, all classes
            alike.

    Returns:
        A model of pixels 0..255, float32, to logits.
    """
    folded = fold.fold(model, through_relu=False)
    # Of the float network: rounding must not change what it is measured against.
    measured = ranges.measure(folded, images)
    rounding.round_kernels(folded, images)
    return fake_quantization.insert(folded, measured)


def convert(model, images, batch=1):
    """The bytes of a `.tflite` file: uint8 pixels to float32 `probabilities`.

    Args:
        model: as in `simulate`.
        images: as in `simulate`.
        batch: first dimension of the input, or None for any.
    """
    network = simulate(model, images)
    pixels = tf.TensorSpec([batch, *model.input_shape[1:]], tf.float32, name="pixels")
    low, high = fake_quantization.PIXELS

    def serve(pixels):
        exact = tf.quantization.fake_quant_with_min_max_args(pixels, low, high)
        return {"probabilities": familiarity.probabilities(network(exact, training=False))}

    archive = keras.export.ExportArchive()
    archive.add_endpoint("serve", serve, [pixels])
    with tempfile.TemporaryDirectory() as folder, cli.hushed(1, 2):
        with writing(folder):
            archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serve"])
        # With `FakeQuantize` in the graph, this takes the ranges from there.
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.inference_input_type = tf.uint8
        return converter.convert()

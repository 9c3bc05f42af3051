"""A TFLite file that computes in integers of 8 bits, from a Keras model and a few training images.

The network is folded, its kernels are rounded so that each layer's output changes least, and the ranges of
its feature maps are measured; the converter only writes down the integers that follow from them. A network
that was trained with integers (`--quantize=int8`) has its ranges from there, and its kernels are rounded to
nearest, as in training.
"""

import tensorflow as tf

from recycle_tf.errors import UserError
from recycle_tf.evaluation import familiarity, litert
from recycle_tf.quantization import fake_quantization, fold, ranges

from . import converter, rounding, tflite
from .artifact import batch_dimension

load = tflite.load

CONVERSION = converter.Conversion(input_type="uint8")
"""The converter takes the ranges from the `FakeQuantize` layers in the graph."""


def why_not(model, name):
    """Why a network cannot be exported in integers, or None."""
    return fake_quantization.why_not(model)


def export(spec, model, name, folder, representative_images, trained_ranges=None):
    """Writes `folder/model_int8.tflite`, with labels, `spec.json` and TFLite metadata inside.

    Args:
        spec: as returned by `artifact.make_spec`.
        model: a Keras model that returns what `familiarity.probabilities` takes.
        name: name of the format.
        folder: an existing folder.
        representative_images: as in `simulate`.
        trained_ranges: as in `simulate`.

    Returns:
        The `Artifact`.

    Raises:
        OSError: it could not be written.
    """
    flat_buffer = convert(model, representative_images, batch_dimension(spec), trained_ranges)
    artifact = tflite.write(flat_buffer, spec, name, folder)
    scale = litert.open_interpreter(artifact.path).get_input_details()[0]["quantization"]
    if scale != (1.0, 0):
        raise RuntimeError(f"{artifact.path}: expects pixels scaled by {scale}, not 0..255")
    return artifact


def simulate(model, images, trained_ranges=None):
    """The network that `convert` writes, as a float model: for tests, and to find what integers cost where.

    Args:
        model: a functional model; it stays as it is.
        images: uint8 training images, `[examples, image_size, image_size, 3]`; a few hundred, all classes
            alike.
        trained_ranges: the ranges that the network was trained with, or None to measure them.

    Returns:
        A model of pixels 0..255, float32, to logits.

    Raises:
        UserError: a range is missing.
    """
    folded = fold.fold(model, through_relu=False)
    if trained_ranges is not None:
        rounding.round_to_nearest(folded)
        try:
            return fake_quantization.insert(folded, trained_ranges)
        except KeyError as error:
            raise UserError(
                f"{model.name} was trained with integers by another version, the range of {error} is "
                "missing; train it again"
            ) from None
    # Of the float network: rounding must not change what it is measured against.
    measured = ranges.measure(folded, images)
    rounding.round_kernels(folded, images)
    return fake_quantization.insert(folded, measured)


def convert(model, images, batch=1, trained_ranges=None):
    """The bytes of a `.tflite` file: uint8 pixels to float32 `probabilities`.

    Args:
        model: as in `simulate`.
        images: as in `simulate`.
        batch: first dimension of the input, or None for any.
        trained_ranges: as in `simulate`.
    """
    network = simulate(model, images, trained_ranges)
    pixels = tf.TensorSpec([batch, *model.input_shape[1:]], tf.float32, name="pixels")
    low, high = fake_quantization.PIXELS

    def serve(pixels):
        exact = tf.quantization.fake_quant_with_min_max_args(pixels, low, high)
        return {"probabilities": familiarity.probabilities(network(exact, training=False))}

    with tflite.saved_endpoint(serve, pixels) as folder:
        return converter.convert(folder, CONVERSION)

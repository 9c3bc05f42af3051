"""SavedModel, for servers: one signature for pixels, one for the bytes of a JPEG or PNG."""

import errno
import os

import keras
import tensorflow as tf

from recycle_tf.data import decode

from .artifact import Artifact, answer, size_of

FORMATS = ("saved_model",)
TOP = 5


def export(spec, model, format_name, directory):
    """Writes `directory/saved_model`.

    Its signatures: `serve_pixels` takes uint8 `[batch, image_size, image_size, 3]`, `serve_bytes` encoded
    pictures `[batch]`, which it resizes as the training did. Both return `probabilities`
    `[batch, num_classes]`, `labels` `[num_classes]` in the same order, `label` `[batch]`, and the likeliest
    classes, best first: `top_labels` and `top_probabilities`, `[batch, min(5, num_classes)]`.

    Args:
        spec: of the model, as `artifact.make_spec` gives it.
        model: a Keras model with logits.
        format_name: `"saved_model"`.
        directory: an existing folder.

    Raises:
        OSError: the disk is full.
    """
    image_size, resize = spec["image_size"], spec["resize"]
    names = tf.constant(spec["labels"])

    def serve_pixels(pixels):
        probabilities = answer(model, pixels)
        top_probabilities, top_indices = tf.math.top_k(probabilities, min(TOP, len(spec["labels"])))
        top_labels = tf.gather(names, top_indices)
        return {
            "probabilities": probabilities,
            "labels": names,
            "label": top_labels[:, 0],
            "top_labels": top_labels,
            "top_probabilities": top_probabilities,
        }

    def serve_bytes(encoded):
        pixels = tf.map_fn(
            lambda one: decode.decode(one, image_size, resize), encoded, fn_output_signature=tf.uint8
        )
        return serve_pixels(pixels)

    archive = keras.export.ExportArchive()
    pixels = tf.TensorSpec([None, image_size, image_size, 3], tf.uint8, name="pixels")
    archive.add_endpoint("serve_pixels", serve_pixels, [pixels])
    archive.add_endpoint("serve_bytes", serve_bytes, [tf.TensorSpec([None], tf.string, name="encoded")])
    path = directory / "saved_model"
    try:
        archive.write_out(path, verbose=False)
    except tf.errors.ResourceExhaustedError as error:
        # TensorFlow's own name of a full disk.
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
    return Artifact(format_name, path, size_of(path), {"format": format_name, **spec})


def load(path):
    """Pixels `[batch, image_size, image_size, 3]` -> probabilities, through `tf.saved_model`."""
    served = tf.saved_model.load(str(path))
    return lambda pixels: served.serve_pixels(tf.constant(pixels))["probabilities"].numpy()

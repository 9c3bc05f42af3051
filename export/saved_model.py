"""SavedModel, for servers: one signature takes pixels, another encoded images (JPEG, PNG)."""

import keras
import tensorflow as tf

from recycle_tf.data import decode
from recycle_tf.evaluation import artifacts

from .artifact import Artifact, answer, as_json, size_of, with_batch, writing
from .settings import DYNAMIC

TOP = 5
"""How many of the most probable classes are returned in order."""


def why_not(model, name):
    """None: every network can be exported as a SavedModel."""


def export(spec, model, name, folder):
    """Writes `folder/saved_model`, with `spec.json` in its `assets.extra/`.

    Signature `serve_pixels` takes uint8 `[batch, image_size, image_size, 3]`; `serve_bytes` takes encoded
    images, `[batch]`, and resizes them as in training. Both return `probabilities` and `labels`,
    `[batch, num_classes]` in the same order; `label`, `[batch]`; and the most probable classes in descending
    order, `top_labels` and `top_probabilities`, `[batch, min(5, num_classes)]`. The labels are repeated for
    every image because the row format of TensorFlow Serving requires that all outputs have the batch
    dimension.

    Args:
        spec: as returned by `artifact.make_spec`.
        model: a Keras model that returns what `familiarity.probabilities` takes.
        name: `"saved_model"`.
        folder: an existing folder.

    Returns:
        The `Artifact`.

    Raises:
        OSError: it could not be written.
    """
    image_size, resize = spec["image_size"], spec["resize"]
    names = tf.constant(spec["labels"])

    def serve_pixels(pixels):
        probabilities = answer(model, pixels)
        top_probabilities, top_indices = tf.math.top_k(probabilities, min(TOP, len(spec["labels"])))
        top_labels = tf.gather(names, top_indices)
        return {
            "probabilities": probabilities,
            "labels": tf.tile(names[None], [tf.shape(pixels)[0], 1]),
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
    path, spec = folder / "saved_model", {"format": name, **with_batch(spec, DYNAMIC)}
    with writing(path):
        archive.write_out(path, verbose=False)
    beside = path / artifacts.SAVED_MODEL_SPEC
    beside.parent.mkdir()
    beside.write_text(as_json(spec), encoding="utf-8")
    return Artifact(name, path, size_of(path), spec)


def load(path):
    """A function from pixels `[batch, image_size, image_size, 3]` to probabilities, in TensorFlow."""
    return artifacts.open_artifact(path)[1]

"""SavedModel, for servers: one signature for pixels, one for the bytes of a JPEG or PNG."""

import keras
import tensorflow as tf

from recycle_tf.data import decode

from .artifact import Artifact, answer, size_of

FORMATS = ("saved_model",)


def export(spec, model, format_name, directory):
    """Writes `directory/saved_model`.

    Its signatures: `serve_pixels` takes uint8 `[batch, image_size, image_size, 3]` and returns
    `probabilities`; `serve_bytes` takes encoded pictures `[batch]`, resizes them as the training did, and
    returns `probabilities`, `label` and `labels`.

    Args:
        spec: of the model, as `artifact.make_spec` gives it.
        model: a Keras model with logits.
        format_name: `"saved_model"`.
        directory: an existing folder.
    """
    image_size, resize = spec["image_size"], spec["resize"]
    names = tf.constant(spec["labels"])

    def serve_pixels(pixels):
        return {"probabilities": answer(model, pixels)}

    def serve_bytes(encoded):
        pixels = tf.map_fn(
            lambda one: decode.decode(one, image_size, resize), encoded, fn_output_signature=tf.uint8
        )
        probabilities = answer(model, pixels)
        label = tf.gather(names, tf.argmax(probabilities, axis=-1))
        return {"probabilities": probabilities, "label": label, "labels": names}

    archive = keras.export.ExportArchive()
    pixels = tf.TensorSpec([None, image_size, image_size, 3], tf.uint8, name="pixels")
    archive.add_endpoint("serve_pixels", serve_pixels, [pixels])
    archive.add_endpoint("serve_bytes", serve_bytes, [tf.TensorSpec([None], tf.string, name="encoded")])
    path = directory / "saved_model"
    archive.write_out(path, verbose=False)
    return Artifact(format_name, path, size_of(path), {"format": format_name, **spec})


def load(path):
    """Pixels `[batch, image_size, image_size, 3]` -> probabilities, through `tf.saved_model`."""
    served = tf.saved_model.load(str(path))
    return lambda pixels: served.serve_pixels(tf.constant(pixels))["probabilities"].numpy()

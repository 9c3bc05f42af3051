"""ONNX, for ONNX Runtime and what else reads it: the same graph, pixels in, probabilities out."""

import importlib.util
import warnings

import keras
import numpy as np

from recycle_tf.errors import UserError

from .artifact import Artifact, as_json, lines, open_batch, size_of

FORMATS = ("onnx",)
PACKAGES = ("onnx", "onnxruntime", "tf2onnx")


def check_installed():
    """Refuses where a package is missing that only this format needs.

    Raises:
        UserError: says how to install them.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"--formats=onnx: needs {', '.join(missing)}; pip install 'recycle-tf[onnx]'")


def why_not(model):
    """Why a network cannot be had in ONNX, or None."""
    convolutions = (layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
    if any(layer.groups > 1 for layer in convolutions):
        return f"{model.name} has grouped convolutions, which Keras hides where tf2onnx does not look"
    return None


def export(spec, model, format_name, directory):
    """Writes `directory/model.onnx`; labels and `spec.json` are in its metadata.

    Args:
        spec: of the model, as `artifact.make_spec` gives it.
        model: a Keras model with logits.
        format_name: `"onnx"`.
        directory: an existing folder.
    """
    import onnx

    shape = (open_batch(spec), spec["image_size"], spec["image_size"], 3)
    pixels = keras.Input(batch_shape=shape, dtype="uint8", name="pixels")
    probabilities = keras.ops.softmax(model(keras.ops.cast(pixels, "float32")))
    path, spec = directory / "model.onnx", {"format": format_name, **spec}
    # Of a model that was never called, Keras has to be told what it takes.
    signature = [keras.InputSpec("uint8", shape, name="pixels")]
    answers = keras.Model(pixels, probabilities)
    with warnings.catch_warnings():
        # Of a look that Keras takes at NumPy, for tf2onnx.
        warnings.simplefilter("ignore", FutureWarning)
        answers.export(path, format="onnx", verbose=False, input_signature=signature)
    network = onnx.load(path)
    _rename_output(network.graph, "probabilities")
    onnx.helper.set_model_props(network, {"spec.json": as_json(spec), "labels.txt": lines(spec["labels"])})
    onnx.checker.check_model(network)
    onnx.save(network, path)
    return Artifact(format_name, path, size_of(path), spec)


def load(path):
    """Pixels `[batch, image_size, image_size, 3]` -> probabilities, through ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    fixed = session.get_inputs()[0].shape[0]

    def predict(pixels):
        size = fixed if isinstance(fixed, int) else len(pixels)
        found = []
        for start in range(0, len(pixels), size):
            part = pixels[start : start + size]
            # The last batch is filled up with pictures that have been asked about.
            full = np.resize(part, (size, *part.shape[1:]))
            found.append(session.run(["probabilities"], {"pixels": full})[0][: len(part)])
        return np.concatenate(found)

    return predict


def _rename_output(graph, name):
    """Keras calls it `Identity:0`."""
    (output,) = graph.output
    for node in graph.node:
        node.output[:] = [name if one == output.name else one for one in node.output]
    output.name = name

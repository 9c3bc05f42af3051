"""ONNX, for ONNX Runtime and other runtimes: the same graph, pixels in, probabilities out."""

import importlib.util
import warnings

import keras
import numpy as np

from recycle_tf.evaluation import familiarity

from .artifact import Artifact, as_json, batch_dimension, label_files, size_of

PACKAGES = ("onnx", "onnxruntime", "tf2onnx")


def why_not(model, name):
    """Why a network cannot be exported to ONNX, or None."""
    missing = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        return f"needs the packages {', '.join(missing)}; run: pip install 'recycle-tf[onnx]'"
    convolutions = (layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
    if any(layer.groups > 1 for layer in convolutions):
        return f"{model.name} has grouped convolutions, which tf2onnx cannot convert from Keras"
    return None


def export(spec, model, name, folder):
    """Writes `folder/model.onnx`, with the labels and `spec.json` in its metadata.

    Args:
        spec: as returned by `artifact.make_spec`.
        model: a Keras model that returns what `familiarity.probabilities` takes.
        name: `"onnx"`.
        folder: an existing folder.

    Returns:
        The `Artifact`.
    """
    import onnx

    shape = (batch_dimension(spec), spec["image_size"], spec["image_size"], 3)
    pixels = keras.Input(batch_shape=shape, dtype="uint8", name="pixels")
    probabilities = familiarity.probabilities(model(keras.ops.cast(pixels, "float32")))
    path, spec = folder / "model.onnx", {"format": name, **spec}
    # Keras cannot infer the input of a model that was never called.
    signature = [keras.InputSpec("uint8", shape, name="pixels")]
    with warnings.catch_warnings():
        # Keras looks up old attributes of NumPy on behalf of tf2onnx, and NumPy warns about that.
        warnings.simplefilter("ignore", FutureWarning)
        keras.Model(pixels, probabilities).export(
            path, format="onnx", verbose=False, input_signature=signature
        )
    network = onnx.load(path)
    _rename_output(network.graph, "probabilities")
    properties = {"spec.json": as_json(spec), "labels.txt": label_files(spec)["labels.txt"]}
    onnx.helper.set_model_props(network, properties)
    onnx.checker.check_model(network)
    onnx.save(network, path)
    return Artifact(name, path, size_of(path), spec)


def load(path):
    """A function from pixels `[batch, image_size, image_size, 3]` to probabilities, in ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    fixed = session.get_inputs()[0].shape[0]

    def predict(pixels):
        size = fixed if isinstance(fixed, int) else len(pixels)
        found = []
        for start in range(0, len(pixels), size):
            part = pixels[start : start + size]
            # `np.resize` repeats images to fill the last batch; their results are dropped.
            full = np.resize(part, (size, *part.shape[1:]))
            found.append(session.run(["probabilities"], {"pixels": full})[0][: len(part)])
        return np.concatenate(found)

    return predict


def _rename_output(graph, name):
    """Renames the only output; Keras names it `Identity:0`."""
    (output,) = graph.output
    for node in graph.node:
        node.output[:] = [name if one == output.name else one for one in node.output]
    output.name = name

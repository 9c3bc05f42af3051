"""ONNX, for ONNX Runtime and other runtimes: the same graph, pixels in, probabilities out."""

import importlib.util
import warnings

import keras
import numpy as np

from recycle_tf.evaluation import artifacts, familiarity

from .artifact import Artifact, as_json, batch_dimension, label_files, size_of

PACKAGES = ("onnx", "onnxruntime", "tf2onnx")


def why_not(model, name):
    """Why a network cannot be exported to ONNX, or None."""
    missing = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        return f"needs the packages {', '.join(missing)}; run: pip install 'recycle-tf[onnx]'"
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
    probabilities = familiarity.probabilities(_with_towers(model)(keras.ops.cast(pixels, "float32")))
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
    return artifacts.open_artifact(path)[1]


def _with_towers(model):
    """The same network with a convolution per group of each grouped one, which tf2onnx does not know."""

    def call(operation, *args, **kwargs):
        if not isinstance(operation, keras.layers.Conv2D) or operation.groups == 1:
            return operation(*args, **kwargs)
        count = operation.groups
        parts = [np.split(weight, count, axis=-1) for weight in operation.get_weights()]
        config = {**operation.get_config(), "groups": 1, "filters": operation.filters // count}
        found = []
        for number, channels in enumerate(keras.ops.split(args[0], count, axis=-1)):
            tower = keras.layers.Conv2D.from_config({**config, "name": f"{operation.name}_tower{number + 1}"})
            found.append(tower(channels))
            tower.set_weights([part[number] for part in parts])
        return keras.ops.concatenate(found, axis=-1)

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)


def _rename_output(graph, name):
    """Renames the only output; Keras names it `Identity:0`."""
    (output,) = graph.output
    for node in graph.node:
        node.output[:] = [name if one == output.name else one for one in node.output]
    output.name = name

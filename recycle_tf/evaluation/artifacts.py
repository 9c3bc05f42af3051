"""Opens exported files, each in the runtime of its users: what is known about them, and their network.

Every artifact carries its `spec.json`: a `.tflite` as an associated file, a SavedModel in `assets.extra/`,
where TensorFlow expects files that it does not read itself, and ONNX in its metadata.
"""

import json
import zipfile

import numpy as np
import tensorflow as tf

from recycle_tf import files, options
from recycle_tf.errors import UserError
from recycle_tf.evaluation import litert

SPEC = "spec.json"
SAVED_MODEL_SPEC = f"assets.extra/{SPEC}"
"""Path of the spec in a SavedModel."""

MAX_SPEC_BYTES = 1_000_000
"""No spec is longer; a longer one is cut off and then invalid JSON."""

MAX_IMAGE_SIZE = 4096

THREADS = 2
"""Threads of LiteRT."""

ADVICE = "give a file that `python -m export` wrote"


def is_saved_model(path):
    """Whether a folder is a SavedModel."""
    return (path / "saved_model.pb").is_file()


def open_artifact(path):
    """Opens a `.tflite` file, a `.onnx` file or the folder of a SavedModel.

    Args:
        path: a `pathlib.Path`.

    Returns:
        `(spec, network)`: the contents of its `spec.json`, of which the values that this package uses are
        checked, and a function from uint8 RGB `[batch, image_size, image_size, 3]` to float32 probabilities
        `[batch, num_classes]`.

    Raises:
        UserError: no such file, or one that was not exported by this package or is damaged.
    """
    if path.suffix in (".tflite", ".onnx") and not path.is_file():
        raise UserError(f"`model={path}`: no such file")
    kinds = {".tflite": _open_tflite, ".onnx": _open_onnx}
    return kinds.get(path.suffix, _open_saved_model)(path)


def _open_tflite(path):
    def read():
        # TFLite carries associated files as a zip archive behind the network.
        with zipfile.ZipFile(path) as associated:
            return associated.open(SPEC).read(MAX_SPEC_BYTES)

    spec = _parse_spec(path, read)
    with files.reading(f"`model={path}`", ADVICE):
        interpreter = litert.open_interpreter(path, THREADS)
    image, output = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    kinds = [np.dtype(tensor["dtype"]).name for tensor in (image, output)]
    _check_tensors(path, spec, (kinds[0], image["shape"].tolist()), (kinds[1], output["shape"].tolist()))
    return spec, litert.batch_predictor(interpreter)


def _open_saved_model(path):
    def read():
        with open(path / SAVED_MODEL_SPEC, "rb") as file:
            return file.read(MAX_SPEC_BYTES)

    spec = _parse_spec(path, read)
    with files.reading(f"`model={path}`", ADVICE):
        served = tf.saved_model.load(str(path))
        signature = served.signatures["serve_pixels"]
        (_, inputs), outputs = signature.structured_input_signature, signature.structured_outputs
        image, output = inputs["pixels"], outputs["probabilities"]
        tensors = [(tensor.dtype.name, tensor.shape.as_list()) for tensor in (image, output)]
    _check_tensors(path, spec, *tensors)

    def predict(pixels):
        # The signature alone does not keep the variables alive.
        return served.signatures["serve_pixels"](pixels=tf.constant(pixels))["probabilities"].numpy()

    return spec, predict


def _open_onnx(path):
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f"`model={path}`: needs onnxruntime; run: pip install 'recycle-tf[onnx]'") from error
    with files.reading(f"`model={path}`", ADVICE):
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (image,), (output,) = session.get_inputs(), session.get_outputs()
        properties = session.get_modelmeta().custom_metadata_map
    spec = _parse_spec(path, lambda: properties[SPEC][:MAX_SPEC_BYTES])
    kinds = [tensor.type.removeprefix("tensor(").removesuffix(")") for tensor in (image, output)]
    kinds = [{"float": "float32"}.get(kind, kind) for kind in kinds]
    _check_tensors(path, spec, (kinds[0], image.shape), (kinds[1], output.shape))

    def predict(pixels):
        return session.run([output.name], {image.name: pixels})[0]

    fixed = image.shape[0]
    return spec, litert.in_batches(predict, fixed) if isinstance(fixed, int) else predict


def _parse_spec(path, read):
    """The spec that `read()` returns as JSON, with the values that are used checked."""
    with files.reading(f"`model={path}`: its labels and settings (spec.json)", ADVICE):
        spec = json.loads(read())
        labels, image_size, resize = (spec[key] for key in ("labels", "image_size", "resize"))
    threshold, unlike = spec.get("threshold", 1.0), spec.get("unlike", {"threshold": 1.0})
    valid = {
        "labels": isinstance(labels, list) and labels and all(isinstance(label, str) for label in labels),
        "image_size": type(image_size) is int and 1 <= image_size <= MAX_IMAGE_SIZE,
        "resize": resize in options.RESIZES,
        # Neither NaN nor infinity; 1.01 is a threshold that no answer reaches.
        "threshold": type(threshold) in (int, float) and 0 <= threshold <= 1.01,
        "unlike": isinstance(unlike, dict)
        and type(unlike.get("threshold")) in (int, float)
        and 0 <= unlike["threshold"] <= 1,
    }
    for name, fine in valid.items():
        if not fine:
            raise UserError(f"`model={path}`: its spec.json is invalid: {name} is {spec[name]!r:.40}")
    return spec


def _check_tensors(path, spec, image, output):
    """Raises where the type or shape of input or output differ from what the spec says."""
    size, classes = spec["image_size"], len(spec["labels"])
    if (image[0], image[1][1:]) != ("uint8", [size, size, 3]):
        raise UserError(
            f"`model={path}`: its input is {image[0]} {image[1]}, expected uint8 [batch, {size}, {size}, 3]"
        )
    if (output[0], output[1][1:]) != ("float32", [classes]):
        raise UserError(
            f"`model={path}`: its output is {output[0]} {output[1]}, expected float32 [batch, {classes}] for "
            f"its {classes} labels"
        )

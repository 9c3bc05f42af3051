"""Loading weights from a file into a model, whatever its number of classes."""

import keras
import numpy as np

from recycle_tf import files
from recycle_tf.errors import UserError
from recycle_tf.models import pretrained, tensors
from recycle_tf.paths import from_user

_PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl")


def load(model, path):
    """Loads the weights of a file of the same architecture; the number of classes may differ.

    Args:
        model: a model from `create_model`.
        path: file that ends in `.keras` or `.weights.h5` (written by this package), `.h5`
            (keras.applications) or `.safetensors` (torchvision, timm).

    Returns:
        A `pretrained.Loaded`.

    Raises:
        UserError: the file does not exist, has another format, or is damaged, or a layer does not fit.
    """
    path = from_user(path, "weights")
    if not path.is_file():
        raise UserError(f"`weights={path}`: no such file")
    with files.reading(f"`weights={path}`"):
        return _load(model, path)


def open_model(path):
    """Opens a `.keras` file of this package, not compiled. No code in the file runs.

    Args:
        path: `pathlib.Path`.

    Returns:
        A `keras.Model`.

    Raises:
        Exception: of any kind, if the file is damaged or of another package; see `files.reading`.
    """
    # Safe mode does not execute code from the file.
    model = keras.saving.load_model(path, compile=False, safe_mode=True)
    model.get_layer("logits")
    preprocess = model.get_layer("preprocess")
    for factor in (preprocess.scale, preprocess.offset):
        # Keras does not use them until the model is called.
        if not np.isfinite(np.asarray(factor, np.float32)).all():
            raise ValueError("its normalization is not finite")
    return model


def _load(model, path):
    if path.suffix == ".keras":
        return _copy_model(model, open_model(path), path)
    if path.name.endswith(".weights.h5"):
        return pretrained.copy(model, tensors.read_weights_h5(path), pretrained.OURS, path)
    if path.suffix == ".h5":
        _source(pretrained.KERAS, "files of keras.applications", model, path)
        return pretrained.copy_from_keras(model, *tensors.read_application_h5(path), path)
    if path.suffix == ".safetensors":
        source = _source(pretrained.TORCH, "files of torchvision and timm", model, path)
        return pretrained.copy(model, tensors.read_safetensors(path), source, path)
    if path.suffix in _PICKLES:
        raise UserError(
            f"`weights={path}`: a pickle can run code and is not loaded; convert it to .safetensors as "
            f"docs/models.md shows"
        )
    raise UserError(f"`weights={path}`: expected a file ending in .keras, .weights.h5, .h5 or .safetensors")


def _copy_model(model, theirs, path):
    if theirs.name != model.name:
        raise UserError(f"`weights={path}`: its architecture is {theirs.name}, not {model.name}")
    loaded = pretrained.copy(model, tensors.from_model(theirs), pretrained.OURS, path)
    # The weights depend on the normalization they were trained with.
    ours, preprocess = model.get_layer("preprocess"), theirs.get_layer("preprocess")
    ours.scale, ours.offset = preprocess.scale, preprocess.offset
    return loaded


def _source(table, kind, model, path):
    if model.name not in table:
        raise UserError(f"`weights={path}`: {kind} can be loaded into {', '.join(table)}, not {model.name}")
    return table[model.name]

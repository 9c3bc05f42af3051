"""Loading weights from a file into a model, whatever its number of classes."""

import pathlib
import zipfile

import keras

from recycle_tf.errors import UserError
from recycle_tf.models import pretrained, tensors

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
    path = pathlib.Path(path)
    if not path.is_file():
        raise UserError(f"`weights={path}`: no such file")
    if path.suffix == ".keras":
        return _load_model(model, path)
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


def _load_model(model, path):
    if not zipfile.is_zipfile(path):
        raise UserError(f"`weights={path}`: cannot be read: not a .keras file, or truncated")
    try:
        # Safe mode does not execute code from the file.
        theirs = keras.saving.load_model(path, compile=False, safe_mode=True)
        preprocess = theirs.get_layer("preprocess")
        scale, offset = preprocess.scale, preprocess.offset
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        RecursionError,
        zipfile.BadZipFile,
    ) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"`weights={path}`: cannot be read: {reason}") from error
    loaded = pretrained.copy(model, tensors.from_model(theirs), pretrained.OURS, path)
    # The weights depend on the normalization they were trained with.
    model.get_layer("preprocess").scale = scale
    model.get_layer("preprocess").offset = offset
    return loaded


def _source(table, files, model, path):
    if model.name not in table:
        raise UserError(f"`weights={path}`: {files} can be loaded into {', '.join(table)}, not {model.name}")
    return table[model.name]

"""Weights from a file into a model of any head."""

import pathlib
import zipfile

import keras

from recycle_tf.errors import UserError
from recycle_tf.models import pretrained, tensors

_PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl")


def load(model, path):
    """Fills `model` from a file of the same architecture; its head may have another number of classes.

    Args:
        model: a model of `create_model`.
        path: ends in `.keras` or `.weights.h5` (ours), `.h5` (keras.applications) or `.safetensors`
            (torchvision, timm).

    Returns:
        A `pretrained.Loaded`.

    Raises:
        UserError: no such file, another kind of file, one that cannot be read, or the first tensor that does
            not fit.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise UserError(f"--weights={path}: no such file")
    if path.suffix == ".keras":
        return _load_model(model, path)
    if path.name.endswith(".weights.h5"):
        return pretrained.copy(model, tensors.read_weights_h5(path), pretrained.OURS, path)
    if path.suffix == ".h5":
        source = _source(pretrained.KERAS, "keras.applications", model, path)
        return pretrained.copy(model, tensors.read_h5(path), source, path)
    if path.suffix == ".safetensors":
        source = _source(pretrained.TORCH, "torchvision's and timm's files", model, path)
        return pretrained.copy(model, tensors.read_safetensors(path), source, path)
    if path.suffix in _PICKLES:
        raise UserError(
            f"--weights={path}: a pickle can run code and is not loaded; convert it to .safetensors as "
            f"docs/models.md shows"
        )
    raise UserError(f"--weights={path}: expected a file ending in .keras, .weights.h5, .h5 or .safetensors")


def _load_model(model, path):
    if not zipfile.is_zipfile(path):
        raise UserError(f"--weights={path}: no model can be read from it: it is no zip file, or cut off")
    try:
        # Safe mode: nothing in the file is executed.
        theirs = keras.saving.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"--weights={path}: no model can be read from it: {reason}") from error
    loaded = pretrained.copy(model, tensors.from_model(theirs), pretrained.OURS, path)
    # The constants of the normalisation belong to the weights.
    model.get_layer("preprocess").scale = theirs.get_layer("preprocess").scale
    model.get_layer("preprocess").offset = theirs.get_layer("preprocess").offset
    return loaded


def _source(table, library, model, path):
    if model.name not in table:
        raise UserError(f"--weights={path}: {library} are read for {', '.join(table)}, not for {model.name}")
    return table[model.name]

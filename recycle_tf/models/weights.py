"""Weights from a file into a model of any head."""

import pathlib
import zipfile

import keras

from recycle_tf.errors import UserError


def load(model, path):
    """Fills `model` from a `.keras` or `.weights.h5` file of the same architecture.

    Args:
        model: a model of `create_model`.
        path: the file; the head in a `.keras` may have another number of classes, then the model's stays
            fresh. A `.weights.h5` has to fit.

    Returns:
        Names of the layers that were left fresh: `[]` or `["logits"]`.

    Raises:
        UserError: no such file, another kind of file, or a layer that does not fit.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise UserError(f"--weights={path}: no such file")
    if not path.name.endswith((".keras", ".weights.h5")):
        raise UserError(f"--weights={path}: expected a file ending in .keras or .weights.h5")
    try:
        if path.name.endswith(".keras"):
            # Safe mode: nothing in the file is executed.
            source = keras.saving.load_model(path, compile=False, safe_mode=True)
            return _copy(model, source, path)
        model.load_weights(path)
        return []
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"--weights={path}: does not fit {model.name}: {reason}") from error


def _copy(model, source, path):
    fresh = []
    # The constants of the normalisation belong to the weights.
    ours, theirs = model.get_layer("preprocess"), source.get_layer("preprocess")
    ours.scale, ours.offset = theirs.scale, theirs.offset
    names = {layer.name: layer for layer in source.layers}
    for layer in model.layers:
        if not layer.get_weights() or "drop" in layer.name:
            continue  # Dropout has but the state of its draws.
        if layer.name not in names:
            raise UserError(f"--weights={path}: no layer {layer.name!r}, which {model.name} has")
        values = names[layer.name].get_weights()
        shapes = [v.shape for v in values], [v.shape for v in layer.get_weights()]
        if shapes[0] == shapes[1]:
            layer.set_weights(values)
        elif layer.name == "logits":
            fresh.append(layer.name)
        else:
            raise UserError(
                f"--weights={path}: layer {layer.name!r} has shapes {shapes[0]}, "
                f"{model.name} wants {shapes[1]}"
            )
    return fresh

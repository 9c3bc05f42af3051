"""Weights that other libraries wrote, in one form: `{their layer's name: its arrays, as Keras has them}`.

In Keras' order: kernel, bias; or gamma, beta, moving mean, moving variance. In Keras' layout: kernels
`[height, width, inputs, filters]`, of depthwise convolutions `[height, width, channels, 1]`, of dense layers
`[inputs, units]`. float32, whatever the file has.
"""

import re

import h5py
import ml_dtypes  # noqa: F401, with it NumPy knows bfloat16
import numpy as np
import safetensors.numpy

from recycle_tf.errors import UserError

_DENSE_KERNEL, _CONV_KERNEL, _DEPTHWISE_KERNEL = (1, 0), (2, 3, 1, 0), (2, 3, 0, 1)
_LEAVES = ("weight", "bias", "running_mean", "running_var")


def with_weights(model):
    """The layers of a Keras model that have weights; the state of a dropout's draws is none."""
    return [layer for layer in model.layers if layer.weights and not hasattr(layer, "seed_generator")]


def from_model(model):
    """The tensors of a Keras model."""
    return {layer.name: layer.get_weights() for layer in with_weights(model)}


def read_weights_h5(path):
    """The tensors of a `.weights.h5` file: each layer's group says its name.

    Raises:
        UserError: the file cannot be read, or Keras 3 did not write it.
    """
    try:
        with h5py.File(path) as file:
            groups = [group["vars"] for group in file["layers"].values() if len(group.get("vars", ()))]
            return {
                group.attrs["name"]: [np.asarray(group[key]) for key in sorted(group, key=int)]
                for group in groups
            }
    except (OSError, KeyError) as error:
        raise _unreadable(path, error) from error


def read_h5(path):
    """The tensors of a keras.applications file, with or without its head.

    Some files are older than today's names: `/` where there is `_` now, and another name for the head.

    Raises:
        UserError: the file cannot be read, or Keras did not write it.
    """
    try:
        with h5py.File(path) as file:
            # A whole model keeps its weights one level down.
            group = file.get("model_weights", file)
            return {
                re.sub("^(probs|fc1000)$", "predictions", name.replace("/", "_")): [
                    np.asarray(group[name][weight], np.float32)
                    for weight in group[name].attrs["weight_names"]
                ]
                for name in map(_text, group.attrs["layer_names"])
                if len(group[name].attrs["weight_names"])
            }
    except (OSError, KeyError) as error:
        raise _unreadable(path, error) from error


def read_safetensors(path):
    """The tensors of a `.safetensors` file with PyTorch's names and layout; a module is a layer.

    How many batches a norm has seen is left out: Keras does not count them.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        file = safetensors.numpy.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise _unreadable(path, error) from error
    modules = {}
    for name, value in file.items():
        module, _, leaf = name.rpartition(".")
        if leaf in _LEAVES:
            modules.setdefault(module, {})[leaf] = _to_keras(value)
        elif leaf != "num_batches_tracked":
            modules.setdefault(name, {})["weight"] = value
    return {
        module: [values[leaf] for leaf in _LEAVES if leaf in values] for module, values in modules.items()
    }


def flattened_last(kernel, shape):
    """A dense kernel that reads maps flattened channel by channel, made to read them pixel by pixel.

    Args:
        kernel: `[channels * height * width, units]`.
        shape: of a map, `(height, width, channels)`.
    """
    height, width, channels = shape
    kernel = kernel.reshape(channels, height, width, -1)
    return kernel.transpose(1, 2, 0, 3).reshape(channels * height * width, -1)


def _to_keras(value):
    value = value.astype(np.float32)
    if value.ndim == 2:
        return value.transpose(_DENSE_KERNEL)
    if value.ndim == 4:
        # One input a filter: a depthwise convolution.
        return value.transpose(_DEPTHWISE_KERNEL if value.shape[1] == 1 else _CONV_KERNEL)
    return value


def _text(name):
    return name.decode() if isinstance(name, bytes) else name


def _unreadable(path, error):
    return UserError(f"--weights={path}: no weights can be read from it: {str(error).partition(chr(10))[0]}")

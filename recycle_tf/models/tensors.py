"""Weights of other libraries in one form: `{name of their layer: arrays}`.

The arrays are in the order of Keras: kernel, bias; or gamma, beta, moving mean, moving variance. They have
the shapes of Keras: kernels `[height, width, inputs, filters]`, depthwise kernels `[height, width, channels,
1]`, dense kernels `[inputs, units]`. They are float32, whatever the type in the file.

Readers of a damaged file raise exceptions of any kind, which `files.reading` turns into one line.
"""

import json
import re

import h5py
import ml_dtypes  # noqa: F401, registers bfloat16 with NumPy
import numpy as np
import safetensors.numpy

# Axes of a PyTorch kernel in the order of Keras.
_DENSE_KERNEL, _CONV_KERNEL, _DEPTHWISE_KERNEL = (1, 0), (2, 3, 1, 0), (2, 3, 0, 1)
_LEAVES = ("weight", "bias", "running_mean", "running_var")


def layers_with_weights(model):
    """Layers of a Keras model that have weights; the seeds of random layers do not count."""
    return [layer for layer in model.layers if layer.weights and not hasattr(layer, "seed_generator")]


def from_model(model):
    """Returns the weights of a Keras model."""
    return {layer.name: layer.get_weights() for layer in layers_with_weights(model)}


def from_application(model):
    """Returns the weights of a keras.applications network and the factors of its `Rescaling` layers."""
    return from_model(model), _rescalings(model.get_config())


def read_weights_h5(path):
    """Reads a `.weights.h5` file of Keras 3."""
    with h5py.File(path) as file:
        groups = [group["vars"] for group in file["layers"].values() if len(group.get("vars", ()))]
        return {
            group.attrs["name"]: [np.asarray(group[key], np.float32) for key in sorted(group, key=int)]
            for group in groups
        }


def read_application_h5(path):
    """Reads an `.h5` file of a keras.applications network, with or without its head.

    Returns:
        The weights, and the factors of the `Rescaling` layers in order. The factors are None if the file
        contains weights only, and not the network's configuration.
    """
    with h5py.File(path) as file:
        config = file.attrs.get("model_config")
        # A whole model has its weights one level further down.
        group = file.get("model_weights", file)
        weights = {
            _current_name(name): [
                np.asarray(group[name][weight], np.float32) for weight in group[name].attrs["weight_names"]
            ]
            for name in map(_text, group.attrs["layer_names"])
            if len(group[name].attrs["weight_names"])
        }
        return weights, None if config is None else _rescalings(json.loads(config)["config"])


def _current_name(name):
    """Name of a layer in today's keras.applications; older files have `/` for `_` and other heads."""
    return re.sub("^(probs|fc1000)$", "predictions", name.replace("/", "_"))


def _rescalings(config):
    """Factors of the `Rescaling` layers in a model's configuration, numbers or one array per channel."""
    return [
        np.asarray(layer["config"]["scale"])
        for layer in config["layers"]
        if layer["class_name"] == "Rescaling"
    ]


def read_safetensors(path):
    """Reads a `.safetensors` file with the names and shapes of PyTorch; each module becomes one layer.

    `num_batches_tracked` of batch normalization is left out, because Keras does not count batches.
    """
    modules = {}
    for name, value in safetensors.numpy.load_file(path).items():
        module, _, leaf = name.rpartition(".")
        if leaf in _LEAVES:
            modules.setdefault(module, {})[leaf] = _to_keras(value)
        elif leaf != "num_batches_tracked":
            modules.setdefault(name, {})["weight"] = value
    return {
        module: [values[leaf] for leaf in _LEAVES if leaf in values] for module, values in modules.items()
    }


def channels_last_rows(kernel, shape):
    """Reorders the rows of a dense kernel from feature maps flattened channel by channel to channels last.

    Args:
        kernel: `[channels * height * width, units]`.
        shape: shape of the feature map, `(height, width, channels)`.

    Returns:
        The kernel `[height * width * channels, units]`.
    """
    height, width, channels = shape
    kernel = kernel.reshape(channels, height, width, -1)
    return kernel.transpose(1, 2, 0, 3).reshape(channels * height * width, -1)


def _to_keras(value):
    value = value.astype(np.float32, casting="same_kind")  # not complex numbers
    if value.ndim == 2:
        return value.transpose(_DENSE_KERNEL)
    if value.ndim == 4:
        # One input channel per filter: a depthwise convolution.
        return value.transpose(_DEPTHWISE_KERNEL if value.shape[1] == 1 else _CONV_KERNEL)
    return value


def _text(name):
    return name.decode() if isinstance(name, bytes) else name

"""Published weights: the documented source of each architecture's weights, and how they are converted.

`KERAS` lists the architectures of keras.applications, which downloads and caches its files; `TORCH` those of
torchvision and timm, read from `.safetensors` files that the Hugging Face hub client downloads and caches.
Both are read as `{name of their layer: arrays}` (`tensors.py`) and copied layer by layer. Differences
between their networks and ours are compensated, so that the logits are the same:

* A bias before batch normalization is subtracted from the moving mean.
* A different epsilon of batch normalization is added to the moving variance.
* If the file expects BGR, the input channels of the first kernel are reversed.
* If the file flattens feature maps channel by channel, the rows of the next dense kernel are reordered.
* The normalization of the pixels becomes the constants of the layer `preprocess`.
"""

import dataclasses
import http.client
import math
import re

import keras
import numpy as np

from recycle_tf import files
from recycle_tf.errors import UserError
from recycle_tf.layers import IMAGENET_MEAN, IMAGENET_STD
from recycle_tf.models import tensors, torch_names


@dataclasses.dataclass(frozen=True)
class Published:
    """Where the published weights of an architecture come from, and how that network differs from ours.

    Attributes:
        names: pairs `(pattern, replacement)` as for `re.sub` that turn the name of our layer into theirs. The
            first pattern that matches the whole name applies.
        epsilon: epsilon of their batch normalization; None if each layer's is the same as ours.
        mean: mean of each channel that the network subtracts from RGB pixels 0..255; None to leave
            `preprocess` unchanged.
        std: standard deviation by which it divides then.
        normalizes: the file contains the normalization, which replaces `mean` and `std`.
        bgr: the first convolution expects BGR.
        channels_first: the first dense layer expects feature maps flattened channel by channel.
        builder: name of the function in keras.applications.
        repository: repository at the Hugging Face hub that contains a `model.safetensors`.
    """

    names: tuple
    epsilon: float | None = 1e-5
    mean: tuple | None = IMAGENET_MEAN
    std: tuple = IMAGENET_STD
    normalizes: bool = False
    bgr: bool = False
    channels_first: bool = False
    builder: str | None = None
    repository: str | None = None


@dataclasses.dataclass(frozen=True)
class Loaded:
    """Result of loading weights; `str` gives one line for the log.

    Attributes:
        layers: number of layers that were loaded.
        not_loaded: `{layer of the head: reason}`; these layers keep their random weights.
        skipped: names of the layers in the file that the model does not have.
    """

    layers: int
    not_loaded: dict
    skipped: tuple = ()

    def __str__(self):
        parts = [f"{self.layers} layers loaded"]
        parts += [f"{name} not loaded ({reason})" for name, reason in self.not_loaded.items()]
        if self.skipped:
            parts.append(f"skipped, not in this model: {', '.join(self.skipped)}")
        return "; ".join(parts)


CAFFE = {"mean": (123.68, 116.779, 103.939), "std": (1.0, 1.0, 1.0), "bgr": True}

VGG = (
    (r"stem_conv", r"block1_conv1"),
    (r"stage(\d)_conv(\d)", r"block\1_conv\2"),
    (r"head_dense(\d)", r"fc\1"),
    (r"logits", r"predictions"),
)

# Their stages count from 2, after the stem.
RESNET = (
    (r"stem_conv", r"conv1_conv"),
    (r"stem_conv_norm", r"conv1_bn"),
    (r"stage(\d)_block(\d+)_shortcut", lambda m: f"conv{int(m[1]) + 1}_block{m[2]}_0_conv"),
    (r"stage(\d)_block(\d+)_shortcut_norm", lambda m: f"conv{int(m[1]) + 1}_block{m[2]}_0_bn"),
    (r"stage(\d)_block(\d+)_conv(\d)", lambda m: f"conv{int(m[1]) + 1}_block{m[2]}_{m[3]}_conv"),
    (r"stage(\d)_block(\d+)_conv(\d)_norm", lambda m: f"conv{int(m[1]) + 1}_block{m[2]}_{m[3]}_bn"),
    (r"logits", r"predictions"),
)

DENSENET = (
    *RESNET[:2],
    (r"stage(\d)_block(\d+)_in_norm", lambda m: f"conv{int(m[1]) + 1}_block{m[2]}_0_bn"),
    *RESNET[4:6],
    (r"stage(\d)_transition_norm", r"pool\1_bn"),
    (r"stage(\d)_transition_conv", r"pool\1_conv"),
    (r"stage4_out_norm", r"bn"),
    (r"logits", r"predictions"),
)


def _letter(match, suffix):
    return f"block{match[1]}{chr(ord('a') + int(match[2]) - 1)}_{suffix}"


EFFICIENTNET = (
    (r"stem_conv", r"stem_conv"),
    (r"stem_conv_norm", r"stem_bn"),
    (r"stage(\d)_block(\d+)_expand", lambda m: _letter(m, "expand_conv")),
    (r"stage(\d)_block(\d+)_expand_norm", lambda m: _letter(m, "expand_bn")),
    (r"stage(\d)_block(\d+)_depthwise", lambda m: _letter(m, "dwconv")),
    (r"stage(\d)_block(\d+)_depthwise_norm", lambda m: _letter(m, "bn")),
    (r"stage(\d)_block(\d+)_se_reduce", lambda m: _letter(m, "se_reduce")),
    (r"stage(\d)_block(\d+)_se_expand", lambda m: _letter(m, "se_expand")),
    (r"stage(\d)_block(\d+)_project", lambda m: _letter(m, "project_conv")),
    (r"stage(\d)_block(\d+)_project_norm", lambda m: _letter(m, "project_bn")),
    (r"head_conv", r"top_conv"),
    (r"head_conv_norm", r"top_bn"),
    (r"logits", r"predictions"),
)

# Available from keras.applications, as a download or as an .h5 file.
KERAS = {
    **{f"vgg{n}": Published(VGG, builder=f"VGG{n}", **CAFFE) for n in (16, 19)},
    **{f"resnet{n}_v1": Published(RESNET, 1.001e-5, builder=f"ResNet{n}", **CAFFE) for n in (50, 101, 152)},
    **{f"densenet{n}": Published(DENSENET, 1.001e-5, builder=f"DenseNet{n}") for n in (121, 169, 201)},
    **{
        f"efficientnet_b{n}": Published(EFFICIENTNET, 1e-3, normalizes=True, builder=f"EfficientNetB{n}")
        for n in range(8)
    },
}

HALF = {"mean": (127.5, 127.5, 127.5), "std": (127.5, 127.5, 127.5)}

# Available from torchvision and timm, as a .safetensors file; from the hub if there is a repository.
TORCH = {
    **{
        f"resnet{n}": Published(torch_names.RESNET, repository=f"timm/resnet{n}.tv_in1k")
        for n in (18, 34, 50, 101, 152)
    },
    "se_resnet50": Published(torch_names.RESNET, repository="timm/seresnet50.ra2_in1k"),
    "densenet161": Published(torch_names.DENSENET, repository="timm/densenet161.tv_in1k"),
    **{
        f"efficientnet_lite{n}": Published(
            torch_names.EFFICIENTNET_LITE, 1e-3, repository=f"timm/tf_efficientnet_lite{n}.in1k", **HALF
        )
        for n in range(5)
    },
    **{f"densenet{n}": Published(torch_names.DENSENET) for n in (121, 169, 201)},
    "alexnet_one_tower": Published(torch_names.ALEXNET, channels_first=True),
    "googlenet_bn_3x3": Published(torch_names.GOOGLENET, 1e-3, **HALF),
}

OURS = Published(names=((r".*", r"\g<0>"),), epsilon=None, mean=None)


def load_imagenet(model):
    """Loads the published ImageNet weights of a model's architecture, downloading them if necessary.

    Args:
        model: a model from `create_model`.

    Returns:
        A `Loaded`.

    Raises:
        UserError: no weights are published for the architecture, or only as a pickle, or the download failed.
    """
    if source := KERAS.get(model.name):
        return copy_from_keras(model, *tensors.from_application(_download_from_keras(source)), "imagenet")
    if source := TORCH.get(model.name):
        if not source.repository:
            raise UserError(
                f"`weights=imagenet`: the weights of {model.name} are published only as a pickle (.pth), "
                f"which can run code and is not loaded; convert it as docs/models.md shows and pass "
                f"`weights=FILE.safetensors`"
            )
        path = _download_from_hub(source)
        with files.reading(f"`weights=imagenet`: {path}"):
            return copy(model, tensors.read_safetensors(path), source, "imagenet")
    available = [*KERAS, *(arch for arch, row in TORCH.items() if row.repository)]
    raise UserError(
        f"`weights=imagenet`: no weights are published for {model.name}, only for {', '.join(available)}"
    )


def _download_from_keras(source):
    try:
        return getattr(keras.applications, source.builder)(weights="imagenet", classifier_activation=None)
    except Exception as error:
        # keras.utils.get_file raises a plain Exception if it cannot reach the host, lets those of an
        # interrupted transfer pass, and raises a ValueError for a file with another hash.
        interrupted = isinstance(error, (OSError, ValueError, http.client.HTTPException))
        if not (interrupted or str(error).startswith("URL fetch failure")):
            raise
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(
            f"`weights=imagenet`: {source.builder} could not be downloaded; put its file into "
            f"~/.keras/models, or pass `weights=FILE` ({reason})"
        ) from error


def _download_from_hub(source):
    # Slow to import, and used only here.
    import huggingface_hub

    try:
        return huggingface_hub.hf_hub_download(source.repository, "model.safetensors")
    except Exception as error:
        # The client lets exceptions of its HTTP library pass, which differs between versions.
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(
            f"`weights=imagenet`: model.safetensors of {source.repository} could not be downloaded; download "
            f"it on another machine and pass `weights=FILE.safetensors` ({reason})"
        ) from error


def copy_from_keras(model, theirs, rescalings, origin):
    """Copies the weights of a keras.applications network into ours.

    Args:
        model: a model from `create_model` whose architecture is in `KERAS`.
        theirs: `{name of their layer: arrays}`, see `tensors.py`.
        rescalings: factors of its `Rescaling` layers, in order; None if the file does not tell.
        origin: what the user passed as `weights`, for messages.

    Returns:
        A `Loaded`.

    Raises:
        UserError: the first layer outside the head that does not fit.
    """
    source = KERAS[model.name]
    if source.normalizes:
        mean, std, theirs = _split_normalization(theirs, rescalings, origin)
        source = dataclasses.replace(source, mean=mean, std=std)
    return copy(model, theirs, source, origin)


def _split_normalization(theirs, rescalings, origin):
    """Splits the weights of a keras.applications EfficientNet into its normalization and its other layers.

    The network computes `Rescaling(1 / 255)`, then `Normalization`. The published weights hold ImageNet's
    standard deviation where `Normalization` expects the variance. keras.applications corrects this with a
    second `Rescaling(1 / sqrt(std))`, but only if it builds the network with `weights="imagenet"`. A file
    without the network's configuration is assumed to have this layer if it holds the published values.

    Returns:
        Mean and standard deviation of each channel, in pixel units 0..255, and the other layers.
    """
    name = next((name for name in theirs if re.fullmatch(r"normalization(_\d+)?", name)), None)
    if name is None or rescalings == []:
        missing = "Normalization" if name is None else "Rescaling"
        raise UserError(f"`weights={origin}`: no {missing} layer in it; EfficientNets of Keras have one")
    mean, variance = (np.ravel(value) for value in theirs[name][:2])
    if rescalings is None:
        published = np.array([IMAGENET_MEAN, IMAGENET_STD]) / 255
        rescalings = [1 / 255]
        if np.allclose([mean, variance], published, atol=1e-4):
            rescalings.append(1 / np.sqrt(variance))
    first, *others = rescalings
    std = np.maximum(np.sqrt(variance), keras.config.epsilon()) / first / math.prod(others)
    layers = {other: values for other, values in theirs.items() if other != name}
    return (mean / first).tolist(), std.tolist(), layers


def copy(model, theirs, source, origin):
    """Copies the weights of another network into ours, layer by layer, and its normalization.

    Args:
        model: a model from `create_model`.
        theirs: `{name of their layer: arrays}`, see `tensors.py`.
        source: the `Published` that describes the other network.
        origin: what the user passed as `weights`, for messages.

    Returns:
        A `Loaded`. Layers of the head are not loaded if they are missing or have another shape.

    Raises:
        UserError: the first layer outside the head that does not fit.
    """
    not_loaded, biases, names = {}, {}, {}
    for layer in tensors.layers_with_weights(model):
        name = names[layer.name] = _translate(layer.name, source.names)
        is_head = layer.name == "logits" or layer.name.startswith("head_dense")
        if name not in theirs:
            if is_head:
                not_loaded[layer.name] = "not in the file"
                continue
            raise UserError(
                f"`weights={origin}`: no {name or 'layer'} in it, needed for {layer.name} of {model.name}"
            )
        values, ours = theirs[name], layer.get_weights()
        if len(values) == len(ours) + 1:
            *values, biases[layer.name] = values
        shapes, our_shapes = [value.shape for value in values], [value.shape for value in ours]
        if shapes != our_shapes:
            if is_head:
                not_loaded[layer.name] = f"shape {shapes[0]} in the file, {our_shapes[0]} in the model"
                continue
            raise UserError(
                f"`weights={origin}`: {name} has shapes {shapes}, but {layer.name} of {model.name} has "
                f"{our_shapes}"
            )
        layer.set_weights(_convert(values, layer, model, source, biases))
    for name in biases:
        raise UserError(f"`weights={origin}`: {names[name]} has a bias, but {name} of {model.name} has none")
    skipped = _skipped(theirs, names, model, origin)
    if source.mean is not None:
        preprocess = model.get_layer("preprocess")
        preprocess.scale = [1 / std for std in source.std]
        preprocess.offset = [-mean / std for mean, std in zip(source.mean, source.std, strict=True)]
    return Loaded(len(names) - len(not_loaded), not_loaded, skipped)


def _convert(values, layer, model, source, biases):
    """Compensates for the differences that the docstring of this module lists, in one layer's arrays."""
    if layer.name == "stem_conv" and source.bgr:
        return [values[0][:, :, ::-1], *values[1:]]
    if isinstance(layer, keras.layers.BatchNormalization):
        gamma, beta, mean, variance = values
        mean = mean - biases.pop(layer.name.removesuffix("_norm"), 0.0)
        if source.epsilon is not None:
            variance = variance + (source.epsilon - layer.epsilon)
        return [gamma, beta, mean, variance]
    if layer.name == "head_dense1" and source.channels_first:
        shape = model.get_layer("features").output.shape[1:]
        return [tensors.channels_last_rows(values[0], shape), *values[1:]]
    return values


def _translate(name, names):
    for pattern, replacement in names:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    return None


def _skipped(theirs, names, model, origin):
    """Names of their layers that no layer of ours corresponds to.

    Raises:
        UserError: one of them differs from a layer that was loaded only in its numbers. The file then belongs
            to a deeper network, and the model would be an arbitrary part of it.
    """
    loaded = set(names.values())
    kinds = {_without_numbers(name) for name in loaded}
    skipped = tuple(name for name in theirs if name not in loaded)
    for name in skipped:
        if _without_numbers(name) in kinds:
            raise UserError(
                f"`weights={origin}`: {model.name} has no layer for {name}; the file is of another depth"
            )
    return skipped


def _without_numbers(name):
    # keras.applications and torchvision also number blocks with letters: block2a, inception3b.
    return re.sub(r"\d+[a-z]?", "#", name)

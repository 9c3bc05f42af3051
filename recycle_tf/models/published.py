"""Weights that others have published, each row from one documented source.

They come through keras.applications, which downloads and caches its own files, and are copied layer by layer.
What differs between its networks and ours is undone on the way, so that the logits are the same:

* a bias before a batch norm is taken off the norm's moving mean;
* the norm's epsilon is moved into the moving variance;
* where the file expects BGR, the stem's kernel is turned round to RGB;
* its normalisation becomes the constants of `preprocess`.
"""

import dataclasses
import re

import keras

from recycle_tf.errors import UserError
from recycle_tf.layers import IMAGENET_MEAN, IMAGENET_STD


@dataclasses.dataclass(frozen=True)
class Published:
    """Where a row's weights come from.

    Attributes:
        builder: name of the function in keras.applications.
        names: `(pattern, replacement)` pairs that turn a name of our layers into one of theirs; the first
            that matches all of it counts.
        mean: what the weights expect to be subtracted from RGB pixels 0..255.
        std: what they expect to be divided by then.
        bgr: the file's stem expects BGR.
    """

    builder: str
    names: tuple
    mean: tuple = IMAGENET_MEAN
    std: tuple = IMAGENET_STD
    bgr: bool = False


CAFFE = {"mean": (123.68, 116.779, 103.939), "std": (1.0, 1.0, 1.0), "bgr": True}

VGG = (
    (r"stem_conv", r"block1_conv1"),
    (r"stage(\d)_conv(\d)", r"block\1_conv\2"),
    (r"head_dense(\d)", r"fc\1"),
    (r"logits", r"predictions"),
)

# Their stages count from 2, behind the stem; a function does the arithmetic.
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

SOURCES = {
    **{f"vgg{depth}": Published(f"VGG{depth}", VGG, **CAFFE) for depth in (16, 19)},
    **{f"resnet{depth}_v1": Published(f"ResNet{depth}", RESNET, **CAFFE) for depth in (50, 101, 152)},
    **{f"densenet{depth}": Published(f"DenseNet{depth}", DENSENET) for depth in (121, 169, 201)},
    **{f"efficientnet_b{n}": Published(f"EfficientNetB{n}", EFFICIENTNET) for n in range(8)},
}


def load_imagenet(model):
    """Fills `model` with the weights that were published for its row, downloaded where they are not cached.

    Args:
        model: a model of `create_model`.

    Returns:
        Names of the layers that were left fresh, because they have other shapes here.

    Raises:
        UserError: nobody published weights for this row, or there is no network.
    """
    if model.name not in SOURCES:
        raise UserError(
            f"--weights=imagenet: none are published for {model.name}; "
            f"there are some for {', '.join(SOURCES)}"
        )
    source = SOURCES[model.name]
    try:
        theirs = getattr(keras.applications, source.builder)(weights="imagenet", classifier_activation=None)
    except Exception as error:
        # keras.utils.get_file raises a bare Exception when it cannot reach its host.
        if not str(error).startswith("URL fetch failure"):
            raise
        raise UserError(
            f"--weights=imagenet: {source.builder} could not be downloaded; put its file into "
            f"~/.keras/models, or give --weights=FILE"
        ) from error
    return copy(model, theirs, source)


def copy(model, theirs, source):
    """Copies every layer with weights from a network of keras.applications.

    Args:
        model: ours.
        theirs: the same architecture, of keras.applications.
        source: the `Published` that relates them.

    Returns:
        Names of our layers that were left fresh: of the head, if their shapes differ.

    Raises:
        UserError: a layer outside the head that does not fit.
    """
    layers = {layer.name: layer for layer in theirs.layers}
    fresh, bias = [], {}
    for layer in model.layers:
        if not layer.weights or layer.name.endswith("dropout") or "drop_path" in layer.name:
            continue
        other = layers[_translate(layer.name, source.names)]
        values = other.get_weights()
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = values
            mean = mean - bias.pop(layer.name.removesuffix("_norm"), 0.0)
            values = [gamma, beta, mean, variance + (other.epsilon - layer.epsilon)]
        elif len(values) == len(layer.get_weights()) + 1:
            *values, bias[layer.name] = values
        if layer.name == "stem_conv" and source.bgr:
            values[0] = values[0][:, :, ::-1]
        shapes = [value.shape for value in values], [value.shape for value in layer.get_weights()]
        if shapes[0] == shapes[1]:
            layer.set_weights(values)
        elif layer.name == "logits" or layer.name.startswith("head_dense"):
            fresh.append(layer.name)
        else:
            raise UserError(
                f"--weights=imagenet: {layer.name} has shapes {shapes[0]} there, {shapes[1]} in {model.name}"
            )
    preprocess = model.get_layer("preprocess")
    preprocess.scale = [1 / std for std in source.std]
    preprocess.offset = [-mean / std for mean, std in zip(source.mean, source.std, strict=True)]
    return fresh


def _translate(name, names):
    for pattern, replacement in names:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    raise KeyError(name)

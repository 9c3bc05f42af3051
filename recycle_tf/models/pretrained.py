"""Weights that others have published, each row from one documented source, and how they are copied.

`KERAS` come from keras.applications, which downloads and caches its own files; `TORCH` as `.safetensors` from
timm's repositories at the Hugging Face hub, whose client caches them. Both become
`{their layer's name: arrays}` (`tensors.py`) and are copied layer by layer. What differs between their
networks and ours is undone on the way, so that the logits are the same:

* a bias before a batch norm is taken off the norm's moving mean;
* the norm's epsilon is moved into the moving variance;
* where the file expects BGR, the stem's kernel is turned round to RGB;
* where it flattens maps channel by channel, the next dense kernel is turned round to pixel by pixel;
* its normalisation becomes the constants of `preprocess`.
"""

import dataclasses
import re

import keras

from recycle_tf.errors import UserError
from recycle_tf.layers import IMAGENET_MEAN, IMAGENET_STD
from recycle_tf.models import tensors, torch_names


@dataclasses.dataclass(frozen=True)
class Published:
    """Where a row's weights come from, and how that network differs from ours.

    Attributes:
        names: `(pattern, replacement)` pairs that turn a name of our layers into one of theirs; the first
            that matches all of it counts.
        epsilon: of their batch norms; None for what each of ours has.
        mean: what the weights expect to be subtracted from RGB pixels 0..255; None for what ours subtracts.
        std: what they expect to be divided by then.
        bgr: the file's stem expects BGR.
        channels_first: its first dense layer reads maps flattened channel by channel.
        builder: name of the function in keras.applications.
        repository: at the hub, with a `model.safetensors`.
    """

    names: tuple
    epsilon: float | None = 1e-5
    mean: tuple | None = IMAGENET_MEAN
    std: tuple = IMAGENET_STD
    bgr: bool = False
    channels_first: bool = False
    builder: str | None = None
    repository: str | None = None


@dataclasses.dataclass(frozen=True)
class Loaded:
    """What became of a file's tensors; as text, a line for the log.

    Attributes:
        layers: how many layers were filled.
        fresh: names of the layers of the head that were not, and why.
        skipped: names of the layers in the file that have no place here.
    """

    layers: int
    fresh: dict
    skipped: tuple = ()

    def __str__(self):
        said = [f"{self.layers} layers loaded"]
        said += [f"{name} left fresh ({reason})" for name, reason in self.fresh.items()]
        if self.skipped:
            said.append(f"skipped, as there are no such layers here: {', '.join(self.skipped)}")
        return "; ".join(said)


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

# What keras.applications has, as a download or an .h5 file.
KERAS = {
    **{f"vgg{n}": Published(VGG, builder=f"VGG{n}", **CAFFE) for n in (16, 19)},
    **{f"resnet{n}_v1": Published(RESNET, 1.001e-5, builder=f"ResNet{n}", **CAFFE) for n in (50, 101, 152)},
    **{f"densenet{n}": Published(DENSENET, 1.001e-5, builder=f"DenseNet{n}") for n in (121, 169, 201)},
    **{f"efficientnet_b{n}": Published(EFFICIENTNET, 1e-3, builder=f"EfficientNetB{n}") for n in range(8)},
}

HALF = {"mean": (127.5, 127.5, 127.5), "std": (127.5, 127.5, 127.5)}

# What torchvision and timm have, as a .safetensors file; from the hub where there is a repository.
TORCH = {
    **{
        f"resnet{n}": Published(torch_names.RESNET, repository=f"timm/resnet{n}.tv_in1k")
        for n in (18, 34, 50, 101, 152)
    },
    "se_resnet50": Published(torch_names.RESNET, repository="timm/seresnet50.ra2_in1k"),
    "densenet161": Published(torch_names.DENSENET, repository="timm/densenet161.tv_in1k"),
    "efficientnet_lite0": Published(
        torch_names.EFFICIENTNET_LITE, 1e-3, repository="timm/tf_efficientnet_lite0.in1k", **HALF
    ),
    **{f"densenet{n}": Published(torch_names.DENSENET) for n in (121, 169, 201)},
    "alexnet_one_tower": Published(torch_names.ALEXNET, channels_first=True),
    "googlenet_bn_3x3": Published(torch_names.GOOGLENET, 1e-3, **HALF),
}

OURS = Published(names=((r".*", r"\g<0>"),), epsilon=None, mean=None)


def load_imagenet(model):
    """Fills `model` with the weights that were published for its row, downloaded where they are not cached.

    Args:
        model: a model of `create_model`.

    Returns:
        A `Loaded`.

    Raises:
        UserError: nobody published weights for this row in a form that is safe to load, or there is no
            network.
    """
    if source := KERAS.get(model.name):
        return copy(model, _download_from_keras(source), source, "imagenet")
    if source := TORCH.get(model.name):
        if not source.repository:
            raise UserError(
                f"--weights=imagenet: {model.name} is published as a pickle (.pth) only, which can run "
                f"code and is not loaded; convert it once as docs/models.md shows, and give "
                f"--weights=FILE.safetensors"
            )
        path = _download_from_hub(source)
        return copy(model, tensors.read_safetensors(path), source, "imagenet")
    there_are = [*KERAS, *(arch for arch, row in TORCH.items() if row.repository)]
    raise UserError(
        f"--weights=imagenet: none are published for {model.name}; there are some for {', '.join(there_are)}"
    )


def _download_from_keras(source):
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
    return tensors.from_model(theirs)


def _download_from_hub(source):
    # Heavy, and needed here alone.
    import huggingface_hub

    try:
        return huggingface_hub.hf_hub_download(source.repository, "model.safetensors")
    except Exception as error:
        # The client lets errors of its HTTP library through, which is another one from version to version.
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(
            f"--weights=imagenet: model.safetensors of {source.repository} could not be downloaded; fetch it "
            f"elsewhere, and give --weights=FILE.safetensors ({reason})"
        ) from error


def copy(model, theirs, source, origin):
    """Copies a network's tensors into ours, layer by layer, and the constants of its normalisation.

    Args:
        model: ours.
        theirs: `{their layer's name: arrays}`, see `tensors.py`.
        source: the `Published` that relates them.
        origin: what the user gave as `--weights`, for messages.

    Returns:
        A `Loaded`. Layers of the head are left fresh if they have another shape here or are not there.

    Raises:
        UserError: the first layer outside the head that does not fit.
    """
    fresh, bias, asked = {}, {}, {}
    for layer in tensors.with_weights(model):
        name = asked[layer.name] = _translate(layer.name, source.names)
        is_head = layer.name == "logits" or layer.name.startswith("head_dense")
        if name not in theirs:
            if is_head:
                fresh[layer.name] = "not there"
                continue
            raise UserError(
                f"--weights={origin}: no {name or 'layer'} in it, for {layer.name} of {model.name}"
            )
        values, ours = theirs[name], layer.get_weights()
        if len(values) == len(ours) + 1:
            *values, bias[layer.name] = values
        if layer.name == "stem_conv" and source.bgr:
            values = [values[0][:, :, ::-1], *values[1:]]
        shapes = [value.shape for value in values], [value.shape for value in ours]
        if shapes[0] != shapes[1] and is_head:
            fresh[layer.name] = f"{shapes[0][0]} there, {shapes[1][0]} here"
            continue
        if shapes[0] != shapes[1]:
            raise UserError(
                f"--weights={origin}: {name} has shapes {shapes[0]}, {layer.name} of {model.name} "
                f"wants {shapes[1]}"
            )
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = values
            mean = mean - bias.pop(layer.name.removesuffix("_norm"), 0.0)
            if source.epsilon is not None:
                variance = variance + (source.epsilon - layer.epsilon)
            values = [gamma, beta, mean, variance]
        if layer.name == "head_dense1" and source.channels_first:
            shape = model.get_layer("features").output.shape[1:]
            values = [tensors.flattened_last(values[0], shape), *values[1:]]
        layer.set_weights(values)
    for name in bias:
        raise UserError(f"--weights={origin}: {asked[name]} has a bias, {name} of {model.name} has none")
    skipped = _skipped(theirs, asked, model, origin)
    if source.mean is not None:
        preprocess = model.get_layer("preprocess")
        preprocess.scale = [1 / std for std in source.std]
        preprocess.offset = [-mean / std for mean, std in zip(source.mean, source.std, strict=True)]
    return Loaded(len(asked) - len(fresh), fresh, skipped)


def _translate(name, names):
    for pattern, replacement in names:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    return None


def _skipped(theirs, asked, model, origin):
    """Names of the layers that nobody asked for.

    Raises:
        UserError: one of them is called like one that was asked for but for its numbers: the file is that of
            a deeper network, and what was taken from it would be a torso.
    """
    names = set(asked.values())
    kinds = {_numberless(name) for name in names}
    skipped = tuple(name for name in theirs if name not in names)
    for name in skipped:
        if _numberless(name) in kinds:
            raise UserError(f"--weights={origin}: {name} has no place in {model.name}: another depth")
    return skipped


def _numberless(name):
    # keras.applications and torchvision count blocks in letters too: block2a, inception3b.
    return re.sub(r"\d+[a-z]?", "#", name)

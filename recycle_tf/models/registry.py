"""Every architecture by name: a row of a family's table, and what can be said of it."""

import dataclasses
import fnmatch
import logging
import math
from collections.abc import Callable
from typing import Any

import keras

from recycle_tf.errors import UserError, did_you_mean
from recycle_tf.layers import DeformableConv2D
from recycle_tf.models import pretrained
from recycle_tf.models.recompute import RecomputedModel
from recycle_tf.models.weights import load


@dataclasses.dataclass(frozen=True)
class Paper:
    """Where a family comes from."""

    title: str
    year: int
    arxiv: str | None

    @property
    def source(self):
        """Where to find it, as a few words."""
        return f"arXiv {self.arxiv}" if self.arxiv else str(self.year)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a family's authors trained it, as they say it; `--recipe=paper` adapts it to a run.

    Attributes:
        learning_rate: the highest, with batches of `batch_size`.
        batch_size: pictures a step.
        weight_decay: factor of the weights that is added to their gradient.
        optimizer: `momentum`, `sgd` (momentum as Nesterov's) or `rmsprop`.
        schedule: `step`, or `exponential`.
        decay: what `step` multiplies the rate with each time, `exponential` in the whole training.
        decay_at: the shares of the training at which `step` does.
        warmup: epochs in which the rate grows from 0.
        label_smoothing: share of the label that is spread over all classes.
    """

    learning_rate: float
    batch_size: int
    weight_decay: float
    optimizer: str = "momentum"
    schedule: str = "step"
    decay: float = 0.1
    decay_at: str = "0.5,0.75"
    warmup: str = "0"
    label_smoothing: float = 0.0


@dataclasses.dataclass(frozen=True)
class Row:
    """One architecture: the family's builder and this row's settings."""

    config: Any
    build: Callable
    paper: Paper
    recipe: Recipe
    auxiliary: Callable | None


@dataclasses.dataclass(frozen=True)
class Description:
    """What an architecture costs, with a head of `num_classes`, at its default image size.

    `macs` counts the multiply-adds of convolutions and dense layers for one image; `activations` the
    numbers that those layers put out.
    """

    arch: str
    trainable: int
    non_trainable: int
    macs: int
    activations: int
    image_size: int
    paper: Paper


@dataclasses.dataclass(frozen=True)
class Stage:
    """A line of an architecture's table.

    `output_shape` is (height, width, channels), or (channels,) behind the pooling; `convs` are the
    convolutions of its last block, such as `3x3 64 /2`.
    """

    name: str
    output_shape: tuple
    blocks: int
    parameters: int
    convs: tuple


KNOWING_SIZES = (keras.layers.Flatten, keras.layers.Reshape, DeformableConv2D)
"""Layers that are made for maps of one size."""

_ROWS: dict[str, Row] = {}


def register(table, build, paper, recipe, auxiliary=None):
    """Enters a family.

    Args:
        table: `{arch: config}`; a config is the family's frozen dataclass and has `image_size`.
        build: `build(config, num_classes, image_size) -> (inputs, logits)`.
        paper: where it comes from, the same for every row.
        recipe: how it was trained, likewise.
        auxiliary: `auxiliary(config, model, num_classes) -> ([logits], weight)`, classifiers that help to
            train the family and are no part of its models.
    """
    for arch, config in table.items():
        _ROWS[arch] = Row(config, build, paper, recipe, auxiliary)


def list_models(pattern="*"):
    """Names that `create_model` takes, in the order of the tables.

    Rows called `test_…` are tiny stand-ins for tests; they are listed only when the pattern asks for them.
    """
    hidden = not pattern.startswith("test")
    return [
        arch for arch in _ROWS if fnmatch.fnmatch(arch, pattern) and not (hidden and arch.startswith("test_"))
    ]


def create_model(arch, num_classes, image_size=None, weights=None, remat=False, **overrides):
    """Builds a model with fresh weights, or with those of a file.

    The model takes RGB images `[batch, height, width, 3]` with values 0..255 (float32 or uint8) and
    returns float32 logits `[batch, num_classes]`.

    Args:
        arch: a name of `list_models()`.
        num_classes: width of the logits.
        image_size: height and width in pixels; the paper's if None.
        weights: None, `"imagenet"` for those that were published, or the path of a file of the same
            architecture: our `.keras` or `.weights.h5`, an `.h5` of keras.applications, or a
            `.safetensors` with torchvision's or timm's names. A head of another width is left fresh; the log
            says so, and what else was loaded and skipped.
        remat: recompute the inside of the blocks in training rather than keep it: less memory, more time.
        **overrides: fields of the family's dataclass, such as `drop_rate=0.2`.

    Raises:
        UserError: an unknown name, an override the family does not have, weights that do not fit, or `remat`
            for a network without blocks.

    Example:
        >>> model = create_model("resnet18", num_classes=6, image_size=128, filters=32)
    """
    row = find(arch)
    config = override(arch, row.config, overrides)
    image_size = image_size or config.image_size
    try:
        inputs, logits = row.build(config, num_classes, image_size)
    except (ValueError, TypeError, OverflowError, ZeroDivisionError) as error:
        # Keras says in many lines which layer could not be made.
        changed = ", ".join(f"{name}={value}" for name, value in overrides.items())
        raise UserError(
            f"{arch} cannot be built at {image_size} px"
            + (f" with {changed}" if changed else "")
            + f"; its own size is {row.config.image_size} px"
        ) from error
    model = (RecomputedModel if remat else keras.Model)(inputs, logits, name=arch)
    if weights is not None:
        loaded = pretrained.load_imagenet(model) if weights == "imagenet" else load(model, weights)
        level = logging.WARNING if loaded.fresh or loaded.skipped else logging.INFO
        logging.getLogger("recycle_tf").log(level, "weights %s: %s", weights, loaded)
    return model


def training_model(model, num_classes, model_class=keras.Model, any_size=False):
    """What is trained so that `model` learns: itself, or with auxiliary classifiers or another class.

    Args:
        model: one of `create_model`.
        num_classes: width of its logits.
        model_class: `keras.Model` or a class of it that trains otherwise, such as `RecomputedModel`; a matter
            of the training, so that `model` stays as it is.
        any_size: take pictures of any size.

    Returns:
        A model that shares all layers with `model`, and the weight of the loss of each of its
        classifiers. With one classifier its output is `model`'s; with several
        `[batch, classifiers, num_classes]`, `model`'s first.

    Raises:
        UserError: pictures of any size are wanted, and a layer knows theirs.
    """
    row, inputs, outputs, weights = find(model.name), model.input, model.output, [1.0]
    if row.auxiliary is not None:
        logits, weight = row.auxiliary(row.config, model, num_classes)
        outputs = keras.ops.stack([model.output, *logits], axis=1)
        weights += [weight] * len(logits)
    elif model_class is keras.Model and not any_size:
        return model, weights
    if any_size:
        inputs, outputs = _of_any_size(keras.Model(inputs, outputs, name=model.name))
    return model_class(inputs, outputs, name=model.name), weights


def _of_any_size(model):
    """Input and output of the same layers, called on pictures of any size."""
    knowing = [layer.name for layer in model.layers if isinstance(layer, KNOWING_SIZES)]
    if knowing:
        raise UserError(
            f"--progressive: {model.name} takes pictures of one size, as its layer {knowing[0]} does"
        )
    inputs = keras.Input((None, None, model.input_shape[-1]), name="image")
    opened = keras.models.clone_model(
        model,
        input_tensors=inputs,
        clone_function=lambda layer: layer,
        call_function=lambda layer, *tensors, **options: layer(*tensors, **options),
    )
    return opened.input, opened.output


def find(arch):
    """The row called `arch`; a UserError with the nearest names if there is none."""
    if arch not in _ROWS:
        raise UserError(f"--arch={arch}: no such architecture, {did_you_mean(arch, list_models())}")
    return _ROWS[arch]


def override(arch, config, overrides):
    """The row's settings with some replaced.

    Raises:
        UserError: a field that the family does not have, or a value of another type.
    """
    fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    for name, value in overrides.items():
        if name not in fields:
            raise UserError(f"{arch} has no setting {name!r}, {did_you_mean(name, fields)}")
        whole_for_real = type(fields[name]) is float and type(value) is int
        if type(value) is not type(fields[name]) and not whole_for_real:
            expected = type(fields[name]).__name__
            raise UserError(f"{arch}: {name}={value!r} should be of type {expected}, like {fields[name]!r}")
    return dataclasses.replace(config, **overrides)


def describe(arch, num_classes=1000, **overrides):
    """Counts of an architecture at its default image size; `overrides` as in `create_model`.

    Returns:
        A `Description`.
    """
    row = find(arch)
    model = create_model(arch, num_classes, **overrides)
    costs = [_cost(layer) for layer in model.layers]
    return Description(
        arch=arch,
        trainable=_size(model.trainable_variables),
        # Seeds of dropout are variables to Keras, but nothing a paper would count.
        non_trainable=_size(v for v in model.non_trainable_variables if "seed" not in v.path),
        macs=sum(macs for macs, _ in costs),
        activations=sum(activations for _, activations in costs),
        image_size=model.input_shape[1],
        paper=row.paper,
    )


def stages(arch, num_classes=1000):
    """The table of an architecture: stem, stages, head, at its default image size.

    Returns:
        A list of `Stage`.
    """
    groups = {}
    for layer in create_model(arch, num_classes).layers:
        prefix = layer.name.split("_")[0]
        if prefix == "logits" or prefix.startswith(("stem", "stage", "head")):
            groups.setdefault("head" if prefix == "logits" else prefix, []).append(layer)
    found = []
    for name, group in groups.items():
        blocks = list(dict.fromkeys(layer.name.split("_")[1] for layer in group if "_block" in layer.name))
        # The last one, which has no strides and projects nothing: as the papers' tables show them.
        shown = [layer for layer in group if not blocks or f"_{blocks[-1]}_" in f"{layer.name}_"]
        found.append(
            Stage(
                name=name,
                output_shape=tuple(group[-1].output.shape[1:]),
                blocks=len(blocks),
                parameters=sum(_size(layer.trainable_variables) for layer in group),
                convs=tuple(_written(layer) for layer in shown if hasattr(layer, "kernel_size")),
            )
        )
    return found


def _written(layer):
    """A convolution as papers write it."""
    kernel, strides = layer.kernel.shape[0], keras.tree.flatten(layer.strides)[0]
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    width = "depthwise" if depthwise else layer.filters
    return f"{kernel}x{kernel} {width}" + (f" /{strides}" if strides > 1 else "")


def _cost(layer):
    """(multiply-adds, activations) of one image; (0, 0) for what is neither convolution nor dense."""
    multiplies = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense, DeformableConv2D)
    if not isinstance(layer, multiplies):
        return 0, 0
    outputs = math.prod(layer.output.shape[1:])
    filters = layer.output.shape[-1]
    return outputs * math.prod(layer.kernel.shape) // filters, outputs


def _size(variables):
    return sum(math.prod(v.shape) for v in variables)

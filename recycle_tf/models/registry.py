"""Registry of architectures: a family registers its configurations by name, `create_model` builds them."""

import dataclasses
import fnmatch
import logging
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
    """The publication that describes an architecture.

    Attributes:
        title: title of the paper.
        year: year of the first version.
        source: where to find it, e.g. `arXiv 1512.03385` or `NIPS 2012`.
    """

    title: str
    year: int
    source: str


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How the authors trained an architecture; `--recipe=paper` adapts it to a run.

    Attributes:
        learning_rate: maximum learning rate, for batches of `batch_size`.
        batch_size: images per step.
        weight_decay: factor of the weights that is added to their gradient.
        optimizer: `momentum`, `sgd` (with Nesterov momentum) or `rmsprop`.
        schedule: `step` or `exponential`.
        decay: factor on the learning rate; at each step for `step`, over the whole run for `exponential`.
        decay_at: fractions of the run at which `step` multiplies the learning rate by `decay`.
        warmup: number of epochs in which the learning rate increases from 0.
        label_smoothing: probability that is spread evenly over all classes.
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
    """One architecture: its configuration and what its family registered. See `register`."""

    config: Any
    build: Callable
    paper: Paper
    recipe: Recipe
    auxiliary: Callable | None


FIXED_SIZE_LAYERS = (keras.layers.Flatten, keras.layers.Reshape, DeformableConv2D)
"""Layers that work only for the image size the model was built for."""

_ROWS: dict[str, Row] = {}


def register(table, build, paper, recipe, auxiliary=None):
    """Registers the architectures of a table.

    Args:
        table: `{arch: config}`; a config is an instance of the family's frozen dataclass and has the field
            `image_size`.
        build: `build(config, num_classes, image_size) -> (inputs, logits)`, symbolic tensors.
        paper: the `Paper` of all rows.
        recipe: the `Recipe` of all rows.
        auxiliary: `auxiliary(config, model, num_classes) -> ([logits], weight)` adds auxiliary classifiers
            that are used in training only, and gives the weight of their losses.
    """
    for arch, config in table.items():
        _ROWS[arch] = Row(config, build, paper, recipe, auxiliary)


def list_models(pattern="*"):
    """Returns the names of the architectures that match a shell pattern, in the order of the tables.

    Small architectures for tests, called `test_…`, are listed only if the pattern starts with `test`.
    """
    hide_tests = not pattern.startswith("test")
    return [
        arch
        for arch in _ROWS
        if fnmatch.fnmatch(arch, pattern) and not (hide_tests and arch.startswith("test_"))
    ]


def create_model(arch, num_classes, image_size=None, weights=None, remat=False, **overrides):
    """Builds a model, with random weights or with those of a file.

    The model takes RGB images `[batch, height, width, 3]` with values 0..255 (float32 or uint8) and
    returns float32 logits `[batch, num_classes]`.

    Args:
        arch: a name of `list_models()`.
        num_classes: number of logits.
        image_size: height and width in pixels; default: the size the architecture was published with.
        weights: None, `"imagenet"` for the published weights, or the path of a file of the same architecture:
            `.keras` or `.weights.h5` written by this package, `.h5` of keras.applications, or `.safetensors`
            with the names of torchvision or timm. A head with another number of classes keeps its random
            weights. The log lists what was loaded, not loaded, and skipped.
        remat: recompute the activations inside blocks in the backward pass: less memory, more time.
        **overrides: fields of the family's dataclass, e.g. `drop_rate=0.2`.

    Returns:
        A `keras.Model` named `arch`.

    Raises:
        UserError: unknown architecture or override, weights that do not fit, an image size that is too small,
            or `remat` for a network without blocks.

    Examples:
        >>> model = create_model("resnet18", num_classes=6, image_size=128, filters=32)
    """
    row = find(arch)
    config = override(arch, row.config, overrides)
    image_size = image_size or config.image_size
    try:
        inputs, logits = row.build(config, num_classes, image_size)
    except (ValueError, TypeError, ArithmeticError, AttributeError, NameError) as error:
        # Keras explains in many lines which layer failed; a table without rows leaves names undefined.
        changed = ", ".join(f"{name}={value}" for name, value in overrides.items())
        raise UserError(
            f"{arch} cannot be built at {image_size} px"
            + (f" with {changed}" if changed else "")
            + f"; its own size is {row.config.image_size} px"
        ) from error
    model = (RecomputedModel if remat else keras.Model)(inputs, logits, name=arch)
    if weights is not None:
        loaded = pretrained.load_imagenet(model) if weights == "imagenet" else load(model, weights)
        level = logging.WARNING if loaded.not_loaded or loaded.skipped else logging.INFO
        logging.getLogger("recycle_tf").log(level, "weights %s: %s", weights, loaded)
    return model


def training_model(model, num_classes, model_class=keras.Model, any_size=False, **overrides):
    """Returns the model to train: `model` itself, or a model that shares its layers.

    Args:
        model: a model from `create_model`.
        num_classes: number of its logits.
        model_class: `keras.Model` or a subclass with another training step, e.g. `RecomputedModel`. It
            applies to the returned model only.
        any_size: accept images of any size.
        **overrides: those that `create_model` was given.

    Returns:
        A model that shares all layers with `model`, and a list with the loss weight of each of its
        classifiers. With one classifier the output is that of `model`; with auxiliary classifiers it is
        `[batch, classifiers, num_classes]`, `model`'s logits first.

    Raises:
        UserError: `any_size`, and a layer depends on the image size.
    """
    row, inputs, outputs, weights = find(model.name), model.input, model.output, [1.0]
    if row.auxiliary is not None:
        logits, weight = row.auxiliary(override(model.name, row.config, overrides), model, num_classes)
        outputs = keras.ops.stack([model.output, *logits], axis=1)
        weights += [weight] * len(logits)
    elif model_class is keras.Model and not any_size:
        return model, weights
    if any_size:
        inputs, outputs = _with_any_size(keras.Model(inputs, outputs, name=model.name))
    return model_class(inputs, outputs, name=model.name), weights


def _with_any_size(model):
    """Input and output of the same layers, applied to images of any size."""
    for layer in model.layers:
        if isinstance(layer, FIXED_SIZE_LAYERS):
            raise UserError(
                f"`progressive`: {model.name} takes images of one size, because of its layer {layer.name}"
            )
    inputs = keras.Input((None, None, model.input_shape[-1]), name="image")
    clone = keras.models.clone_model(
        model,
        input_tensors=inputs,
        clone_function=lambda layer: layer,
        call_function=lambda layer, *tensors, **options: layer(*tensors, **options),
    )
    return clone.input, clone.output


def find(arch):
    """Returns the row called `arch`.

    Raises:
        UserError: unknown architecture; the message suggests similar names.
    """
    if arch not in _ROWS:
        raise UserError(f"`arch={arch}`: no such architecture, {did_you_mean(arch, list_models())}")
    return _ROWS[arch]


def override(arch, config, overrides):
    """Returns a copy of an architecture's configuration with some fields replaced.

    Args:
        arch: name of the architecture, for messages.
        config: an instance of the family's dataclass.
        overrides: `{field: value}`.

    Raises:
        UserError: a field that the family does not have, or a value of another type or out of range.
    """
    fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    for name, value in overrides.items():
        if name not in fields:
            raise UserError(f"`overrides`: {arch} has no setting {name!r}, {did_you_mean(name, fields)}")
        expected = type(fields[name])
        if type(value) is not expected and not (expected is float and type(value) is int):
            raise UserError(
                f"`overrides`: {name}={value!r} of {arch} should be of type {expected.__name__}, like "
                f"{fields[name]!r}"
            )
    try:
        return dataclasses.replace(config, **overrides)
    except TypeError:
        given = ", ".join(f"{name}={value!r}" for name, value in overrides.items())
        raise UserError(f"`overrides`: {given} of {arch} cannot be used; compare with {fields}") from None


def check_positive(config, *names):
    """Validates the fields of a configuration that count or scale something.

    Args:
        config: an instance of a family's dataclass.
        *names: of fields that hold a number, or a tuple of numbers with at least one.

    Raises:
        UserError: a value that is not above 0.
    """
    for name in names:
        value = getattr(config, name)
        if not min(value if isinstance(value, tuple) else (value,), default=0) > 0:
            raise UserError(f"`overrides`: {name}={value} is not valid; it must be above 0")


def check_choices(config, choices):
    """Validates the fields of a configuration that have a fixed set of values.

    Args:
        config: an instance of a family's dataclass.
        choices: `{field: valid values}`.

    Raises:
        UserError: an invalid value; the message suggests valid ones.
    """
    for name, valid in choices.items():
        value = getattr(config, name)
        if value not in valid:
            raise UserError(f"`overrides`: {name}={value} is not valid, {did_you_mean(value, valid)}")

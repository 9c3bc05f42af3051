"""Every architecture by name: a row of a family's table, and what can be said of it."""

import dataclasses
import fnmatch
import math
from collections.abc import Callable
from typing import Any

import keras

from recycle_tf.errors import UserError, did_you_mean
from recycle_tf.layers import DeformableConv2D


@dataclasses.dataclass(frozen=True)
class Paper:
    """Where a family comes from."""

    title: str
    year: int
    arxiv: str


@dataclasses.dataclass(frozen=True)
class Row:
    """One architecture: the family's builder and this row's settings."""

    config: Any
    build: Callable
    paper: Paper
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


_ROWS: dict[str, Row] = {}


def register(table, build, paper, auxiliary=None):
    """Enters a family.

    Args:
        table: `{arch: config}`; a config is the family's frozen dataclass and has `image_size`.
        build: `build(config, num_classes, image_size) -> (inputs, logits)`.
        paper: where it comes from, the same for every row.
        auxiliary: `auxiliary(config, model, num_classes) -> ([logits], weight)`, classifiers that help to
            train the family and are no part of its models.
    """
    for arch, config in table.items():
        _ROWS[arch] = Row(config, build, paper, auxiliary)


def list_models(pattern="*"):
    """Names that `create_model` takes, in the order of the tables.

    Rows called `test_…` are tiny stand-ins for tests; they are listed only when the pattern asks for them.
    """
    hidden = not pattern.startswith("test")
    return [
        arch for arch in _ROWS if fnmatch.fnmatch(arch, pattern) and not (hidden and arch.startswith("test_"))
    ]


def create_model(arch, num_classes, image_size=None, weights=None, **overrides):
    """Builds a model with fresh weights, or with those of a file.

    The model takes RGB images `[batch, height, width, 3]` with values 0..255 (float32 or uint8) and
    returns float32 logits `[batch, num_classes]`.

    Args:
        arch: a name of `list_models()`.
        num_classes: width of the logits.
        image_size: height and width in pixels; the paper's if None.
        weights: None, or the path of a `.keras` or `.weights.h5` file of the same architecture. A head
            of another width is left fresh.
        **overrides: fields of the family's dataclass, such as `drop_rate=0.2`.

    Raises:
        UserError: an unknown name, an override the family does not have, or weights that do not fit.

    Example:
        >>> model = create_model("resnet18", num_classes=6, image_size=128, filters=32)
    """
    row = find(arch)
    config = override(arch, row.config, overrides)
    inputs, logits = row.build(config, num_classes, image_size or config.image_size)
    model = keras.Model(inputs, logits, name=arch)
    if weights is not None:
        from recycle_tf.models.weights import load

        load(model, weights)
    return model


def training_model(model, num_classes):
    """What is trained so that `model` learns: the model itself, or with auxiliary classifiers attached.

    Args:
        model: one of `create_model`.
        num_classes: width of its logits.

    Returns:
        A model that shares all layers with `model`, and the weight of the loss of each of its
        classifiers. With one classifier its output is `model`'s; with several
        `[batch, classifiers, num_classes]`, `model`'s first.
    """
    row = find(model.name)
    if row.auxiliary is None:
        return model, [1.0]
    logits, weight = row.auxiliary(row.config, model, num_classes)
    outputs = keras.ops.stack([model.output, *logits], axis=1)
    return keras.Model(model.input, outputs, name=model.name), [1.0] + [weight] * len(logits)


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
        number = isinstance(fields[name], (int, float)) and isinstance(value, (int, float))
        if not (number or isinstance(value, type(fields[name]))):
            expected = type(fields[name]).__name__
            raise UserError(f"{arch}: {name}={value!r} should be a {expected}, like {fields[name]!r}")
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
        image_size=row.config.image_size,
        paper=row.paper,
    )


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

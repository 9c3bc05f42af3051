"""Parameters, multiply-adds and activations of an architecture, in total and per stage."""

import dataclasses
import math

import keras

from recycle_tf.layers import DeformableConv2D
from recycle_tf.models.recompute import block_of
from recycle_tf.models.registry import Paper, create_model, find


@dataclasses.dataclass(frozen=True)
class Description:
    """Size and cost of an architecture at one image size.

    Attributes:
        arch: name of the architecture.
        trainable: number of trainable parameters.
        non_trainable: number of other parameters (moving statistics).
        macs: multiply-adds of all convolutions and dense layers, for one image.
        activations: number of outputs of these layers, for one image.
        image_size: height and width of the input, in pixels.
        paper: the `Paper` that describes it.
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
    """One line of an architecture's table.

    Attributes:
        name: `stem`, `stage1`, … or `head`.
        output_shape: (height, width, channels), or (channels,) after the global pooling.
        blocks: number of blocks.
        parameters: number of trainable parameters.
        convs: the convolutions of the last block, e.g. `3x3 64 /2`.
    """

    name: str
    output_shape: tuple
    blocks: int
    parameters: int
    convs: tuple


def describe(arch, num_classes=1000, **overrides):
    """Counts the parameters and operations of an architecture at its default image size.

    Args:
        arch: a name of `list_models()`.
        num_classes: number of logits.
        **overrides: as in `create_model`.

    Returns:
        A `Description`.

    Raises:
        UserError: unknown architecture or override.
    """
    return describe_model(create_model(arch, num_classes, **overrides))


def describe_model(model):
    """As `describe`, of a model of `create_model` at its own size.

    Args:
        model: a Keras model that is named like its architecture.
    """
    costs = [layer_cost(layer) for layer in model.layers]
    return Description(
        arch=model.name,
        trainable=_size(model.trainable_variables),
        # Keras also counts the seeds of dropout layers, which are not parameters.
        non_trainable=_size(v for v in model.non_trainable_variables if "seed" not in v.path),
        macs=sum(macs for macs, _ in costs),
        activations=sum(activations for _, activations in costs),
        image_size=model.input_shape[1],
        paper=find(model.name).paper,
    )


def stages(arch, num_classes=1000):
    """Returns the table of an architecture at its default image size, as papers print it.

    Args:
        arch: a name of `list_models()`.
        num_classes: number of logits.

    Returns:
        A list of `Stage`: stem, stages, head.

    Raises:
        UserError: unknown architecture.
    """
    groups = {}
    for layer in create_model(arch, num_classes).layers:
        prefix = layer.name.split("_")[0]
        if prefix == "logits" or prefix.startswith(("stem", "stage", "head")):
            groups.setdefault("head" if prefix == "logits" else prefix, []).append(layer)
    return [_stage(name, layers) for name, layers in groups.items()]


def _stage(name, layers):
    blocks = list(dict.fromkeys(filter(None, (block_of(layer.name) for layer in layers))))
    # The last block, which has stride 1 and no projection, as in the tables of papers.
    shown = [layer for layer in layers if not blocks or block_of(layer.name) == blocks[-1]]
    return Stage(
        name=name,
        output_shape=tuple(layers[-1].output.shape[1:]),
        blocks=len(blocks),
        parameters=sum(_size(layer.trainable_variables) for layer in layers),
        convs=tuple(_notation(layer) for layer in shown if hasattr(layer, "kernel_size")),
    )


def _notation(conv):
    """A convolution as papers write it: kernel size, filters, and the stride if it is not 1."""
    kernel, strides = conv.kernel.shape[0], keras.tree.flatten(conv.strides)[0]
    filters = "depthwise" if isinstance(conv, keras.layers.DepthwiseConv2D) else conv.filters
    return f"{kernel}x{kernel} {filters}" + (f" /{strides}" if strides > 1 else "")


def layer_cost(layer):
    """(multiply-adds, activations) for one image; (0, 0) unless the layer is a convolution or dense."""
    counted = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense, DeformableConv2D)
    if not isinstance(layer, counted):
        return 0, 0
    outputs = math.prod(layer.output.shape[1:])
    filters = layer.output.shape[-1]
    return outputs * math.prod(layer.kernel.shape) // filters, outputs


def _size(variables):
    """Total number of elements."""
    return sum(math.prod(v.shape) for v in variables)

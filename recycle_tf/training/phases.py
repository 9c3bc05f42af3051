"""The parts of a training, one after the other: which layers learn in each of them, and how fast.

Both are one list of rates, pairs of a pattern and a multiplier: the learning rate of the layers whose names
begin with what the regular expression matches is multiplied; where several match, by all of them. 0 freezes:
the weights stay, and a batch norm also keeps its statistics and normalises with them.
"""

import dataclasses
import math
import re

import keras

from recycle_tf import layers
from recycle_tf.config import in_steps
from recycle_tf.errors import UserError

NORMS = r".*_norm$"
"""The batch norms."""


@dataclasses.dataclass(frozen=True)
class Phase:
    """Epochs that are run with one optimizer.

    Attributes:
        first_epoch: from 0.
        end_epoch: the one after its last.
        steps: batches.
        rates: pairs of a pattern and a multiplier.
    """

    first_epoch: int
    end_epoch: int
    steps: int
    rates: tuple


def plan(config, model, steps_per_epoch):
    """The phases of a training: if `head_epochs` asks for it the head alone first, and then all.

    Args:
        config: a `TrainConfig`.
        model: what is trained; its head is what comes after the layer `features`.
        steps_per_epoch: batches an epoch.

    Returns:
        A list of `Phase`.

    Raises:
        UserError: a pattern that no layer has, or nothing that learns.
    """
    steps = max(1, in_steps(config.epochs, steps_per_epoch))
    epochs = math.ceil(steps / steps_per_epoch)
    if config.head_epochs >= epochs:
        raise UserError(f"--head_epochs={config.head_epochs}: nothing is left of --epochs={config.epochs}")
    for pattern, _ in config.layer_multipliers():
        if not any(re.match(pattern, layer.name) for layer in model.layers):
            names = ", ".join(dict.fromkeys(layer.name.split("_")[0] for layer in model.layers))
            raise UserError(
                f"--freeze or --lr_multipliers: no layer begins with {pattern!r}; there are {names}, …"
            )
    rates = [*layers.LEARNING_RATE_MULTIPLIERS, *config.layer_multipliers()]
    rates += [(NORMS, 0.0)] * config.freeze_norms
    parts = _backbone(model)
    # Howard, Ruder, arXiv 1801.06146, section 3.2; a stage is what a layer is there.
    slower = [(part, config.layer_decay**distance) for distance, part in enumerate(reversed(parts), start=1)]
    phases = (
        [(0, config.head_epochs, [*rates, *((part, 0.0) for part in parts)])] if config.head_epochs else []
    )
    phases.append((config.head_epochs, epochs, [*rates, *slower]))
    phases = [
        Phase(first, end, min(end * steps_per_epoch, steps) - first * steps_per_epoch, tuple(rates))
        for first, end, rates in phases
    ]
    if not all(any(_multipliers(model, phase.rates).values()) for phase in phases):
        raise UserError(f"--freeze={config.freeze}: no layer is left that learns")
    return phases


def at(phases, epoch):
    """The phase to which an epoch belongs; the last where there is no such epoch any more."""
    return next((phase for phase in phases if epoch < phase.end_epoch), phases[-1])


def set_rates(model, rates):
    """Freezes and thaws the layers of a model, before it is compiled.

    Returns:
        The rates of the layers that learn, as pairs of a pattern of their variables' paths and a multiplier.
    """
    groups = {}
    for layer, multiplier in _multipliers(model, rates).items():
        layer.trainable = multiplier > 0
        groups.setdefault(multiplier, []).append(re.escape(layer.name))
    return [
        (f"^({'|'.join(names)})/", multiplier)
        for multiplier, names in groups.items()
        if multiplier not in (0, 1)
    ]


def _multipliers(model, rates):
    """`{layer: multiplier}` of the layers with weights."""
    return {
        layer: math.prod(multiplier for pattern, multiplier in rates if re.match(pattern, layer.name))
        for layer in model.layers
        if layer.weights
    }


def _backbone(model):
    """Patterns of what comes before the head, from the picture on: `["stem_", "stage1_", …]`."""
    features = model.get_layer("features").output
    backbone = keras.Model(keras.utils.get_source_inputs(features), features)
    names = [layer.name for layer in backbone.layers if layer.weights]
    return list(dict.fromkeys(f"{name.split('_')[0]}_" for name in names))

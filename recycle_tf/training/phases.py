"""The phases of a training run: which layers each of them trains, and at what fraction of the learning rate.

Both are given by one list of learning-rate multipliers, pairs of a regular expression and a factor. The
learning rate of each layer whose name starts with a match is multiplied by the factor; several factors
multiply. 0 freezes a layer: its weights do not change, and a batch-norm layer also retains its statistics and
normalizes with them.
"""

import dataclasses
import math
import re

import keras

from recycle_tf import layers
from recycle_tf.config import in_steps
from recycle_tf.errors import UserError

BATCH_NORMS = r".*_norm$"
"""Names of batch-norm layers."""


@dataclasses.dataclass(frozen=True)
class Phase:
    """Consecutive epochs that are trained with one optimizer.

    Attributes:
        first_epoch: index of its first epoch, from 0.
        end_epoch: index of the epoch after its last one.
        steps: number of batches.
        lr_multipliers: pairs of a layer-name pattern and a factor.
    """

    first_epoch: int
    end_epoch: int
    steps: int
    lr_multipliers: tuple


def length(config, steps_per_epoch):
    """`(epochs, steps)` of the whole run; the last epoch may be shorter than the others."""
    steps = max(1, in_steps(config.epochs, steps_per_epoch))
    return math.ceil(steps / steps_per_epoch), steps


def plan(config, model, steps_per_epoch, inference_model=None):
    """Plans the phases of a run: with `head_epochs` the head alone first, then, for what is left, all layers.

    Args:
        config: a `TrainConfig`.
        model: the model that is trained.
        steps_per_epoch: batches per epoch.
        inference_model: the model that is saved, if that is another one.

    Returns:
        A list of `Phase`.

    Raises:
        UserError: a pattern that matches no layer, or no layer is trained.
    """
    epochs, steps = length(config, steps_per_epoch)
    if config.head_epochs > epochs:
        raise UserError(f"`head_epochs={config.head_epochs}`: more than `epochs={config.epochs}`")
    _check_patterns(config, model)
    common = [
        *layers.LEARNING_RATE_MULTIPLIERS,
        *config.layer_multipliers(),
        *[(BATCH_NORMS, 0.0)] * config.freeze_norms,
    ]
    stages = _backbone(inference_model or model)
    # Discriminative fine-tuning, Howard and Ruder, arXiv 1801.06146, section 3.2, per stage instead of layer.
    decayed = [
        (stage, config.layer_decay**distance) for distance, stage in enumerate(reversed(stages), start=1)
    ]
    head = (0, config.head_epochs, [*common, *((stage, 0.0) for stage in stages)])
    whole = (config.head_epochs, epochs, [*common, *decayed])
    phases = [
        Phase(first, end, min(end * steps_per_epoch, steps) - first * steps_per_epoch, tuple(multipliers))
        for first, end, multipliers in (head, whole)
        if first < end
    ]
    for phase in phases:
        if not any(_multipliers(model, phase.lr_multipliers).values()):
            given = [
                f"`{name}={value}`"
                for name in ("freeze", "lr_multipliers")
                if (value := getattr(config, name))
            ]
            alone = f"the head, which `head_epochs={config.head_epochs}` trains alone"
            what = alone if config.head_epochs and not phase.first_epoch else "all layers"
            raise UserError(f"{' and '.join(given)}: freezes {what}")
    return phases


def _check_patterns(config, model):
    for pattern, _ in config.layer_multipliers():
        if not any(re.match(pattern, layer.name) for layer in _layers(model)):
            names = ", ".join(dict.fromkeys(layer.name.split("_")[0] for layer in _layers(model)))
            raise UserError(
                f"`freeze` or `lr_multipliers`: no layer name starts with {pattern!r}; choose from {names}"
            )


def phase_at(phases, epoch):
    """The phase of an epoch; the last one if training has already ended."""
    return next((phase for phase in phases if epoch < phase.end_epoch), phases[-1])


def set_lr_multipliers(model, lr_multipliers):
    """Freezes and unfreezes the layers of a model. To be called before it is compiled.

    Args:
        model: the model that is trained.
        lr_multipliers: pairs of a layer-name pattern and a factor.

    Returns:
        `lr_multipliers` for `make_optimizer`: pairs of a pattern of variable paths and a factor, for the
        layers that are trained at a factor other than 1.
    """
    groups = {}
    for layer, multiplier in _multipliers(model, lr_multipliers).items():
        layer.trainable = multiplier > 0
        groups.setdefault(multiplier, []).append(re.escape(layer.name))
    return [
        (f"^({'|'.join(names)})/", multiplier)
        for multiplier, names in groups.items()
        if multiplier not in (0, 1)
    ]


def _multipliers(model, lr_multipliers):
    """`{layer: factor}` of all layers with weights."""
    return {
        layer: math.prod(factor for pattern, factor in lr_multipliers if re.match(pattern, layer.name))
        for layer in _layers(model)
        if layer.weights
    }


def _layers(model):
    """The layers of a model; those that compute several as one, by `parts`, are replaced by these."""
    return [part for layer in model.layers for part in getattr(layer, "parts", [layer])]


def _backbone(model):
    """Patterns of the stages before `features`, in order from the image: `["stem_", "stage1_", …]`."""
    features = model.get_layer("features").output
    # Not `get_source_inputs`, which follows every path: a dense block of n layers has 2^n.
    backbone = keras.Model(model.inputs, features)
    names = [layer.name for layer in backbone.layers if layer.weights]
    return list(dict.fromkeys(f"{name.split('_')[0]}_" for name in names))

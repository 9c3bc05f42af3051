"""How the learning rate goes, and what it drives."""

import re

import keras

RATE_MULTIPLIERS = ((r"_offset/", 0.1),)
"""Layers that learn more slowly, by a pattern of their variables' paths: the offsets of deformable ones."""


def warmup_cosine(peak, steps, warmup_steps):
    """From 0 up to `peak` in `warmup_steps`, then down to 0 along a cosine; `steps` in all."""
    if not warmup_steps:
        return keras.optimizers.schedules.CosineDecay(peak, steps)
    return keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warmup_steps), warmup_target=peak, warmup_steps=warmup_steps
    )


def make_optimizer(name, learning_rate, weight_decay):
    """A Keras optimizer with decoupled weight decay, which biases and norms are spared.

    Args:
        name: `adamw`, `sgd` (momentum 0.9, Nesterov), `lion` or `lamb`.
        learning_rate: a number or a schedule.
        weight_decay: times the learning rate, taken off each weight at each step.
    """
    optimizers = {
        "adamw": keras.optimizers.AdamW,
        "sgd": lambda *a, **k: keras.optimizers.SGD(*a, momentum=0.9, nesterov=True, **k),
        "lion": keras.optimizers.Lion,
        "lamb": keras.optimizers.Lamb,
    }
    optimizer = optimizers[name](learning_rate, weight_decay=weight_decay)
    _slow_down(optimizer)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _slow_down(optimizer):
    """Multiplies the rate of the variables that `RATE_MULTIPLIERS` names; Keras has one rate for all."""
    update = optimizer.update_step

    def update_step(gradient, variable, learning_rate):
        # What arrives is the backend's variable, which has no path.
        path = optimizer._trainable_variables[optimizer._get_variable_index(variable)].path
        for pattern, multiplier in RATE_MULTIPLIERS:
            if re.search(pattern, path):
                learning_rate = learning_rate * multiplier
        return update(gradient, variable, learning_rate)

    optimizer.update_step = update_step

"""How the learning rate goes."""

import keras


def warmup_cosine(peak, steps, warmup_steps):
    """From 0 up to `peak` in `warmup_steps`, then down to 0 along a cosine; `steps` in all."""
    if not warmup_steps:
        return keras.optimizers.schedules.CosineDecay(peak, steps)
    return keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warmup_steps), warmup_target=peak, warmup_steps=warmup_steps
    )

"""Learning-rate schedules."""

import keras
from keras.optimizers import schedules

ONE_CYCLE_RISE = 0.3
"""Fraction of a one-cycle schedule in which the learning rate rises."""


def make_schedule(name, peak, steps, warmup_steps=0, decay=0.1, decay_at=()):
    """Builds a learning-rate schedule.

    Args:
        name: `cosine`, `step`, `exponential`, `constant`, or `one_cycle`: from a 25th of the peak up to it
            and down to 0 along a cosine (Smith and Topin, Super-Convergence, arXiv 1708.07120).
        peak: the highest learning rate.
        steps: number of training steps.
        warmup_steps: steps in which the learning rate rises linearly from 0; unused by `one_cycle`.
        decay: factor of `step` at each of `decay_at`, and of `exponential` over the whole training.
        decay_at: fractions of the training at which `step` decays.

    Returns:
        A `keras.optimizers.schedules.LearningRateSchedule`.
    """
    if name == "one_cycle":
        rise = max(1, int(ONE_CYCLE_RISE * steps))
        return schedules.CosineDecay(peak / 25, max(1, steps - rise), warmup_target=peak, warmup_steps=rise)
    if name == "cosine":
        if not warmup_steps:
            return schedules.CosineDecay(peak, steps)
        falling = max(1, steps - warmup_steps)
        return schedules.CosineDecay(0.0, falling, warmup_target=peak, warmup_steps=warmup_steps)
    if name == "step":
        # Keras applies the lower learning rate from the step after a boundary on.
        boundaries = [max(0, round(fraction * steps) - 1) for fraction in decay_at]
        values = [peak * decay**number for number in range(len(boundaries) + 1)]
        schedule = schedules.PiecewiseConstantDecay(boundaries, values)
    else:
        schedule = schedules.ExponentialDecay(peak, steps, decay if name == "exponential" else 1.0)
    return WarmUp(schedule, warmup_steps) if warmup_steps else schedule


@keras.saving.register_keras_serializable("recycle_tf")
class WarmUp(schedules.LearningRateSchedule):
    """Multiplies a schedule by a factor that rises linearly from 0 to 1.

    Of Keras' own schedules only `CosineDecay` has a warm-up.

    Args:
        schedule: a `LearningRateSchedule`.
        warmup_steps: number of steps until the factor is 1.
    """

    def __init__(self, schedule, warmup_steps):
        super().__init__()
        self.schedule = schedule
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        """The learning rate at a step."""
        fraction = keras.ops.cast(step, "float32") / self.warmup_steps
        return self.schedule(step) * keras.ops.minimum(fraction, 1.0)

    def get_config(self):
        """Arguments of the constructor, for serialization."""
        return {"schedule": schedules.serialize(self.schedule), "warmup_steps": self.warmup_steps}

    @classmethod
    def from_config(cls, config):
        """Builds a schedule from `get_config`."""
        return cls(**{**config, "schedule": schedules.deserialize(config["schedule"])})

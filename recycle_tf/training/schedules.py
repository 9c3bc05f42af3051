"""How the learning rate goes."""

import keras
from keras.optimizers import schedules

ONE_CYCLE_RISE = 0.3
"""Share of a cycle in which the rate grows."""


def make_schedule(name, peak, steps, warmup_steps=0, decay=0.1, decay_at=()):
    """The learning rate as a function of the step.

    Args:
        name: `cosine`, `step`, `exponential`, `constant`, or `one_cycle`: from a 25th of the peak up to it
            and down to 0 along a cosine (Smith, Topin: Super-Convergence, arXiv 1708.07120).
        peak: the highest rate.
        steps: of the training.
        warmup_steps: in which the rate grows from 0; a cycle has its own.
        decay: what `step` multiplies the rate with at each of `decay_at`, `exponential` in all.
        decay_at: shares of the training.

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
        # Keras has the lower rate from the step after a boundary on.
        boundaries = [max(0, round(share * steps) - 1) for share in decay_at]
        rates = [peak * decay**number for number in range(len(boundaries) + 1)]
        schedule = schedules.PiecewiseConstantDecay(boundaries, rates)
    else:
        schedule = schedules.ExponentialDecay(peak, steps, decay if name == "exponential" else 1.0)
    return WarmUp(schedule, warmup_steps) if warmup_steps else schedule


@keras.saving.register_keras_serializable("recycle_tf")
class WarmUp(schedules.LearningRateSchedule):
    """Another schedule, times what grows from 0 to 1 in `warmup_steps`. Of Keras' own, one alone can that."""

    def __init__(self, schedule, warmup_steps):
        super().__init__()
        self.schedule = schedule
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        """The rate at a step."""
        share = keras.ops.cast(step, "float32") / self.warmup_steps
        return self.schedule(step) * keras.ops.minimum(share, 1.0)

    def get_config(self):
        """Arguments that make the same schedule."""
        return {"schedule": schedules.serialize(self.schedule), "warmup_steps": self.warmup_steps}

    @classmethod
    def from_config(cls, config):
        """The schedule of such arguments."""
        return cls(**{**config, "schedule": schedules.deserialize(config["schedule"])})

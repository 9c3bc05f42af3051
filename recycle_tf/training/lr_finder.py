"""Which learning rate? A training in which it grows from far too low to far too high says.

Smith: Cyclical Learning Rates for Training Neural Networks, 2015, arXiv 1506.01186, section 3.3.
"""

import pathlib

import keras
import numpy as np
from matplotlib.figure import Figure

from recycle_tf.errors import UserError
from recycle_tf.files import replacing

LOWEST, HIGHEST = 1e-6, 10.0
STEPS = 120
SMOOTHING = 0.9
"""Share of the losses before in the mean that is looked at."""
EXPLODED = 3
"""Times the lowest mean, from which on a rate is too high."""


class Recorder(keras.callbacks.Callback):
    """Notes rate and loss of each step, and ends where the loss explodes.

    Attributes:
        rates: of each step.
        losses: moving means.
    """

    def on_train_begin(self, logs=None):
        """Begins."""
        self.rates, self.losses = [], []
        self.mean = self.total = 0.0

    def on_train_batch_end(self, batch, logs=None):
        """Notes a step; Keras tells the mean of all of them."""
        total = logs["loss"] * (batch + 1)
        loss, self.total = total - self.total, total
        self.mean = SMOOTHING * self.mean + (1 - SMOOTHING) * loss
        # The mean begins at 0, which this takes out again.
        smoothed = self.mean / (1 - SMOOTHING ** (batch + 1))
        if not np.isfinite(smoothed) or smoothed > EXPLODED * min(self.losses, default=np.inf):
            self.model.stop_training = True
            return
        self.rates.append(LOWEST * (HIGHEST / LOWEST) ** (batch / STEPS))
        self.losses.append(smoothed)


def draw(model, batches, path="lr_finder.png"):
    """Trains a model for some steps, draws what became of the loss, and prints the rate to take.

    Args:
        model: compiled, as for the training that the rate is for; of no use afterwards.
        batches: of the training.
        path: of the picture.

    Raises:
        UserError: the loss never falls.
    """
    model.optimizer.learning_rate = keras.optimizers.schedules.ExponentialDecay(
        LOWEST, STEPS, HIGHEST / LOWEST
    )
    recorder = Recorder()
    model.fit(batches, steps_per_epoch=STEPS, shuffle=False, verbose=0, callbacks=[recorder])
    rate = suggest(recorder.rates, recorder.losses)
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.semilogx(recorder.rates, recorder.losses, color="#1f6f8b")
    axes.axvline(rate, color="#888888", linestyle=":")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set(xlabel="learning rate", ylabel="loss", title=f"{model.name}: falls fastest at {rate:.2g}")
    path = pathlib.Path(path).resolve()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=100)
    print(f"rate      --learning_rate={rate:.2g}: there the loss falls fastest; see {path}")


def suggest(rates, losses):
    """The middle of the decade of rates in which the loss falls most, on the way to its minimum.

    A decade, because between neighbouring steps the batch decides more than the rate.

    Args:
        rates: growing by the same factor.
        losses: as many, smoothed.

    Raises:
        UserError: it never falls.
    """
    decade = int(np.searchsorted(rates, 10 * rates[0]))
    before = np.array(losses[: int(np.argmin(losses)) + 1])
    falls = before[:-decade] - before[decade:]
    if not falls.size or falls.max() <= 0:
        raise UserError(f"--lr_finder: the loss falls at no rate from {LOWEST:g} to {HIGHEST:g}")
    return float(rates[int(falls.argmax()) + decade // 2])

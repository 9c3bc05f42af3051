"""Learning-rate range test: trains while the learning rate grows, and suggests where the loss falls fastest.

Smith, Cyclical Learning Rates for Training Neural Networks, arXiv 1506.01186, section 3.3.
"""

import keras
import numpy as np
from matplotlib.figure import Figure

from recycle_tf.errors import UserError
from recycle_tf.files import replacing, writing

LOWEST, HIGHEST = 1e-6, 10.0
STEPS = 120
SMOOTHING = 0.9
"""Weight of the earlier losses in the moving average."""
EXPLODED = 3
"""Factor over the lowest average from which on the loss has exploded."""


def find(model, batches, path):
    """Trains a model at growing learning rates, plots the loss and suggests a learning rate.

    Args:
        model: a model that is compiled as for the training run; its weights are of no use afterwards.
        batches: training batches.
        path: `pathlib.Path` of the plot, a PNG file.

    Returns:
        The learning rate, a float.

    Raises:
        UserError: the loss never falls.
    """
    model.optimizer.learning_rate = keras.optimizers.schedules.ExponentialDecay(
        LOWEST, STEPS, HIGHEST / LOWEST
    )
    recorder = Recorder()
    model.fit(batches, steps_per_epoch=STEPS, shuffle=False, verbose=0, callbacks=[recorder])
    learning_rate = suggest(recorder.learning_rates, recorder.losses)
    draw(recorder.learning_rates, recorder.losses, learning_rate, model.name, path)
    return learning_rate


class Recorder(keras.callbacks.Callback):
    """Records learning rate and loss of each step, and stops when the loss explodes.

    Attributes:
        learning_rates: learning rate of each step.
        losses: moving average of the loss at each step.
    """

    def on_train_begin(self, logs=None):
        """Starts with empty lists."""
        self.learning_rates, self.losses = [], []
        self.mean = self.total = 0.0

    def on_train_batch_end(self, batch, logs=None):
        """Records a step. Keras reports the mean over all steps, from which the loss of this one follows."""
        total = logs["loss"] * (batch + 1)
        loss, self.total = total - self.total, total
        self.mean = SMOOTHING * self.mean + (1 - SMOOTHING) * loss
        # The average starts at 0; this corrects the bias.
        smoothed = self.mean / (1 - SMOOTHING ** (batch + 1))
        if not np.isfinite(smoothed) or smoothed > EXPLODED * min(self.losses, default=np.inf):
            self.model.stop_training = True
            return
        self.learning_rates.append(LOWEST * (HIGHEST / LOWEST) ** (batch / STEPS))
        self.losses.append(smoothed)


def suggest(learning_rates, losses):
    """The middle of the decade in which the loss falls most before its minimum.

    A whole decade, because between neighboring steps the batches matter more than the learning rate.

    Args:
        learning_rates: increasing by a constant factor.
        losses: smoothed loss at each of them.

    Returns:
        One of `learning_rates`.

    Raises:
        UserError: the loss never falls.
    """
    if not len(learning_rates):
        raise UserError("`lr_finder`: the loss is not a number at its first step; are the weights damaged?")
    decade = int(np.searchsorted(learning_rates, 10 * learning_rates[0]))
    until_minimum = np.array(losses[: int(np.argmin(losses)) + 1])
    falls = until_minimum[:-decade] - until_minimum[decade:]
    if not falls.size or falls.max() <= 0:
        raise UserError(f"`lr_finder`: the loss never falls at learning rates from {LOWEST:g} to {HIGHEST:g}")
    return float(learning_rates[int(falls.argmax()) + decade // 2])


def draw(learning_rates, losses, suggested, title, path):
    """Plots the loss over the learning rate. Does not touch matplotlib's global state.

    Args:
        learning_rates: x values, on a logarithmic axis.
        losses: y values.
        suggested: the learning rate to mark.
        title: start of the title.
        path: `pathlib.Path` of the PNG file.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.semilogx(learning_rates, losses, color="#1f6f8b")
    axes.axvline(suggested, color="#888888", linestyle=":")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set(xlabel="learning rate", ylabel="loss", title=f"{title}: falls fastest at {suggested:.2g}")
    with writing(path), replacing(path) as temporary:
        figure.savefig(temporary, dpi=100)

"""Is one network better than another? Paired statistics on the same images."""

import dataclasses
import math

import numpy as np

RESAMPLES = 10_000


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two networks' predictions on the same images.

    Attributes:
        examples: number of images.
        accuracy: of both, 0..1.
        only_first: images that only the first predicts correctly.
        only_second: images that only the second predicts correctly.
        p_value: exact McNemar test, two-sided: the probability of a difference at least this large between
            two networks that are equally good.
        interval: 95 % bootstrap interval of the first's accuracy minus the second's, 0..1.
    """

    examples: int
    accuracy: tuple
    only_first: int
    only_second: int
    p_value: float
    interval: tuple

    def __str__(self):
        first, second = (f"{100 * accuracy:.1f} %" for accuracy in self.accuracy)
        low, high = (100 * bound for bound in self.interval)
        return (
            f"{first} against {second} on {self.examples} images: difference {low:+.1f} to {high:+.1f} "
            f"points (95 % interval); only the first is right on {self.only_first}, only the second on "
            f"{self.only_second}; McNemar p = {self.p_value:.2g}"
        )


def compare(first, second, labels, seed=0):
    """Compares two networks.

    McNemar, Psychometrika 12 (1947), 153-157, in its exact binomial form; recommended for two classifiers on
    one test set by Dietterich, Neural Computation 10 (1998).

    Args:
        first: probabilities of the first, `[examples, num_classes]`.
        second: probabilities of the second, of the same images.
        labels: true classes, `[examples]`.
        seed: of the bootstrap.

    Returns:
        A `Comparison`.
    """
    right = [probabilities.argmax(axis=1) == labels for probabilities in (first, second)]
    only_first, only_second = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    # To draw images with replacement is to draw how many of each of three kinds.
    kinds = np.array([only_first, only_second, len(labels) - only_first - only_second]) / len(labels)
    drawn = np.random.default_rng(seed).multinomial(len(labels), kinds, RESAMPLES)
    interval = np.quantile((drawn[:, 0] - drawn[:, 1]) / len(labels), (0.025, 0.975))
    return Comparison(
        len(labels),
        tuple(float(r.mean()) for r in right),
        only_first,
        only_second,
        mcnemar(only_first, only_second),
        tuple(map(float, interval)),
    )


def mcnemar(only_first, only_second):
    """Two-sided p-value of the exact McNemar test, from the numbers of discordant images."""
    discordant = only_first + only_second
    fewer = min(only_first, only_second)
    tail = sum(math.comb(discordant, k) for k in range(fewer + 1)) / 2**discordant
    return min(1.0, 2 * tail)

"""The verdict on an artifact: does it answer as Keras does? Pure NumPy, on the probabilities of a test split.

Two kinds of difference are told apart.

*Rounding* moves every logit a little. It is measured where it arises, in the logits: `logit_error` is the
root-mean-square difference of the log probabilities, relative to their spread. A temperature multiplies both,
so that confident and hesitant networks are judged alike; a probability in the middle of its range amplifies
the same rounding up to a quarter of the logits' scale, which is why a bound on the largest difference of a
probability rejects sound files. Expected sizes, for a network of L layers whose errors add up like noise:

* float16 weights: a relative rounding error of 2^-11 / sqrt(3) = 0.03 % per layer, 0.2 % for L = 50;
* int8 weights and activations: about 1 % each per layer, 5 % to 15 %;
* a wrong channel order, resize or normalization: 20 % to more than 100 %.

*Damage* changes answers. Accuracy alone shows it badly: on 431 images, a loss of 1 point is 4 images, which
chance explains as well. So a drop is held against `max_drop` and against chance (McNemar's exact test on the
images that only one of the two answers correctly; Psychometrika 12 (1947), 153-157), and a flip counts only
if both Keras and the artifact are sure of their answers: where one of them hesitates, so does an app.
"""

import dataclasses
import math

import numpy as np

EXACT, HALF, WEIGHTS, INTEGER = "exact", "half", "weights", "integer"
"""How a format computes: as Keras, with float16 weights, with int8 weights, or in integers."""

MAX_LOGIT_ERROR = {EXACT: 1e-4, HALF: 0.01, WEIGHTS: 0.1, INTEGER: 0.1}
"""Bound of `logit_error`; docs/quantization.md has the measurements."""

MAX_SHIFT = {EXACT: 1e-3, HALF: 0.05}
"""Bound of the probability that moves to other classes in any one image. A user sees whole percents, and 5 of
them as another answer. Integers are not held to it: single images may move further without a flip."""

CONFIDENT = 0.1
"""Margin, in probability, from which an answer counts as sure."""

MAX_CONFIDENT_FLIPS = {EXACT: 0.0, HALF: 0.0, WEIGHTS: 0.01, INTEGER: 0.01}
"""Share of the images that may flip while both sides are sure; at least one image where it is not 0."""

SIGNIFICANCE = 0.05
"""Probability of chance below which a loss of accuracy counts as real."""

SMALLEST = 5e-3
"""Probabilities below this are all 0 % to a user, and at the limit of an integer softmax of 8 bits."""

LEAST_SPREAD = 1.0
"""In nats. A calibrated network whose logits spread less hardly tells one image from another, and rounding
cannot make that worse."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a comparison with Keras found.

    Attributes:
        accuracy: of the artifact on the split, 0..1.
        drop: accuracy lost against Keras, in points (hundredths); negative if it gained.
        drop_error: standard error of `drop`, in points.
        chance: probability of losing at least this much if both were equally good (McNemar, one-sided).
        recall_change: `{label: recall gained against Keras, in points}`; None for a class without images.
        examples: number of images.
        flips: number of images with another answer than Keras.
        confident_flips: flips where both margins are larger than `CONFIDENT`.
        largest_margin: the largest margin of a flip, as `find_flips` defines it.
        logit_error: root-mean-square error of the logits, relative to their spread.
        max_gap: largest difference of a probability.
        mean_gap: mean difference of a probability.
        max_shift: largest probability, over images, that moved to other classes (total variation distance).
        failure: why the artifact is rejected, or None.
    """

    accuracy: float
    drop: float
    drop_error: float
    chance: float
    recall_change: dict
    examples: int
    flips: int
    confident_flips: int
    largest_margin: float
    logit_error: float
    max_gap: float
    mean_gap: float
    max_shift: float
    failure: str | None


def answers(probabilities):
    """All that can be answered: the classes, and last "unlike the training images".

    Args:
        probabilities: of the classes, `[examples, num_classes]`; what is missing to a sum of 1 is the
            probability that an image is unlike the training images.

    Returns:
        `[examples, num_classes + 1]`.
    """
    missing = np.maximum(1 - probabilities.sum(axis=1, keepdims=True), 0)
    return np.concatenate([probabilities, missing], axis=1)


def find_flips(found, expected):
    """Images that an artifact answers differently from Keras, most confident first.

    An image that one of them calls unlike the training images is a flip too.

    Args:
        found: probabilities of the artifact, `[examples, num_classes]`.
        expected: those of Keras, for the same images.

    Returns:
        Indices of the images, and the margin of each: how much both prefer their own answer to that of the
        other, as a difference of probabilities; the smaller of the two.
    """
    found, expected = answers(found), answers(expected)
    own, other = expected.argmax(axis=1), found.argmax(axis=1)
    at = np.flatnonzero(own != other)
    own, other = own[at], other[at]
    keras = expected[at, own] - expected[at, other]
    artifact = found[at, other] - found[at, own]
    margins = np.minimum(keras, artifact)
    order = np.argsort(-margins, kind="stable")
    return at[order], margins[order]


def logit_error(found, expected):
    """Root-mean-square difference of the logits, relative to their spread; unaffected by a temperature.

    Logits are log probabilities of at least `SMALLEST`, centered in each image. Their spread is the standard
    deviation around the mean of each class over all images, or `LEAST_SPREAD` if that is larger.

    Args:
        found: probabilities of the artifact, `[examples, num_classes]`.
        expected: those of Keras, for the same images.

    Returns:
        0 if both agree; 1 if the error is as large as what distinguishes the images.
    """
    found, expected = _logits(found), _logits(expected)
    error = np.sqrt(np.square(found - expected).mean())
    spread = np.sqrt(np.square(expected - expected.mean(axis=0)).mean())
    return float(error / max(spread, LEAST_SPREAD))


def chance_of_loss(lost, won):
    """McNemar's exact test: the probability of at least `lost` losses among `lost + won` fair coin flips."""
    trials = lost + won
    return sum(math.comb(trials, count) for count in range(lost, trials + 1)) / 2**trials


def judge(found, expected, labels, names, max_drop, precision):
    """Compares the probabilities of an artifact with those of Keras.

    Args:
        found: probabilities of the artifact, `[examples, num_classes]`; see `answers`.
        expected: those of Keras, for the same images.
        labels: true classes, `[examples]`.
        names: of the classes.
        max_drop: points of accuracy that quantization may cost.
        precision: `EXACT`, `HALF`, `WEIGHTS` or `INTEGER`; decides the bounds.

    Returns:
        A `Verdict`. Values that are NaN or infinite count as 0 in its figures.
    """
    finite, trusted = np.isfinite(found).all(), np.isfinite(expected).all()
    found, expected = (np.where(np.isfinite(one), one, 0) for one in (found, expected))
    right, right_before = found.argmax(axis=1) == labels, expected.argmax(axis=1) == labels
    change = right.astype(int) - right_before
    lost, won = int((change < 0).sum()), int((change > 0).sum())
    drop = -float(change.mean())
    _, margins = find_flips(found, expected)
    gap = np.abs(answers(found) - answers(expected))
    verdict = Verdict(
        accuracy=float(right.mean()),
        drop=100 * drop,
        drop_error=100 * float(np.sqrt(max(0, (lost + won) / len(labels) - drop**2) / len(labels))),
        chance=chance_of_loss(lost, won),
        recall_change={
            name: 100 * float(change[labels == index].mean()) if (labels == index).any() else None
            for index, name in enumerate(names)
        },
        examples=len(labels),
        flips=len(margins),
        confident_flips=int((margins > CONFIDENT).sum()),
        largest_margin=float(margins.max(initial=0)),
        logit_error=logit_error(found, expected),
        max_gap=float(gap.max()),
        mean_gap=float(gap.mean()),
        max_shift=float(gap.sum(axis=1).max() / 2),
        failure=None,
    )
    failure = _failure(verdict, precision, max_drop) if finite else "it answers NaN or infinity"
    if not trusted:
        failure = "the Keras model answers NaN or infinity"
    return dataclasses.replace(verdict, failure=failure)


def _failure(verdict, precision, max_drop):
    """Why a verdict is a rejection, the most telling reason first; or None."""
    allowed = MAX_CONFIDENT_FLIPS[precision] * verdict.examples
    allowed = max(1, math.floor(allowed)) if allowed else 0
    if verdict.drop > max_drop and verdict.chance < SIGNIFICANCE:
        return (
            f"it loses {verdict.drop:.1f} points of accuracy, more than `max_drop={max_drop:g}` and more "
            f"than chance explains (p = {verdict.chance:.2g})"
        )
    if verdict.confident_flips > allowed:
        return (
            f"it answers {verdict.confident_flips} of {verdict.examples} images differently from Keras where "
            f"both are sure by {CONFIDENT:g}; at most {allowed} may"
        )
    if verdict.logit_error > MAX_LOGIT_ERROR[precision]:
        return (
            f"its logits differ by {verdict.logit_error:.2g} of their spread, more than "
            f"{MAX_LOGIT_ERROR[precision]:g}"
        )
    if verdict.max_shift > MAX_SHIFT.get(precision, math.inf):
        return (
            f"it moves {verdict.max_shift:.2g} of the probability of an image to other classes, more than "
            f"{MAX_SHIFT[precision]:g}"
        )
    return None


def _logits(probabilities):
    logits = np.log(np.maximum(np.float64(probabilities), SMALLEST))
    return logits - logits.mean(axis=1, keepdims=True)

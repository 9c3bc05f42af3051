"""Compares an artifact with the Keras model on every image of a split, in the runtime of its users."""

import dataclasses
import statistics
import time

import numpy as np

NEAR_TIE = 0.1
"""Margin of the Keras model between two classes below which a quantized file may answer either."""

MAX_FLIPS = 0.01
"""Share of the images that a quantized file may answer differently beyond a near-tie.

docs/export.md describes how both numbers were set.
"""

BATCH = 32
TURNS, TIMED_CALLS = 10, 3


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Result of a comparison with the Keras model.

    Attributes:
        accuracy: of the artifact on the split, 0..1.
        drop: accuracy lost compared with Keras, in points (hundredths); negative if it gained.
        recall_change: label -> recall gained compared with Keras, in points; None for a class without images.
        examples: number of images compared.
        flips: number of images that the artifact and Keras answer differently.
        flips_beyond_tie: those of them where the margin of Keras is larger than a tie (float formats) or a
            near-tie (quantized formats).
        largest_margin: largest margin of Keras among the flips, as a difference of probabilities.
        max_gap: largest difference of a probability.
        mean_gap: mean difference of a probability.
        failure: why the file must not be shipped, or None.
    """

    accuracy: float
    drop: float
    recall_change: dict
    examples: int
    flips: int
    flips_beyond_tie: int
    largest_margin: float
    max_gap: float
    mean_gap: float
    failure: str | None


def replay(predict, images, progress):
    """An artifact's probabilities for every image.

    Args:
        predict: uint8 images `[batch, image_size, image_size, 3]` -> probabilities `[batch, num_classes]`.
        images: the images of a split, uint8.
        progress: wraps the iteration over batches, as tqdm does.
    """
    batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    return np.concatenate([predict(batch) for batch in progress(batches)])


def find_flips(found, expected):
    """Finds the images that an artifact and Keras answer differently, most confident answers of Keras first.

    Args:
        found: the artifact's probabilities, `[examples, num_classes]`.
        expected: those of Keras for the same images.

    Returns:
        Indices of the images, and the margin of Keras for each: its probability of its own answer minus its
        probability of the artifact's answer.
    """
    own, other = expected.argmax(axis=1), found.argmax(axis=1)
    indices = np.flatnonzero(own != other)
    margins = expected[indices, own[indices]] - expected[indices, other[indices]]
    order = np.argsort(-margins, kind="stable")
    return indices[order], margins[order]


def judge(found, expected, labels, names, max_drop, max_gap=None):
    """Compares an artifact's probabilities with those of Keras.

    Args:
        found: the artifact's, `[examples, num_classes]`.
        expected: those of Keras for the same images.
        labels: true classes, `[examples]`.
        names: names of the classes.
        max_drop: gate of quantized formats: points of accuracy that may be lost.
        max_gap: gate of float formats: largest allowed difference of a probability. Where Keras' own two
            probabilities differ by less than this, either answer is right: a tie. None for quantized formats.

    Returns:
        A `Verdict`. NaN and infinity count as 0 in its figures.
    """
    finite = np.isfinite(found).all()
    found = np.where(np.isfinite(found), found, 0)
    gap = np.abs(found - expected)
    right, right_before = found.argmax(axis=1) == labels, expected.argmax(axis=1) == labels
    _, margins = find_flips(found, expected)
    change = right.astype(int) - right_before
    verdict = Verdict(
        accuracy=float(right.mean()),
        drop=100 * float(right_before.mean() - right.mean()),
        recall_change={
            name: 100 * float(change[labels == index].mean()) if (labels == index).any() else None
            for index, name in enumerate(names)
        },
        examples=len(labels),
        flips=len(margins),
        flips_beyond_tie=int((margins > (NEAR_TIE if max_gap is None else max_gap)).sum()),
        largest_margin=float(margins.max(initial=0)),
        max_gap=float(gap.max()),
        mean_gap=float(gap.mean()),
        failure=None if finite else "its probabilities are NaN or infinite",
    )
    if not finite:
        return verdict
    failure = _quantized_failure(verdict, max_drop) if max_gap is None else _float_failure(verdict, max_gap)
    return dataclasses.replace(verdict, failure=failure)


def _float_failure(verdict, max_gap):
    """Why a file of a float format fails, or None."""
    if verdict.max_gap > max_gap:
        return f"a probability differs by {verdict.max_gap:.2g}, more than {max_gap:g}"
    if verdict.flips_beyond_tie:
        return (
            f"it answers differently where the margin of Keras is {verdict.largest_margin:.2g}, more than a "
            f"tie ({max_gap:g})"
        )
    return None


def _quantized_failure(verdict, max_drop):
    """Why a file of a quantized format fails, or None."""
    if verdict.drop > max_drop:
        return f"it loses {verdict.drop:.1f} points of accuracy, more than `max_drop={max_drop:g}`"
    if verdict.flips_beyond_tie > max(1, MAX_FLIPS * verdict.examples):
        return (
            f"it answers differently for {verdict.flips_beyond_tie} of {verdict.examples} images where the "
            f"margin of Keras is above {NEAR_TIE:g}; allowed are {MAX_FLIPS:.0%}"
        )
    return None


def time_alternately(predictors, image):
    """Measures how long one image takes; the predictors take turns, so that other load affects all alike.

    Args:
        predictors: `{name: predict}`, each for one uint8 image.
        image: the image, `[image_size, image_size, 3]`.

    Returns:
        `{name: median in milliseconds}`.
    """
    taken = {name: [] for name in predictors}
    for _ in range(TURNS):
        for name, predict in predictors.items():
            # The first call is not timed: the caches still hold the other networks.
            predict(image)
            for _ in range(TIMED_CALLS):
                start = time.perf_counter()
                predict(image)
                taken[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(times) for name, times in taken.items()}

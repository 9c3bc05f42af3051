"""Does an artifact answer like the model? Asked of every picture of a split, in the runtime of its users."""

import dataclasses
import statistics
import time

import numpy as np

MAX_GAP = {
    "saved_model": 1e-4,
    "tflite_float32": 1e-4,
    "onnx": 1e-4,
    "tflite_float16": 1e-2,
    "web": 1e-2,
}
"""Largest difference of a probability that float formats may show. The others are held to their accuracy.

Where Keras' own two probabilities are nearer to each other than this, either answer is right: a tie.
"""

NEAR_TIE = 0.1
"""Keras' margin between two classes below which a quantised format may answer either."""

MAX_FLIPS = 0.01
"""Share of the pictures for which a quantised format may answer otherwise than Keras beyond a near-tie.

How both were set is in docs/export.md.
"""

BATCH = 32
TURNS, TIMED_CALLS = 10, 3


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a comparison with Keras found.

    Attributes:
        accuracy: of the artifact on the split, 0..1.
        drop: accuracy lost against Keras, in points (hundredths); negative if it gained.
        recall_change: label -> recall won against Keras, in points; None for a class without pictures.
        examples: how many pictures were asked about.
        flips: for how many of them the answer is another than Keras'.
        flips_beyond_tie: those of them where Keras' margin is more than a tie (float formats) or a near-tie.
        largest_margin: Keras' largest margin among the flips, as a difference of probabilities.
        max_gap: largest difference of a probability.
        mean_gap: mean difference of a probability.
        failure: why it must not be shipped, or None.
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


def replay(predict, pictures, progress):
    """An artifact's probabilities of every picture.

    Args:
        predict: uint8 pictures `[batch, image_size, image_size, 3]` -> probabilities `[batch, num_classes]`.
        pictures: of a split, uint8.
        progress: wraps the iteration over batches, as tqdm does.
    """
    batches = [pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH)]
    return np.concatenate([predict(batch) for batch in progress(batches)])


def find_flips(found, expected):
    """Where an artifact answers otherwise than Keras, Keras' surest first.

    Args:
        found: the artifact's probabilities, `[examples, num_classes]`.
        expected: Keras', of the same pictures.

    Returns:
        Indices of the pictures, and for each Keras' margin: its probability of its own answer less that of
        the artifact's.
    """
    own, other = expected.argmax(axis=1), found.argmax(axis=1)
    indices = np.flatnonzero(own != other)
    margins = expected[indices, own[indices]] - expected[indices, other[indices]]
    order = np.argsort(-margins, kind="stable")
    return indices[order], margins[order]


def judge(format_name, found, expected, labels, names, max_drop):
    """Compares an artifact's probabilities with Keras'.

    Args:
        format_name: decides the gate.
        found: the artifact's, `[examples, num_classes]`.
        expected: Keras', of the same pictures.
        labels: true classes, `[examples]`.
        names: of the classes.
        max_drop: points of accuracy that quantisation may cost.

    Returns:
        A `Verdict`. What is not finite counts as 0 in its figures.
    """
    finite = np.isfinite(found).all()
    found = np.where(np.isfinite(found), found, 0)
    gap = np.abs(found - expected)
    right, right_before = found.argmax(axis=1) == labels, expected.argmax(axis=1) == labels
    drop = 100 * float(right_before.mean() - right.mean())
    _, margins = find_flips(found, expected)
    limit = MAX_GAP.get(format_name)
    tie = NEAR_TIE if limit is None else limit
    beyond = int((margins > tie).sum())
    largest = float(margins.max(initial=0))
    failure = None
    if not finite:
        failure = "it answers with numbers that are not finite"
    elif limit is not None and gap.max() > limit:
        failure = f"a probability differs by {gap.max():.2g}, more than {limit:g}"
    elif limit is not None and beyond:
        failure = f"it answers otherwise where Keras' margin is {largest:.2g}, more than a tie ({tie:g})"
    elif limit is None and drop > max_drop:
        failure = f"it loses {drop:.1f} points of accuracy, more than --max_drop={max_drop:g}"
    elif limit is None and beyond > max(1, MAX_FLIPS * len(labels)):
        failure = (
            f"it answers otherwise for {beyond} of {len(labels)} pictures where Keras' margin is more than "
            f"{tie:g}, at most {MAX_FLIPS:.0%} may"
        )
    change = right.astype(int) - right_before
    return Verdict(
        accuracy=float(right.mean()),
        drop=drop,
        recall_change={
            name: 100 * float(change[labels == index].mean()) if (labels == index).any() else None
            for index, name in enumerate(names)
        },
        examples=len(labels),
        flips=len(margins),
        flips_beyond_tie=beyond,
        largest_margin=largest,
        max_gap=float(gap.max()),
        mean_gap=float(gap.mean()),
        failure=failure,
    )


def time_alternately(predictors, picture):
    """How long one picture takes, each predictor in turn, so that a busy moment hits them all alike.

    Args:
        predictors: `{name: predict}`, of one uint8 picture.
        picture: the picture, `[image_size, image_size, 3]`.

    Returns:
        `{name: median in milliseconds}`.
    """
    taken = {name: [] for name in predictors}
    for _ in range(TURNS):
        for name, predict in predictors.items():
            # The caches still hold the other networks.
            predict(picture)
            for _ in range(TIMED_CALLS):
                start = time.perf_counter()
                predict(picture)
                taken[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(times) for name, times in taken.items()}

"""Does an artifact answer like the model? Asked of every picture of a split, in the runtime of its users."""

import dataclasses

import numpy as np

MAX_GAP = {"saved_model": 1e-4, "tflite_float32": 1e-4, "tflite_float16": 1e-2}
"""Largest difference of a probability that float formats may show. The others are held to their accuracy."""

MIN_AGREEMENT = 0.8
"""Share of the answers that a quantised format must have in common with Keras, whatever its accuracy."""

BATCH = 32


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a comparison with Keras found.

    Attributes:
        accuracy: of the artifact on the split, 0..1.
        drop: accuracy lost against Keras, in points (hundredths); negative if it gained.
        agreement: share of the pictures with the same answer as Keras.
        max_gap: largest difference of a probability.
        mean_gap: mean difference of a probability.
        failure: why it must not be shipped, or None.
    """

    accuracy: float
    drop: float
    agreement: float
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


def judge(format_name, found, expected, labels, max_drop):
    """Compares an artifact's probabilities with Keras'.

    Args:
        format_name: decides the gate.
        found: the artifact's, `[examples, num_classes]`.
        expected: Keras', of the same pictures.
        labels: true classes.
        max_drop: points of accuracy that quantisation may cost.

    Returns:
        A `Verdict`.
    """
    gap = np.abs(found - expected)
    accuracy, before = _accuracy(found, labels), _accuracy(expected, labels)
    drop = 100 * (before - accuracy)
    agreement = float((found.argmax(1) == expected.argmax(1)).mean())
    limit = MAX_GAP.get(format_name)
    failure = None
    if not np.isfinite(found).all():
        failure = "it answers with numbers that are not finite"
    elif limit is not None and gap.max() > limit:
        failure = f"a probability differs by {gap.max():.2g}, more than {limit:g}"
    elif limit is None and drop > max_drop:
        failure = f"it loses {drop:.1f} points of accuracy, more than --max_drop={max_drop:g}"
    elif limit is None and agreement < MIN_AGREEMENT:
        failure = (
            f"it answers as Keras does for {agreement:.1%} of the pictures, fewer than {MIN_AGREEMENT:.0%}"
        )
    return Verdict(
        accuracy=accuracy,
        drop=drop,
        agreement=agreement,
        max_gap=float(gap.max()),
        mean_gap=float(gap.mean()),
        failure=failure,
    )


def _accuracy(probabilities, labels):
    return float((probabilities.argmax(axis=1) == labels).mean())

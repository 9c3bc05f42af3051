"""Figures over a whole split, from its predictions and NumPy."""

import keras
import numpy as np

CALIBRATION_BINS = 10


def predict_probabilities(model, dataset, verbose=0):
    """Softmax of a model's logits for every image of a dataset.

    Args:
        model: a Keras model with logits.
        dataset: of (images, labels) batches, every example once.
        verbose: 1 for a progress bar.

    Returns:
        float32 `[examples, num_classes]`, in the dataset's order.
    """
    logits = model.predict(dataset.map(lambda images, _: images), verbose=verbose)
    return keras.ops.convert_to_numpy(keras.ops.softmax(logits))


def summarise(probabilities, labels, names):
    """What is worth knowing of a classification.

    Args:
        probabilities: `[examples, num_classes]`.
        labels: index of the true class, `[examples]`.
        names: of the classes.

    Returns:
        A dict for JSON: `examples`, `accuracy`, `log_loss` (nats), `calibration_error` (expected, 10 bins),
        `per_class` (precision, recall, f1, examples of each) and `confusion` (rows: true class).
    """
    predicted = probabilities.argmax(axis=1)
    confusion = np.zeros((len(names), len(names)), int)
    np.add.at(confusion, (labels, predicted), 1)
    hits, found, there = np.diag(confusion), confusion.sum(axis=0), confusion.sum(axis=1)
    true_probability = probabilities[np.arange(len(labels)), labels]
    shares, _, accuracies, confidences = calibration(probabilities, labels)
    return {
        "examples": len(labels),
        "accuracy": float((predicted == labels).mean()),
        "log_loss": float(-np.log(np.maximum(true_probability, 1e-12)).mean()),
        "calibration_error": float((shares * np.abs(accuracies - confidences)).sum()),
        "per_class": {
            name: {
                "precision": float(hits[i] / max(1, found[i])),
                "recall": float(hits[i] / max(1, there[i])),
                "f1": float(2 * hits[i] / max(1, found[i] + there[i])),
                "examples": int(there[i]),
            }
            for i, name in enumerate(names)
        },
        "confusion": confusion.tolist(),
    }


def calibration(probabilities, labels, bins=CALIBRATION_BINS):
    """How often predictions of a given confidence are right.

    Returns:
        For each of `bins` equal intervals of confidence: share of the examples, lower edge, accuracy and mean
        confidence (both 0 in an empty one).
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    accuracy = np.bincount(place, right, bins) / np.maximum(count, 1)
    mean_confidence = np.bincount(place, confidence, bins) / np.maximum(count, 1)
    return count / len(labels), np.arange(bins) / bins, accuracy, mean_confidence


def table(summary):
    """The per-class figures as lines of text, the whole split below."""
    width = max(len("all"), *map(len, summary["per_class"]))
    lines = [f"{'class':{width}}  precision  recall     f1  examples"]
    for name, row in summary["per_class"].items():
        lines.append(
            f"{name:{width}}  {row['precision']:9.3f}  {row['recall']:6.3f}  {row['f1']:5.3f}"
            f"  {row['examples']:8d}"
        )
    lines.append(f"{'all':{width}}  accuracy {summary['accuracy']:.4f}, {summary['examples']} examples")
    return "\n".join(lines)

"""Calibration: one temperature that makes confidences match accuracies, and the threshold for "not sure".

Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks, arXiv 1706.04599, section 4.2: the
logits are divided by the number that minimizes the log loss on the validation split. No prediction changes.
A run is calibrated when its training ends; report, `predict` and every artifact use that temperature.
"""

import json

import numpy as np

from recycle_tf.evaluation import metrics
from recycle_tf.files import replacing

RIGHT = 0.95
"""Accuracy that the answers at or above the confidence threshold must reach on the validation split."""

COLDEST, HOTTEST = 0.05, 20.0
"""Search range of the temperature; an overconfident network needs one above 1."""


def calibrate_run(run, model, batches, labels):
    """Calibrates a run's model on its validation split and writes `calibration.json`.

    Args:
        run: a `runs.Run`.
        model: its best model; its logits are divided by the temperature afterwards.
        batches: (images, labels) batches of the validation split, every example once.
        labels: true classes of the validation split, `[examples]`.

    Returns:
        The dict that was written; see `calibrate`.
    """
    logits = model.predict(batches.map(lambda images, _: images), verbose=0)
    found = calibrate(logits, labels, run.labels)
    with replacing(run.calibration_file) as temporary:
        temporary.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    set_temperature(model, found["temperature"])
    return found


def load_calibrated_model(run):
    """A run's best model with calibrated logits: softmax gives the probabilities that its artifacts give.

    A run that was never calibrated (its training has not ended) has temperature 1.

    Raises:
        UserError: there is no model yet, or a file is damaged.
    """
    model = run.load_model()
    if run.calibration:
        set_temperature(model, run.calibration["temperature"])
    return model


def calibrate(logits, labels, names):
    """Finds the temperature and the confidence threshold of a model.

    Args:
        logits: of the validation split, `[examples, num_classes]`.
        labels: true classes, `[examples]`.
        names: of the classes.

    Returns:
        A dict: `temperature`, `threshold`, and under `calibration` their effect on the split: log loss (nats)
        and expected calibration error before and after; share and accuracy of the answers at or above the
        threshold.
    """
    temperature = find_temperature(logits, labels)
    before, after = (metrics.summarise(softmax(logits / t), labels, names) for t in (1, temperature))
    probabilities = softmax(logits / temperature)
    threshold = find_threshold(probabilities, labels)
    given = probabilities.max(axis=1) >= threshold
    right = probabilities.argmax(axis=1) == labels
    return {
        "temperature": temperature,
        "threshold": threshold,
        "calibration": {
            "split": "validation",
            "examples": len(labels),
            "log_loss_before": before["log_loss"],
            "log_loss_after": after["log_loss"],
            "calibration_error_before": before["calibration_error"],
            "calibration_error_after": after["calibration_error"],
            "share_above_threshold": float(given.mean()),
            "accuracy_above_threshold": float(right[given].mean()) if given.any() else None,
        },
    }


def find_temperature(logits, labels):
    """The temperature with the lowest log loss, by golden-section search: the loss has a single minimum."""
    logits = np.float64(logits)
    chosen = logits[np.arange(len(labels)), labels]

    def loss(exponent):
        scaled = logits / np.exp(exponent)
        top = scaled.max(axis=1)
        return (top + np.log(np.exp(scaled - top[:, None]).sum(axis=1)) - chosen / np.exp(exponent)).mean()

    low, high = np.log(COLDEST), np.log(HOTTEST)
    ratio = (np.sqrt(5) - 1) / 2
    while high - low > 1e-6:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return float(np.exp((low + high) / 2))


def find_threshold(probabilities, labels, right=RIGHT):
    """The lowest confidence at or above which the accuracy is at least `right`.

    Args:
        probabilities: `[examples, num_classes]`.
        labels: true classes, `[examples]`.
        right: accuracy, 0..1.

    Returns:
        0..1; 1.01, which no answer reaches, if there is none.
    """
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    hits = (probabilities.argmax(axis=1) == labels)[order]
    accuracy = np.cumsum(hits) / np.arange(1, len(labels) + 1)
    # Answers of equal confidence stay together.
    last = np.append(np.diff(confidence[order]) < 0, True)
    fit = np.flatnonzero((accuracy >= right) & last)
    return float(confidence[order][fit[-1]]) if len(fit) else 1.01


def set_temperature(model, temperature):
    """Divides a model's logits by a temperature, in the weights of its last layer: free at inference."""
    layer = model.get_layer("logits")
    layer.set_weights([weight / temperature for weight in layer.get_weights()])


def softmax(logits):
    """Probabilities, in double precision."""
    exponentials = np.exp(np.float64(logits) - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)

"""Calibration: one temperature that makes confidences match accuracies, and the threshold for "not sure".

Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks, arXiv 1706.04599, section 4.2: the
logits are divided by the number that minimizes the log loss on the validation split. No prediction changes.
A run is calibrated when its training ends; report, `predict` and every artifact use that temperature, and the
familiarity (`evaluation.familiarity`) that is found at the same time.
"""

import json

import keras
import numpy as np

from recycle_tf.data import pipeline
from recycle_tf.evaluation import familiarity, metrics
from recycle_tf.files import replacing

RIGHT = 0.95
"""Accuracy that the answers at or above the confidence threshold must reach on the validation split."""

COLDEST, HOTTEST = 0.05, 20.0
"""Search range of the temperature; an overconfident network needs one above 1."""


def calibrate_run(run, model, batches, labels, training):
    """Calibrates a run's model and writes `calibration.json` and `components.npy`.

    Args:
        run: a `runs.Run`.
        model: its best model; its logits are divided by the temperature afterwards.
        batches: (images, labels) batches of the validation split, every example once.
        labels: true classes of the validation split, `[examples]`.
        training: (images, labels) batches of training images, as `training_images` chooses them.

    Returns:
        As `calibrate_model`.
    """
    found, familiar = calibrate_model(model, batches, labels, training, run.labels)
    familiarity.save(run.components_file, familiar)
    with replacing(run.calibration_file) as temporary:
        temporary.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return found, familiar


def calibrate_model(model, batches, labels, training, names):
    """Calibrates a model: finds temperature, familiarity and threshold.

    Args:
        model: its logits are divided by the temperature afterwards.
        batches: as in `calibrate_run`.
        labels: as in `calibrate_run`.
        training: as in `calibrate_run`.
        names: of the classes.

    Returns:
        A dict as of `calibrate`, with the entry `unlike` of `Familiarity.as_json`; and the `Familiarity`.
    """
    network = familiarity.with_features(model)
    logits, features = network.predict(batches.map(lambda images, _: images), verbose=0)
    _, known = network.predict(training.map(lambda images, _: images), verbose=0)
    familiar = familiarity.fit(known, features, len(names))
    found = calibrate(logits, labels, names, keras.ops.convert_to_numpy(familiar.of(features)))
    set_temperature(model, found["temperature"])
    return {**found, "unlike": familiar.as_json()}, familiar


def training_images(split, seed):
    """The training images whose features are decomposed, as a `sources.Split`: equally many per class."""
    return pipeline.class_balanced(split, familiarity.TRAINING_IMAGES, seed)


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


def load_answering_model(run):
    """A run's calibrated model with its familiarity, for `familiarity.probabilities`.

    Raises:
        UserError: there is no model yet, or a file is damaged.
    """
    return familiarity.attach_stored(load_calibrated_model(run), run)


def calibrate(logits, labels, names, familiar=None):
    """Finds the temperature and the confidence threshold of a model.

    Args:
        logits: of the validation split, `[examples, num_classes]`.
        labels: true classes, `[examples]`.
        names: of the classes.
        familiar: familiarity of the images, `[examples, 1]`, or None.

    Returns:
        A dict: `temperature`, `threshold`, and under `calibration` their effect on the split: log loss (nats)
        and expected calibration error before and after; share and accuracy of the answers at or above the
        threshold. Familiarity counts for the threshold, and for what is at or above it; not for the
        temperature.
    """
    temperature = find_temperature(logits, labels)
    before, after = (metrics.summarise(softmax(logits / t), labels, names) for t in (1, temperature))
    probabilities = softmax(logits / temperature)
    lowest = 0.0
    if familiar is not None:
        probabilities = probabilities * familiar
        # An image that is unlike the training images does not reach this, whatever an app knows of it.
        lowest = 1 - familiarity.THRESHOLD
    threshold = max(lowest, find_threshold(probabilities, labels))
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

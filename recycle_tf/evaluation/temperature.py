"""One temperature that makes probabilities say how often they are right, and from where on to believe them.

Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks" (arXiv:1706.04599), section 4.2:
the logits are divided by the one number that makes the validation split likeliest. It changes no answer.
"""

import numpy as np

from recycle_tf.evaluation import metrics

RIGHT = 0.95
"""How often an answer has to be right that an app gives without "not sure"."""

COLDEST, HOTTEST = 0.05, 20.0
"""Between these the temperature is looked for; an overconfident network wants one above 1."""


def calibrate(logits, labels, names):
    """What `spec.json` says of calibration.

    Args:
        logits: of the validation split, `[examples, num_classes]`.
        labels: true classes, `[examples]`.
        names: of the classes.

    Returns:
        `temperature`, `threshold` and, as `calibration`, what they did on the split: log loss (nats) and
        calibration error before and after, and of the answers at or above the threshold their share of all
        and how many of them are right.
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
    """The temperature of the least log loss, by golden section: the loss has one valley."""
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


def find_threshold(probabilities, labels):
    """The lowest confidence such that of the answers with at least this one `RIGHT` are right.

    Returns:
        0..1; above 1, which none reaches, if there is none.
    """
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    right = (probabilities.argmax(axis=1) == labels)[order]
    accuracy = np.cumsum(right) / np.arange(1, len(labels) + 1)
    # Answers of one confidence are given together.
    last = np.append(np.diff(confidence[order]) < 0, True)
    fit = np.flatnonzero((accuracy >= RIGHT) & last)
    return float(confidence[order][fit[-1]]) if len(fit) else 1.01


def set_temperature(model, temperature):
    """Divides a model's logits by a temperature, in the weights that make them, so that it costs nothing."""
    layer = model.get_layer("logits")
    layer.set_weights([weight / temperature for weight in layer.get_weights()])


def softmax(logits):
    """Probabilities, in double precision."""
    exponentials = np.exp(np.float64(logits) - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)

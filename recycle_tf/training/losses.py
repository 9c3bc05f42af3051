"""What a training makes small, and what it is judged by."""

import keras
import numpy as np


def class_weights(class_balance, class_counts):
    """A weight a class, float32 `[classes]`; over the training pictures their mean is 1."""
    counts = np.maximum(class_counts, 1)
    weights = counts.sum() / (len(counts) * counts) if class_balance == "weights" else np.ones(len(counts))
    return weights.astype(np.float32)


def make_loss(weights, label_smoothing, class_weights, focal_gamma=None):
    """Cross-entropy (or, with a gamma, focal loss) of one classifier, or the weighted sum of several.

    A picture that MixUp or CutMix has put together of two weighs what each of them does, by its share: the
    loss of the mixture is the mixture of the losses.
    """

    def one(labels, logits):
        if focal_gamma is None:
            return keras.losses.categorical_crossentropy(
                labels, logits, from_logits=True, label_smoothing=label_smoothing
            )
        smoothed = (1 - label_smoothing) * labels + label_smoothing / labels.shape[-1]
        return _focal(smoothed, logits, focal_gamma)

    def loss(labels, logits):
        if len(weights) == 1:
            logits = logits[:, None]
        labels = labels * class_weights
        example_weight = keras.ops.sum(labels, axis=-1)
        # A distribution again, because smoothing takes it for one.
        labels = labels / example_weight[:, None]
        return example_weight * sum(
            weight * one(labels, logits[:, number]) for number, weight in enumerate(weights)
        )

    return loss


def _focal(labels, logits, gamma):
    """The cross-entropy of a label to which the network gives the probability p counts (1 - p)^gamma times.

    Lin et al.: Focal Loss for Dense Object Detection, arXiv 1708.02002, equation 4. That of Keras has no
    gradient where p is below 1e-7: of the pictures that are most wrong.
    """
    log_p = keras.ops.log_softmax(logits)
    return -keras.ops.sum(labels * (1 - keras.ops.exp(log_p)) ** gamma * log_p, axis=-1)


def accuracy(labels, logits):
    """Of the first classifier, the one that is kept."""
    return keras.metrics.categorical_accuracy(labels, logits[:, 0] if len(logits.shape) == 3 else logits)

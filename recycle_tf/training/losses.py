"""The loss that training minimizes and the accuracy that selects the best model."""

import keras
import numpy as np


def class_weights(class_balance, class_counts):
    """Weights of the classes in the loss.

    Args:
        class_balance: `weights` for weights inversely proportional to the counts; otherwise they are 1.
        class_counts: training images per class, `[classes]`.

    Returns:
        float32 `[classes]`; over the training images their mean is 1.
    """
    counts = np.maximum(class_counts, 1)
    weights = counts.sum() / (len(counts) * counts) if class_balance == "weights" else np.ones(len(counts))
    return weights.astype(np.float32)


def make_loss(
    weights, label_smoothing, class_weights, focal_gamma=None, temperature=1.0, hard_label_weight=1.0
):
    """Builds the loss: cross-entropy or focal loss of one classifier, or the weighted sum of several.

    Labels with soft labels of a teacher beside them add a second part: the Kullback-Leibler divergence of the
    soft labels from the probabilities at the same temperature T, multiplied by T^2, because its gradient is
    in proportion to 1 / T^2 (Hinton et al., arXiv 1503.02531, section 2).

    For an image that MixUp or CutMix mixed from two, each class weight counts in proportion to its part of
    the label: the loss of the mixture is the mixture of the losses.

    Args:
        weights: weight of each classifier's loss.
        label_smoothing: fraction of the label that is spread evenly over all classes.
        class_weights: float32 `[classes]`.
        focal_gamma: focusing parameter of the focal loss; None for cross-entropy.
        temperature: of the soft labels.
        hard_label_weight: weight of the first part where there are soft labels; the second has the rest of 1.

    Returns:
        `loss(labels, logits)`, which returns a loss per example, `[batch]`, from label distributions
        `[batch, classes]`, or `[batch, 2 classes]` with soft labels, and logits `[batch, classes]`, or
        `[batch, classifiers, classes]` for several classifiers.
    """

    def classifier_loss(labels, logits):
        if focal_gamma is None:
            return keras.losses.categorical_crossentropy(
                labels, logits, from_logits=True, label_smoothing=label_smoothing
            )
        smoothed = (1 - label_smoothing) * labels + label_smoothing / labels.shape[-1]
        return _focal(smoothed, logits, focal_gamma)

    def taught_loss(labels, soft_labels, logits):
        if not soft_labels.shape[-1]:
            return classifier_loss(labels, logits)
        soft_loss = temperature**2 * _divergence(soft_labels, logits / temperature)
        return hard_label_weight * classifier_loss(labels, logits) + (1 - hard_label_weight) * soft_loss

    def loss(labels, logits):
        if len(weights) == 1:
            logits = logits[:, None]
        labels, soft_labels = labels[:, : logits.shape[-1]], labels[:, logits.shape[-1] :]
        labels = labels * class_weights
        example_weight = keras.ops.sum(labels, axis=-1)
        # Label smoothing needs a distribution.
        labels = labels / example_weight[:, None]
        return example_weight * sum(
            weight * taught_loss(labels, soft_labels, logits[:, number])
            for number, weight in enumerate(weights)
        )

    return loss


def _divergence(labels, logits):
    """Kullback-Leibler divergence of distributions from those of logits, `[batch]`.

    That of Keras clips probabilities at 1e-7, where its gradient ends.
    """
    entropy = keras.ops.sum(labels * keras.ops.log(keras.ops.maximum(labels, 1e-30)), axis=-1)
    return entropy - keras.ops.sum(labels * keras.ops.log_softmax(logits), axis=-1)


def _focal(labels, logits, gamma):
    """Focal loss: cross-entropy in which a label of predicted probability p is weighted by (1 - p)^gamma.

    Lin et al., Focal Loss for Dense Object Detection, arXiv 1708.02002, equation 4. The focal loss of Keras
    has no gradient where p is below 1e-7, that is for the images that are classified worst.
    """
    log_p = keras.ops.log_softmax(logits)
    return -keras.ops.sum(labels * (1 - keras.ops.exp(log_p)) ** gamma * log_p, axis=-1)


def accuracy(labels, logits):
    """Accuracy of the first classifier, the one that is saved, per example: `[batch]`."""
    return keras.metrics.categorical_accuracy(labels, logits[:, 0] if len(logits.shape) == 3 else logits)

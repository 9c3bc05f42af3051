"""Compares an artifact with the Keras model on every image of a split, in the runtime of its users."""

import numpy as np

BATCH = 32


def replay(predict, images, progress):
    """An artifact's probabilities for every image.

    Args:
        predict: uint8 images `[batch, image_size, image_size, 3]` -> probabilities `[batch, num_classes]`.
        images: the images of a split, uint8.
        progress: wraps the iteration over batches, as tqdm does.
    """
    batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    return np.concatenate([predict(batch) for batch in progress(batches)])

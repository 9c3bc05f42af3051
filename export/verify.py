"""Compares an artifact with the Keras model on every image of a split, in the runtime of its users."""

import statistics
import time

import numpy as np

BATCH = 32
TURNS, TIMED_CALLS = 10, 3


def replay(predict, images, progress):
    """An artifact's probabilities for every image.

    Args:
        predict: uint8 images `[batch, image_size, image_size, 3]` -> probabilities `[batch, num_classes]`.
        images: the images of a split, uint8.
        progress: wraps the iteration over batches, as tqdm does.
    """
    batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    return np.concatenate([predict(batch) for batch in progress(batches)])


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

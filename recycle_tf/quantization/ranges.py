"""The ranges of the feature maps that an int8 file represents, measured on training images."""

import keras
import numpy as np
import tensorflow as tf

from recycle_tf.data import cache, pipeline
from recycle_tf.quantization import fake_quantization

BATCH = 16
REPRESENTATIVE_IMAGES = 240

SWISH_LOW = -8.0
"""Below, swish is above -0.003: nothing that 256 levels could tell from what it is here."""


def representative_images(split, image_size, resize, seed):
    """The training images on which ranges are measured, equally many per class.

    Args:
        split: the training split, a `data.sources.Split`.
        image_size: height and width of the network's input in pixels.
        resize: one of `options.RESIZES`.
        seed: decides which images are chosen.

    Returns:
        uint8 `[examples, image_size, image_size, 3]`.
    """
    return cache.decode_all(pipeline.class_balanced(split, REPRESENTATIVE_IMAGES, seed), image_size, resize)


def measure(model, images):
    """Smallest and largest value at every place where an int8 file rounds.

    Two plain images, black and white, let the range of the shifted pixels be exact.

    Args:
        model: a functional model; see `fake_quantization.rewrite`.
        images: uint8 training images, `[examples, image_size, image_size, 3]`.

    Returns:
        `{name: (low, high)}`, for `fake_quantization.insert`.
    """
    tensors = {}

    def record(name, tensor):
        tensors[name] = tensor
        return tensor

    watched = keras.Model(fake_quantization.rewrite(model, record).input, list(tensors.values()))

    @tf.function
    def bounds(pixels):
        found = keras.tree.flatten(watched(pixels, training=False))
        return [(tf.reduce_min(one), tf.reduce_max(one)) for one in found]

    plain = np.stack([np.full_like(images[0], value) for value in (0, 255)])
    batches = [plain, *(images[start : start + BATCH] for start in range(0, len(images), BATCH))]
    found = np.array([np.float32(bounds(tf.constant(batch, tf.float32))) for batch in batches])
    lows, highs = found[..., 0].min(axis=0), found[..., 1].max(axis=0)
    ranges = {name: (float(low), float(high)) for name, low, high in zip(tensors, lows, highs, strict=True)}
    for names in fake_quantization.shared_ranges(model):
        shared = min(ranges[name][0] for name in names), max(ranges[name][1] for name in names)
        ranges |= dict.fromkeys(names, shared)
    for name in ranges.keys() & fake_quantization.read_by_swish(model):
        low, high = ranges[name]
        ranges[name] = max(low, SWISH_LOW), max(high, SWISH_LOW)
    return ranges

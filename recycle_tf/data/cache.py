"""Caches decoded images in memory or on disk: decoding takes longer than everything that follows it."""

import logging
import shutil
import tempfile

import numpy as np
import psutil
import tensorflow as tf
from tqdm import tqdm

from recycle_tf.data import decode as decoding
from recycle_tf.data import sources
from recycle_tf.errors import UserError

MEMORY_SHARE = 1 / 4
"""Fraction of the free memory that one split may take. Twice as much is needed while it is copied to
TensorFlow."""


def reader(split, size, resize, cache="auto", decode=decoding.decode):
    """Makes the functions that read images: one for an example's index, one for a batch of its results.

    Args:
        split: a `sources.Split`.
        size: side of the images, in pixels.
        resize: one of `options.RESIZES`.
        cache: one of `options.CACHES`; all give the same images.
        decode: `decode.decode` or `decode.decode_quickly`.

    Returns:
        Two functions: from an index to a value, and from a batch of such values to uint8 images
        `[batch, size, size, 3]`.

    Raises:
        UserError: an image cannot be decoded, or there is not enough space for the requested cache.
    """
    place = _place(cache, len(split) * size * size * 3)
    if place == "off":
        return lambda index: decode(split.encoded(index), size, resize), lambda images: images
    shape = (len(split), size, size, 3)
    if place == "memory":
        with tf.device("CPU"):
            images = tf.constant(fill(np.empty(shape, np.uint8), split, resize, decode))
        return lambda index: index, lambda indices: tf.gather(images, indices)
    # Unnamed, so that nothing is left when the process ends, however it ends.
    file = tempfile.TemporaryFile()  # noqa: SIM115
    images = fill(np.memmap(file, np.uint8, "w+", shape=shape), split, resize, decode)

    def read(indices):
        found = tf.numpy_function(lambda chosen: images[chosen], [indices], tf.uint8, stateful=False)
        return tf.ensure_shape(found, (*indices.shape, size, size, 3))

    return lambda index: index, read


def decode_all(split, size, resize="stretch"):
    """Decodes every image of a split, with a progress bar.

    Returns:
        uint8 `[len(split), size, size, 3]`.

    Raises:
        UserError: an image cannot be decoded; names it.
    """
    return fill(np.empty((len(split), size, size, 3), np.uint8), split, resize, decoding.decode)


def fill(images, split, resize, decode):
    """Decodes a split into the array `images`, `[len(split), size, size, 3]`, and returns it.

    Raises:
        UserError: an image cannot be decoded; names it.
    """
    size = images.shape[1]
    dataset = tf.data.Dataset.range(len(split)).map(
        lambda index: decode(split.encoded(index), size, resize), num_parallel_calls=tf.data.AUTOTUNE
    )
    progress = tqdm(dataset.as_numpy_iterator(), "decoding", len(split), leave=False, disable=None)
    try:
        for index, image in enumerate(progress):
            images[index] = image
    except tf.errors.OpError as error:
        raise unreadable(split) from error
    return images


def unreadable(split):
    """Makes the `UserError` that names the first image of a split that cannot be read."""
    return UserError(
        f"{sources.first_unreadable(split)}: missing or damaged; replace it, remove it, or train with "
        "`on_bad_image=skip`"
    )


def _place(cache, size):
    """Where `size` bytes are cached: memory, disk or off."""
    memory = psutil.virtual_memory().available * MEMORY_SHARE
    disk = shutil.disk_usage(tempfile.gettempdir()).free / 2
    if cache == "auto":
        cache = "memory" if size <= memory else "disk" if size <= disk else "off"
        if cache != "memory":
            logging.getLogger("recycle_tf").warning(
                "%.1f GB of decoded images do not fit into a quarter of the free memory: %s",
                size / 1e9,
                {"disk": "cached in a temporary file", "off": "decoded again in every epoch"}[cache],
            )
    available = {"memory": memory, "disk": disk, "off": size}[cache]
    if size > available:
        raise UserError(
            f"`cache={cache}`: {size / 1e9:.1f} GB of decoded images, but only {available / 1e9:.1f} GB of "
            f"{cache} can be used for them; use `cache=auto`"
        )
    return cache

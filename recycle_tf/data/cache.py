"""Caches decoded images in memory or on disk: decoding takes longer than everything that follows it."""

import functools
import logging
import shutil
import tempfile

import numpy as np
import psutil
import tensorflow as tf
from tqdm import tqdm

from recycle_tf.data import decode as decoding
from recycle_tf.data import parallel, sources
from recycle_tf.errors import UserError

MEMORY_SHARE = 1 / 4
"""Fraction of the free memory that one split may take. Twice as much is needed while it is copied to
TensorFlow."""

BATCH = 32
"""Images that the cache takes from the pipeline at once."""


def reader(split, size, resize, cache="auto", decode=decoding.decode, masks=None):
    """Makes the functions that read images: one for an example's index, one for a batch of its results.

    Args:
        split: a `sources.Split`.
        size: side of the images, in pixels.
        resize: one of `options.RESIZES`.
        cache: one of `options.CACHES`; all give the same images.
        decode: `decode.decode` or `decode.decode_quickly`.
        masks: None, or a function from uint8 images `[batch, size, size, 3]` to their fourth channel, uint8
            `[batch, size, size]`.

    Returns:
        Two functions: from an index to a value, and from a batch of such values to uint8 images
        `[batch, size, size, 3]`; with `masks`, of 4 channels.

    Raises:
        UserError: an image cannot be decoded, or there is not enough space for the requested cache.
    """
    channels = 4 if masks else 3
    place = _place(cache, len(split) * size * size * channels)
    if place == "off":
        return lambda index: decode(split.encoded(index), size, resize), functools.partial(_masked, masks)
    shape = (len(split), size, size, channels)
    if place == "memory":
        with tf.device("CPU"):
            images = tf.constant(_filled(np.empty(shape, np.uint8), split, resize, decode, masks))
        return lambda index: index, lambda indices: tf.gather(images, indices)
    # Unnamed, so that nothing is left when the process ends, however it ends.
    file = tempfile.TemporaryFile()  # noqa: SIM115
    images = _filled(np.memmap(file, np.uint8, "w+", shape=shape), split, resize, decode, masks)

    def read(indices):
        found = tf.numpy_function(lambda chosen: images[chosen], [indices], tf.uint8, stateful=False)
        return tf.ensure_shape(found, (*indices.shape, size, size, channels))

    return lambda index: index, read


def _filled(images, split, resize, decode, masks):
    """Decodes a split into `images`, and computes the masks, a few dozen images at a time."""
    fill(images[..., :3], split, resize, decode)

    def mask(start):
        part = images[start : start + 64]
        part[..., 3] = masks(part[..., :3])

    if masks:
        parallel.each(mask, range(0, len(split), 64), "masks")
    return images


def _masked(masks, images):
    """A batch of images; with masks as fourth channel, computed when the batch is read."""
    if masks is None:
        return images
    found = tf.numpy_function(masks, [images], tf.uint8, stateful=False)
    return tf.concat([images, tf.ensure_shape(found, images.shape[:3])[..., None]], axis=3)


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
    # In batches, because each element that Python takes from the pipeline costs time.
    batches = parallel.without_autotune(dataset.batch(BATCH)).as_numpy_iterator()
    try:
        with tqdm(None, "decoding", len(split), leave=False, disable=None) as progress:
            for start, batch in zip(range(0, len(split), BATCH), batches, strict=True):
                images[start : start + len(batch)] = batch
                progress.update(len(batch))
    except tf.errors.OpError as error:
        if damaged := unreadable(split):
            raise damaged from error
        raise
    return images


def unreadable(split):
    """Makes the `UserError` that names the first image of a split that cannot be read; None if all can be."""
    name = sources.first_unreadable(split)
    return name and UserError(
        f"{name}: missing or damaged; replace it, remove it, or train with `on_bad_image=skip`"
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

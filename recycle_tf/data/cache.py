"""Decoded pictures, kept where they fit: decoding takes longer than everything that follows it."""

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

CACHES = ("auto", "memory", "disk", "off")
"""Where pictures are kept: where they fit, in memory, in an unnamed file, or nowhere."""

MEMORY_SHARE = 1 / 4
"""Of the free memory that one split may take. It is there twice while it is handed to TensorFlow."""


def reader(split, size, resize, cache="auto", decode=decoding.decode, masks=None):
    """How pictures are read: what is done with one example's index, and what then with those of a batch.

    Args:
        split: a `sources.Split`.
        size: side of the pictures, in pixels.
        resize: one of `decode.RESIZES`.
        cache: one of `CACHES`; all give the same pictures.
        decode: `decode.decode`, or `decode.decode_quickly`.
        masks: None, or a function of uint8 images `[batch, size, size, 3]` to their fourth channel, uint8
            `[batch, size, size]`.

    Returns:
        Two functions: index to something, and a batch of that to uint8 `[batch, size, size, 3]`; with
        `masks`, of 4 channels.

    Raises:
        UserError: a picture that cannot be decoded, or not enough room for the cache that was asked for.
    """
    channels = 4 if masks else 3
    place = _place(cache, len(split) * size * size * channels)
    if place == "off":
        return lambda index: decode(split.encoded(index), size, resize), functools.partial(_masked, masks)
    shape = (len(split), size, size, channels)
    if place == "memory":
        with tf.device("CPU"):
            pictures = tf.constant(_filled(np.empty(shape, np.uint8), split, resize, decode, masks))
        return lambda index: index, lambda indices: tf.gather(pictures, indices)
    # Unnamed, so that nothing is left when the process ends, however it ends.
    file = tempfile.TemporaryFile()  # noqa: SIM115
    pictures = _filled(np.memmap(file, np.uint8, "w+", shape=shape), split, resize, decode, masks)

    def read(indices):
        found = tf.numpy_function(lambda chosen: pictures[chosen], [indices], tf.uint8, stateful=False)
        return tf.ensure_shape(found, (*indices.shape, size, size, channels))

    return lambda index: index, read


def _filled(pictures, split, resize, decode, masks):
    """`fill`, and the masks, a few dozen images at a time."""
    fill(pictures[..., :3], split, resize, decode)

    def mask(start):
        part = pictures[start : start + 64]
        part[..., 3] = masks(part[..., :3])

    if masks:
        parallel.each(mask, range(0, len(split), 64), "masks")
    return pictures


def _masked(masks, pictures):
    """A batch of images as it is, or with its masks, which are found as the batch is read."""
    if masks is None:
        return pictures
    found = tf.numpy_function(masks, [pictures], tf.uint8, stateful=False)
    return tf.concat([pictures, tf.ensure_shape(found, pictures.shape[:3])[..., None]], axis=3)


def decode_all(split, size, resize="stretch"):
    """Every picture of a split, decoded, with a progress bar.

    Returns:
        uint8 `[len(split), size, size, 3]`.

    Raises:
        UserError: a picture that cannot be decoded; names it.
    """
    return fill(np.empty((len(split), size, size, 3), np.uint8), split, resize, decoding.decode)


def fill(pictures, split, resize, decode):
    """Decodes a split into `pictures`, `[len(split), size, size, 3]`, and returns them.

    Raises:
        UserError: a picture that cannot be decoded; names it.
    """
    size = pictures.shape[1]
    dataset = tf.data.Dataset.range(len(split)).map(
        lambda index: decode(split.encoded(index), size, resize), num_parallel_calls=tf.data.AUTOTUNE
    )
    progress = tqdm(dataset.as_numpy_iterator(), "decoding", len(split), leave=False, disable=None)
    try:
        for index, picture in enumerate(progress):
            pictures[index] = picture
    except tf.errors.OpError as error:
        raise unreadable(split) from error
    return pictures


def unreadable(split):
    """The UserError that names the first picture of a split that cannot be read."""
    return UserError(
        f"{sources.first_unreadable(split)}: missing or damaged; replace it, remove it, or train with "
        f"--on_bad_image=skip"
    )


def _place(cache, size):
    """Where `size` bytes are kept: memory, disk or off."""
    memory = psutil.virtual_memory().available * MEMORY_SHARE
    disk = shutil.disk_usage(tempfile.gettempdir()).free / 2
    if cache == "auto":
        cache = "memory" if size <= memory else "disk" if size <= disk else "off"
        if cache != "memory":
            logging.getLogger("recycle_tf").warning(
                "%.1f GB of decoded pictures do not fit into a quarter of the free memory: %s",
                size / 1e9,
                {"disk": "kept in a temporary file", "off": "decoded anew in every epoch"}[cache],
            )
    room = {"memory": memory, "disk": disk, "off": size}[cache]
    if size > room:
        raise UserError(
            f"--cache={cache}: {size / 1e9:.1f} GB of decoded pictures, but only {room / 1e9:.1f} GB of "
            f"{cache} are free for them; take --cache=auto"
        )
    return cache

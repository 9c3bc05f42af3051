"""What a predictor accepts as an image: files, folders, patterns, PIL images and arrays."""

import functools
import glob
import os
import pathlib

import numpy as np
import tensorflow as tf
from PIL import Image

from recycle_tf import files
from recycle_tf.data import decode, near_duplicates
from recycle_tf.errors import UserError
from recycle_tf.paths import from_user


def expand(images):
    """The single images in what a user gave.

    Args:
        images: a path, a folder, a glob pattern, the bytes of an image file, a PIL image, an array
            `[height, width, 3]` or `[batch, height, width, 3]`, or a list of any of these.

    Returns:
        A list of paths, bytes, PIL images and arrays `[height, width, 3]`.

    Raises:
        UserError: no such file or folder, or a folder without images.
    """
    if isinstance(images, Image.Image | bytes):
        return [images]
    if isinstance(images, pathlib.Path) and images.is_file():
        return [images]
    if isinstance(images, str | os.PathLike):
        return _files(images)
    if getattr(images, "ndim", None) == 4:
        return list(np.asarray(images))
    # A column of paths is a list.
    if hasattr(images, "ndim") and not (images.ndim == 1 and images.dtype.kind in "OSU"):
        return [np.asarray(images)]
    return [one for each in images for one in expand(each)]


def name(image):
    """What an image is called in an answer: its path, or its kind and size."""
    if isinstance(image, pathlib.Path):
        return str(image)
    if isinstance(image, bytes):
        return f"image of {len(image):,} bytes"
    if len(getattr(image, "shape", (0, 0))) < 2:
        return f"array of shape {list(image.shape)}"
    height, width = image.shape[:2] if hasattr(image, "shape") else image.size[::-1]
    return f"{'array' if hasattr(image, 'shape') else 'image'} {width}x{height}"


def read(image, image_size, resize):
    """Decodes and resizes an image as the model expects it.

    Args:
        image: a path, the bytes of an image file, a PIL image or an array, RGB 0..255.
        image_size: height and width of the result, in pixels.
        resize: one of `options.RESIZES`.

    Returns:
        uint8 RGB `[image_size, image_size, 3]`.

    Raises:
        UserError: not an image, or a damaged one; an array of another shape or range.
    """
    if isinstance(image, bytes):
        return _decode(image, name(image), image_size, resize)
    if isinstance(image, pathlib.Path):
        try:
            return _decode(image.read_bytes(), image, image_size, resize)
        except OSError as error:
            raise UserError(f"{image}: cannot be read ({error.strerror})") from error
    if isinstance(image, Image.Image):
        with files.reading("image"):
            upright = near_duplicates.upright(image, near_duplicates.orientation(image))
            image = np.asarray(decode.to_rgb(upright))
    pixels = np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[-1] != 3 or not pixels.size:
        raise UserError(f"array of shape {list(pixels.shape)}: expected [height, width, 3]")
    if pixels.dtype != np.uint8:
        if not np.isfinite(pixels).all() or pixels.min() < 0 or pixels.max() > 255:
            raise UserError("array: expected values 0..255")
        if np.issubdtype(pixels.dtype, np.floating) and pixels.max() <= 1 and pixels.size > 3:
            raise UserError("array: its values are at most 1, expected 0..255; multiply it by 255")
        pixels = np.round(pixels).astype(np.uint8)
    return decode.resize_pixels(pixels, image_size, resize).numpy()


def _decode(encoded, called, image_size, resize):
    decode.check(encoded, called)
    try:
        return _decoder(image_size, resize)(encoded).numpy()
    except tf.errors.OpError:
        raise UserError(f"{called}: damaged, cannot be decoded") from None


@functools.cache
def _decoder(image_size, resize):
    """`decode.decode` as a graph, whose operations need no Python: 1.5 times as fast as one after another."""
    return tf.function(
        lambda encoded: decode.decode(encoded, image_size, resize),
        input_signature=[tf.TensorSpec([], tf.string)],
    )


def _files(place):
    path = from_user(place, utf8=False)
    if path.is_dir():
        found = sorted(decode.images_in(path))
        if not found:
            raise UserError(f"{place}: no images in this folder")
        return found
    if path.exists():
        return [path]
    matches = list(map(pathlib.Path, glob.glob(str(path), recursive=True)))
    found = sorted({file for one in matches for file in (decode.images_in(one) if one.is_dir() else [one])})
    if not found:
        missing = "no images in these folders" if matches else "no such file or folder"
        raise UserError(f"{place}: {missing}")
    return found

"""From encoded bytes to uint8 pixels of one size: one definition for training, export and golden files."""

import warnings

import tensorflow as tf
from PIL import Image, UnidentifiedImageError

from recycle_tf.errors import UserError

RESIZES = ("stretch", "letterbox", "crop")
"""How a picture becomes square: stretched, fitted between black bars, or its middle cut out."""

FORMATS = ("JPEG", "PNG", "GIF", "BMP")
"""What is decoded."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp")
"""How such files are called."""

MAX_PIXELS = 120_000_000
"""More than any phone takes at once; a small file may unpack into as much as it likes."""


def check_file(path):
    """Looks at the head of a file, without decoding it.

    Raises:
        UserError: it is no picture, of a format that is not decoded, or unpacks to more than `MAX_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of, and from twice as many pixels refuses, what is refused here.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as picture:
                width, height = picture.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        width = height = MAX_PIXELS
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        raise UserError(f"{path}: not a picture ({', '.join(FORMATS)}); remove it or convert it") from None
    if width * height > MAX_PIXELS:
        raise UserError(f"{path}: has more than {MAX_PIXELS // 10**6} million pixels; remove it or shrink it")


def decode(encoded, image_size, resize="stretch"):
    """Decodes and resizes one picture, the way a phone does before it asks the network.

    Args:
        encoded: scalar string tensor, a JPEG, PNG, GIF (its first frame) or BMP.
        image_size: height and width of the result, in pixels.
        resize: one of `RESIZES`.

    Returns:
        uint8 RGB `[image_size, image_size, 3]`; antialiased where it shrinks.

    Raises:
        tf.errors.InvalidArgumentError: bytes that are no whole picture.
    """
    return resize_pixels(decode_pixels(encoded), image_size, resize)


def decode_pixels(encoded):
    """The picture at its own size: uint8 RGB `[height, width, 3]`."""
    pixels = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    pixels.set_shape([None, None, 3])
    return pixels


def resize_pixels(pixels, image_size, resize="stretch"):
    """Makes `pixels`, `[height, width, 3]`, a uint8 square of `image_size`."""
    if resize == "crop":
        side = tf.reduce_min(tf.shape(pixels)[:2])
        top, left = (tf.shape(pixels)[0] - side) // 2, (tf.shape(pixels)[1] - side) // 2
        pixels = pixels[top : top + side, left : left + side]
    if resize == "letterbox":
        pixels = tf.image.resize_with_pad(pixels, image_size, image_size, antialias=True)
    else:
        pixels = tf.image.resize(pixels, [image_size, image_size], antialias=True)
    return tf.saturate_cast(tf.round(pixels), tf.uint8)

"""From encoded bytes to uint8 pixels of one size: one definition for training, export and golden files."""

import tensorflow as tf

RESIZES = ("stretch", "letterbox", "crop")
"""How a picture becomes square: stretched, fitted between black bars, or its middle cut out."""

FORMATS = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"GIF8": "GIF", b"BM": "BMP"}
"""First bytes of the formats that are decoded."""


def image_format(first_bytes):
    """`"JPEG"`, `"PNG"`, `"GIF"`, `"BMP"`, or None for anything else."""
    return next((name for magic, name in FORMATS.items() if first_bytes.startswith(magic)), None)


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

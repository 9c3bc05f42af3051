"""From encoded bytes to uint8 pixels of one size: one definition for training, export and golden files."""

import warnings

import tensorflow as tf
from PIL import Image, UnidentifiedImageError

from recycle_tf.errors import UserError

RESIZES = ("stretch", "letterbox", "crop")
"""How a picture becomes square: stretched, fitted between black bars, or its middle cut out."""

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
"""What is decoded."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp")
"""How such files are called."""

MAX_PIXELS = 120_000_000
"""More than any phone takes at once; a small file may unpack into as much as it likes."""

PAPER = 255.0
"""What shows through transparent pixels: white."""

DCT = "INTEGER_ACCURATE"
"""As browsers and phones decode JPEGs; TensorFlow's own default makes them a level darker on average."""

_EXIF_WITHIN = 4096
"""Bytes in which a JPEG's Exif segment begins; the standard puts it first."""


def check_file(path):
    """Looks at the head of a file, without decoding it.

    Raises:
        UserError: it is no picture, of a format that is not decoded, an animated WebP, or unpacks to more
            than `MAX_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of less than what is refused here.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as picture:
                width, height = picture.size
                animated = picture.format == "WEBP" and picture.is_animated
    except Image.DecompressionBombError:
        width, height, animated = MAX_PIXELS, MAX_PIXELS, False
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        raise UserError(f"{path}: not a picture ({', '.join(FORMATS)}); remove it or convert it") from None
    if animated:
        raise UserError(f"{path}: an animated WebP; keep one of its pictures, or remove it")
    if width * height > MAX_PIXELS:
        raise UserError(f"{path}: has more than {MAX_PIXELS // 10**6} million pixels; remove it or shrink it")


def decode(encoded, image_size, resize="stretch"):
    """Decodes and resizes one picture, the way a phone does before it asks the network.

    Args:
        encoded: scalar string tensor, a JPEG, PNG, GIF (its first frame), BMP or WebP.
        image_size: height and width of the result, in pixels.
        resize: one of `RESIZES`.

    Returns:
        uint8 RGB `[image_size, image_size, 3]`; antialiased where it shrinks.

    Raises:
        tf.errors.InvalidArgumentError: bytes that are no whole picture.
    """
    return resize_pixels(decode_pixels(encoded), image_size, resize)


def decode_quickly(encoded, image_size, resize="stretch"):
    """As `decode`, in a third of the time, for pictures that augmentation will resample anyway.

    A JPEG of at least twice the size is shrunk by its own cosine transform while it is decoded, by 2, 4 or 8.
    What remains, less than a factor of 2, is bilinear without antialiasing.
    """
    pixels = decode_pixels(encoded, least=image_size)
    return tf.cond(
        # Other formats may still be large.
        tf.reduce_min(tf.shape(pixels)[:2]) >= 2 * image_size,
        lambda: resize_pixels(pixels, image_size, resize),
        lambda: resize_pixels(pixels, image_size, resize, antialias=False),
    )


def decode_pixels(encoded, least=None):
    """The picture upright, at its own size: uint8 RGB `[height, width, 3]`.

    Args:
        encoded: scalar string tensor.
        least: a JPEG may come smaller, by 2, 4 or 8, if no side falls below this many pixels.
    """
    pixels = tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: _upright(_jpeg(encoded, least), encoded),
        lambda: _other_format(encoded),
    )
    pixels.set_shape([None, None, 3])
    return pixels


def resize_pixels(pixels, image_size, resize="stretch", antialias=True):
    """Makes `pixels`, `[height, width, 3]`, a uint8 square of `image_size`."""
    if resize == "crop":
        side = tf.reduce_min(tf.shape(pixels)[:2])
        top, left = (tf.shape(pixels)[0] - side) // 2, (tf.shape(pixels)[1] - side) // 2
        pixels = pixels[top : top + side, left : left + side]
    if resize == "letterbox":
        sides = tf.cast(tf.shape(pixels)[:2], tf.float32)
        # At least a pixel: a panorama may be a thousand times as wide as high.
        inside = tf.maximum(tf.cast(tf.round(sides * (image_size / tf.reduce_max(sides))), tf.int32), 1)
        pixels = tf.image.resize(pixels, inside, antialias=antialias)
        pixels = tf.image.resize_with_crop_or_pad(pixels, image_size, image_size)
    else:
        pixels = tf.image.resize(pixels, [image_size, image_size], antialias=antialias)
    pixels.set_shape([image_size, image_size, 3])
    # Means of bytes: none leaves 0..255, so that nothing has to be clipped.
    return tf.cast(pixels + 0.5, tf.uint8)


def _jpeg(encoded, least):
    if least is None:
        return tf.io.decode_jpeg(encoded, channels=3, dct_method=DCT)
    sides = tf.image.extract_jpeg_shape(encoded)[:2]
    halvings = tf.reduce_sum(tf.cast(tf.reduce_min(sides) >= [2 * least, 4 * least, 8 * least], tf.int32))
    at = [
        lambda ratio=ratio: tf.io.decode_jpeg(encoded, channels=3, ratio=ratio, dct_method=DCT)
        for ratio in (1, 2, 4, 8)
    ]
    return tf.switch_case(halvings, at)


# Not taken apart into its operations: tf.data would step through each of them for every JPEG.
@tf.function(autograph=False, experimental_attributes={"_noinline": True})
def _other_format(encoded):
    """PNG, WebP, BMP, GIF; of anything else TensorFlow says that it does not know it."""

    def begins(magic, at=0):
        return tf.equal(tf.strings.substr(encoded, at, len(magic)), magic)

    return tf.case(
        [
            (begins(b"\x89PNG"), lambda: _png(encoded)),
            (begins(b"WEBP", at=8), lambda: _webp(encoded)),
            (begins(b"BM"), lambda: _bmp(encoded)),
        ],
        default=lambda: tf.io.decode_image(encoded, channels=3, expand_animations=False),
    )


def _png(encoded):
    """Byte 25 is the colour type: 3 a palette, which may hold alpha, 4 and 6 with alpha."""
    kind = tf.io.decode_raw(tf.strings.substr(encoded, 25, 1), tf.uint8)[0]
    return tf.cond(
        tf.reduce_any(kind == [3, 4, 6]),
        lambda: _on_paper(tf.io.decode_png(encoded, channels=4)),
        # Of others TensorFlow would fill alpha with 1, not 255, where they have one bit a pixel.
        lambda: tf.io.decode_png(encoded, channels=3),
    )


def _webp(encoded):
    """An extended file's byte 20 and a lossless one's byte 24 tell of alpha."""
    head = tf.io.decode_raw(tf.strings.substr(encoded, 0, 32), tf.uint8)
    kind = tf.strings.substr(encoded, 12, 4)
    extended, lossless = tf.equal(kind, b"VP8X"), tf.equal(kind, b"VP8L")
    # TensorFlow 2.21 writes past its buffer where an animation has more than one frame.
    still = tf.debugging.Assert(
        tf.logical_not(extended & (tf.bitwise.bitwise_and(head[20], 2) > 0)), ["animated WebP"]
    )
    with tf.control_dependencies([still] if still is not None else []):
        flags = tf.where(extended, head[20], tf.where(lossless, head[24], 0))
    return tf.cond(
        tf.bitwise.bitwise_and(flags, 16) > 0,
        lambda: _on_paper(tf.io.decode_webp(encoded, channels=4)[0]),
        lambda: tf.io.decode_webp(encoded, channels=3)[0],
    )


def _bmp(encoded):
    """TensorFlow reads eight bits as a grey, though they are a place in the file's palette."""
    head = tf.io.decode_raw(tf.strings.substr(encoded, 0, 30), tf.uint8)
    pixels = tf.io.decode_bmp(encoded)
    start, header = _number(head[10:14]), _number(head[14:18])
    length = start - 14 - header

    def coloured():
        palette = tf.io.decode_raw(tf.strings.substr(encoded, 14 + header, length), tf.uint8)
        # Blue, green, red and a byte that means nothing.
        return tf.gather(
            tf.reverse(tf.reshape(palette, (-1, 4))[:, :3], [1]), tf.cast(pixels[..., 0], tf.int32)
        )

    return tf.cond((head[28] <= 8) & (length > 0), coloured, lambda: _three(pixels))


def _three(pixels):
    """Grey becomes RGB, and alpha shows paper."""
    return tf.switch_case(
        tf.cast(tf.shape(pixels)[-1] // 2, tf.int32),
        [
            lambda: tf.image.grayscale_to_rgb(pixels[..., :1]),
            lambda: pixels[..., :3],
            lambda: _on_paper(pixels),
        ],
    )


def _on_paper(pixels):
    """RGBA to RGB."""
    opaque = tf.cast(pixels[..., 3:], tf.float32) / 255.0
    colour = tf.cast(pixels[..., :3], tf.float32) * opaque + PAPER * (1 - opaque)
    return tf.cast(tf.round(colour), tf.uint8)


def _upright(pixels, encoded):
    """Turns a JPEG's pixels as its Exif orientation says: phones store photographs as the sensor lies."""
    # Most have none, and reading it takes as long as half of the decoding.
    return tf.cond(_has_exif(encoded), lambda: _turned(pixels, encoded), lambda: pixels)


@tf.function(autograph=False, experimental_attributes={"_noinline": True})
def _turned(pixels, encoded):
    orientation = exif_orientation(encoded)
    # 5 to 8 lie on their side. Of each four, two are turned over in each direction.
    laid = tf.cond(orientation >= 5, lambda: tf.transpose(pixels, [1, 0, 2]), lambda: pixels)
    over_y = tf.reduce_any(orientation == [3, 4, 7, 8])
    over_x = tf.reduce_any(orientation == [2, 3, 6, 7])
    laid = tf.cond(over_y, lambda: tf.reverse(laid, [0]), lambda: laid)
    return tf.cond(over_x, lambda: tf.reverse(laid, [1]), lambda: laid)


def _has_exif(encoded):
    head = tf.strings.substr(encoded, 0, _EXIF_WITHIN)
    return tf.strings.regex_full_match(head, r"\C*Exif\x00\x00\C*")


def exif_orientation(encoded):
    """How a JPEG is to be turned, 1 (as it is) to 8, from its Exif segment; 1 if it has none or a broken one.

    Exif 2.3, section 4.6: `Exif`, two zeros, then a TIFF header: byte order, 42, offset of the directory;
    a directory is a number of entries and 12 bytes for each. TensorFlow ignores all of it.
    """

    def read():
        head = tf.strings.substr(encoded, 0, _EXIF_WITHIN)
        before = tf.strings.regex_replace(head, r"Exif\x00\x00\C*", "")
        start = tf.strings.length(before) + 6
        tiff = tf.io.decode_raw(tf.strings.substr(encoded, start, 65536), tf.uint8)
        little = tiff[0] == ord("I")

        def number(at, size):
            part = tiff[at : at + size]
            return _number(tf.cond(little, lambda: part, lambda: tf.reverse(part, [0])))

        directory = number(4, 4)
        available = (tf.size(tiff) - directory - 2) // 12
        entries = tf.clip_by_value(number(directory, 2), 0, tf.maximum(available, 0))
        table = tf.reshape(tiff[directory + 2 : directory + 2 + 12 * entries], (entries, 12))
        tag = tf.cond(little, lambda: table[:, :2], lambda: tf.reverse(table[:, :2], [1]))
        value = tf.cond(little, lambda: table[:, 8], lambda: table[:, 9])
        is_orientation = (tag[:, 0] == 0x12) & (tag[:, 1] == 0x01)
        orientation = tf.reduce_max(tf.where(is_orientation, tf.cast(value, tf.int32), 1))
        return tf.where((orientation >= 1) & (orientation <= 8), orientation, 1)

    return tf.cond(_has_exif(encoded), read, lambda: 1)


def _number(part):
    """Bytes, the least significant first, as an int32; 0 of none."""
    places = tf.range(tf.size(part), dtype=tf.int32)
    shifted = tf.bitwise.left_shift(tf.cast(part, tf.int32), 8 * places)
    # A negative one, from a broken file, points nowhere.
    return tf.maximum(tf.reduce_sum(shifted), 0)

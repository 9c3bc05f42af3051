"""From encoded bytes to uint8 pixels of one size, in one definition for training, export and golden files."""

import io
import pathlib
import threading
import warnings

import numpy as np
import tensorflow as tf
from PIL import Image

from recycle_tf.errors import UserError

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
"""Formats that are decoded, by Pillow's names."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp")
"""File name suffixes of images, in lower case."""

HEIC_SUFFIXES = (".heic", ".heif")
HEIC = "HEIC, which is not read (Settings > Camera > Formats > Most Compatible lets an iPhone store JPEGs)"
"""What is said of photographs as iPhones store them."""

MAX_PIXELS = 120_000_000
"""Largest number of pixels that is decoded: more than any phone takes at once. A small file may decompress to
any size."""

BACKGROUND = 255.0
"""Value that shows through transparent pixels: white."""

DCT_METHOD = "INTEGER_ACCURATE"
"""The inverse cosine transform of browsers and phones. TensorFlow's default gives JPEGs that are 0.8 levels
darker on average."""

_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"RIFF")
"""First bytes of files in `FORMATS`: they tell a damaged image from a file of another kind."""

_HEIC_SIGNATURES = (b"ftypheic", b"ftypheix", b"ftyphevc")
"""Bytes 4 to 11 of HEIC files."""

_EXIF_WITHIN = 4096
"""Number of bytes in which a JPEG's Exif segment must begin; the standard puts it first."""

_FILTERS = threading.Lock()
"""Filters of warnings are those of the process: threads would restore each other's."""

REMEDIES = {
    "empty": "replace it or remove it",
    "not_an_image": "convert it or remove it",
    "unreadable": "replace it or remove it",
    "animated": "keep one of its frames, or remove it",
    "huge": "shrink it or remove it",
}
"""What a user can do, by `ImageError.kind`."""


class ImageError(Exception):
    """An image file that this package does not decode.

    Attributes:
        kind: the reason, a key of `REMEDIES`.
        detail: what is wrong with the file, in a few words.
    """

    def __init__(self, kind, detail):
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


def images_in(folder):
    """Paths of the images in a folder and its subfolders, by their suffix; hidden ones are left out.

    Args:
        folder: a `pathlib.Path`.
    """
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in SUFFIXES and not hidden and not path.is_dir():
            yield path


def open_header(encoded):
    """Opens an image with Pillow and checks its header. No pixel is decoded.

    Pillow warns about large images and odd metadata; callers that open many images silence it once.

    Args:
        encoded: the bytes of a file.

    Returns:
        A `PIL.Image.Image`.

    Raises:
        ImageError: not an image in `FORMATS`, an animated WebP, or an image of more than `MAX_PIXELS`.
    """
    if not encoded:
        raise ImageError("empty", "an empty file")
    try:
        image = Image.open(io.BytesIO(encoded), formats=FORMATS)
    except Image.DecompressionBombError:
        detail = f"more than {MAX_PIXELS // 10**6} million pixels in a file of {len(encoded):,} bytes"
        raise ImageError("huge", detail) from None
    except Exception:
        # Pillow's parsers raise exceptions of any type.
        if encoded.startswith(_SIGNATURES):
            raise ImageError("unreadable", "damaged: the header cannot be read") from None
        detail = f"not an image ({', '.join(FORMATS)}), begins with {encoded[:12]!r}"
        if encoded[4:12] in _HEIC_SIGNATURES:
            detail = HEIC
        raise ImageError("not_an_image", detail) from None
    width, height = image.size
    if width * height > MAX_PIXELS:
        detail = f"{width} x {height} pixels, more than {MAX_PIXELS // 10**6} million"
        raise ImageError("huge", detail)
    if image.format == "WEBP" and image.is_animated:
        raise ImageError("animated", "an animated WebP")
    if image.format == "GIF":
        _check_frames(encoded)
    return image


def _check_frames(gif):
    """Raises an `ImageError` if the frames of a GIF are too large: TensorFlow decodes all of them."""
    sizes = list(_frames(gif)) or [(0, 0)]
    width, height = (max(sides) for sides in zip(*sizes, strict=True))
    if width * height > MAX_PIXELS or sum(w * h for w, h in sizes) > 4 * MAX_PIXELS:
        detail = f"{len(sizes)} frames of up to {width} x {height} pixels"
        raise ImageError(
            "huge", f"{detail}, more than {4 * MAX_PIXELS // 10**6} million together, or one too large"
        )


def _frames(gif):
    """`(width, height)` of every frame of a GIF (GIF89a specification, sections 18 to 24)."""

    def after_colors(flags, at):
        return at + 3 * 2 ** (flags % 8 + 1) * (flags >> 7)

    at = after_colors(gif[10], 13)
    while at + 10 < len(gif) and gif[at] in b"!,":
        if gif[at] == ord(","):
            yield tuple(int.from_bytes(gif[place : place + 2], "little") for place in (at + 5, at + 7))
            at = after_colors(gif[at + 9], at + 10) + 1
        else:
            at += 2
        while at < len(gif) and gif[at]:
            at += 1 + gif[at]
        at += 1


def file_name(identity, encoded):
    """A file name for an image: that of its id, with the suffix of its format if the id has none.

    Args:
        identity: of the image in its dataset, such as `glass/1.jpg` or `train/17`.
        encoded: the bytes of its file.
    """
    name = pathlib.PurePath(identity).name
    if pathlib.PurePath(name).suffix.lower() in SUFFIXES:
        return name
    return f"{name}.{open_header(encoded).format.lower()}"


def check_file(path):
    """Checks the header of an image file, without decoding pixels.

    Raises:
        UserError: the file cannot be read, or `open_header` rejects it.
    """
    try:
        check(pathlib.Path(path).read_bytes(), path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def check(encoded, name):
    """Checks the header of an image, without decoding pixels.

    Args:
        encoded: bytes of the file.
        name: what to call it in a message.

    Raises:
        UserError: `open_header` rejects it.
    """
    try:
        with _FILTERS, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            open_header(encoded)
    except ImageError as error:
        raise UserError(f"{name}: {error.detail}; {REMEDIES[error.kind]}") from None


def in_8_bits(image):
    """An open `PIL.Image.Image`; 16-bit gray as `decode` reads it: Pillow makes most of it white."""
    if not image.mode.startswith("I;16"):
        return image
    made = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if "transparency" in image.info:
        made.info["transparency"] = image.info["transparency"] >> 8
    return made


def to_rgb(image):
    """An open `PIL.Image.Image` as RGB, with `BACKGROUND` behind transparent pixels, as `decode` does it.

    Of a GIF, TensorFlow makes transparent pixels black.
    """
    image = in_8_bits(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    ground = Image.new("RGBA", image.size, (int(BACKGROUND),) * 3)
    return Image.alpha_composite(ground, image).convert("RGB")


def decode(encoded, image_size, resize="stretch"):
    """Decodes and resizes one image, as an app does before it runs the network.

    Args:
        encoded: scalar string tensor: a JPEG, PNG, GIF (the first frame), BMP or WebP.
        image_size: height and width of the result, in pixels.
        resize: one of `options.RESIZES`.

    Returns:
        uint8 RGB `[image_size, image_size, 3]`, antialiased where the image shrinks.

    Raises:
        tf.errors.InvalidArgumentError: the bytes are not a complete image.
    """
    return resize_pixels(decode_pixels(encoded), image_size, resize)


def decode_quickly(encoded, image_size, resize="stretch"):
    """Like `decode` in a third of the time, for images that augmentation resamples anyway.

    A JPEG of at least twice the size is shrunk by a factor of 2, 4 or 8 in its cosine transform, while it is
    decoded. The remaining factor, less than 2, is bilinear without antialiasing.
    """
    pixels = decode_pixels(encoded, min_side=image_size)
    return tf.cond(
        # Images in other formats may still be large.
        tf.reduce_min(tf.shape(pixels)[:2]) >= 2 * image_size,
        lambda: resize_pixels(pixels, image_size, resize),
        lambda: resize_pixels(pixels, image_size, resize, antialias=False),
    )


def decode_pixels(encoded, min_side=None):
    """Decodes an image at its own size, upright: uint8 RGB `[height, width, 3]`.

    Args:
        encoded: scalar string tensor.
        min_side: lets a JPEG be decoded smaller, by a factor of 2, 4 or 8, as long as no side falls below
            this number of pixels.
    """
    pixels = tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: _upright(_jpeg(encoded, min_side), encoded),
        lambda: _other_format(encoded),
    )
    pixels.set_shape([None, None, 3])
    return pixels


def resize_pixels(pixels, image_size, resize="stretch", antialias=True):
    """Resizes `pixels`, `[height, width, 3]`, to uint8 `[image_size, image_size, 3]`."""
    if resize == "crop":
        side = tf.reduce_min(tf.shape(pixels)[:2])
        top, left = (tf.shape(pixels)[0] - side) // 2, (tf.shape(pixels)[1] - side) // 2
        pixels = pixels[top : top + side, left : left + side]
    if resize == "letterbox":
        sides = tf.cast(tf.shape(pixels)[:2], tf.float32)
        # At least one pixel: a panorama may be a thousand times as wide as high.
        inside = tf.maximum(tf.cast(tf.round(sides * (image_size / tf.reduce_max(sides))), tf.int32), 1)
        pixels = tf.image.resize(pixels, inside, antialias=antialias)
        pixels = tf.image.resize_with_crop_or_pad(pixels, image_size, image_size)
    else:
        pixels = tf.image.resize(pixels, [image_size, image_size], antialias=antialias)
    pixels.set_shape([image_size, image_size, 3])
    # Weighted means of bytes stay in 0..255: nothing needs to be clipped.
    return tf.cast(pixels + 0.5, tf.uint8)


def _jpeg(encoded, min_side):
    if min_side is None:
        return tf.io.decode_jpeg(encoded, channels=3, dct_method=DCT_METHOD)
    sides = tf.image.extract_jpeg_shape(encoded)[:2]
    halvings = tf.reduce_sum(
        tf.cast(tf.reduce_min(sides) >= [2 * min_side, 4 * min_side, 8 * min_side], tf.int32)
    )
    decoders = [
        lambda ratio=ratio: tf.io.decode_jpeg(encoded, channels=3, ratio=ratio, dct_method=DCT_METHOD)
        for ratio in (1, 2, 4, 8)
    ]
    return tf.switch_case(halvings, decoders)


# Not inlined: tf.data would step through each of its operations for every JPEG.
@tf.function(autograph=False, experimental_attributes={"_noinline": True})
def _other_format(encoded):
    """PNG, WebP, BMP or GIF; TensorFlow raises an error for anything else."""

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
    """Byte 25 is the color type: 4 and 6 have alpha; else a chunk tRNS says which color is transparent."""
    kind = tf.io.decode_raw(tf.strings.substr(encoded, 25, 1), tf.uint8)[0]
    # Of a tensor of unknown rank, `split` would expect a vector.
    head = tf.strings.split(tf.ensure_shape(encoded, []), b"IDAT", maxsplit=1)[0]
    has_transparent_color = tf.size(tf.strings.split(head, b"tRNS", maxsplit=1)) > 1
    return tf.cond(
        tf.reduce_any(kind == [4, 6]) | has_transparent_color,
        lambda: _on_background(tf.io.decode_png(encoded, channels=4)),
        # Without alpha: TensorFlow fills it with 1, 3 or 15, not 255, in images of few bits per pixel.
        lambda: tf.io.decode_png(encoded, channels=3),
    )


def _webp(encoded):
    """Byte 20 of an extended file and byte 24 of a lossless one say whether there is alpha."""
    head = tf.io.decode_raw(tf.strings.substr(encoded, 0, 32), tf.uint8)
    kind = tf.strings.substr(encoded, 12, 4)
    extended, lossless = tf.equal(kind, b"VP8X"), tf.equal(kind, b"VP8L")
    # TensorFlow 2.21 writes past its buffer if an animation has more than one frame.
    still = tf.debugging.Assert(
        tf.logical_not(extended & (tf.bitwise.bitwise_and(head[20], 2) > 0)), ["animated WebP"]
    )
    with tf.control_dependencies([still] if still is not None else []):
        flags = tf.where(extended, head[20], tf.where(lossless, head[24], 0))
    return tf.cond(
        tf.bitwise.bitwise_and(flags, 16) > 0,
        lambda: _on_background(tf.io.decode_webp(encoded, channels=4)[0]),
        lambda: tf.io.decode_webp(encoded, channels=3)[0],
    )


def _bmp(encoded):
    """Looks up the palette: TensorFlow takes 8-bit pixels for gray values, but they are indices.

    Without compression (bytes 30 to 33 are 0) the fourth byte of a 32-bit pixel means nothing; TensorFlow
    takes it for alpha.
    """
    head = tf.io.decode_raw(tf.strings.substr(encoded, 0, 34), tf.uint8)
    pixels = tf.io.decode_bmp(encoded)
    start, header = _number(head[10:14]), _number(head[14:18])
    length = start - 14 - header

    def from_palette():
        palette = tf.io.decode_raw(tf.strings.substr(encoded, 14 + header, length), tf.uint8)
        # Blue, green, red and an unused byte.
        return tf.gather(
            tf.reverse(tf.reshape(palette, (-1, 4))[:, :3], [1]), tf.cast(pixels[..., 0], tf.int32)
        )

    opaque = tf.where((head[28] == 32) & (_number(head[30:34]) == 0), 3, tf.shape(pixels)[-1])
    return tf.cond((head[28] <= 8) & (length > 0), from_palette, lambda: _to_rgb(pixels[..., :opaque]))


def _to_rgb(pixels):
    """RGB from gray, RGB or RGBA; transparent pixels show the background."""
    return tf.switch_case(
        tf.cast(tf.shape(pixels)[-1] // 2, tf.int32),
        [
            lambda: tf.image.grayscale_to_rgb(pixels[..., :1]),
            lambda: pixels[..., :3],
            lambda: _on_background(pixels),
        ],
    )


def _on_background(pixels):
    """RGBA to RGB on a white background."""
    opaque = tf.cast(pixels[..., 3:], tf.float32) / 255.0
    color = tf.cast(pixels[..., :3], tf.float32) * opaque + BACKGROUND * (1 - opaque)
    return tf.cast(tf.round(color), tf.uint8)


def _upright(pixels, encoded):
    """Turns a JPEG's pixels upright by its Exif orientation: phones store them as the sensor was held."""
    # Most JPEGs have none, and reading it takes half as long as decoding.
    return tf.cond(_has_exif(encoded), lambda: _turned(pixels, encoded), lambda: pixels)


@tf.function(autograph=False, experimental_attributes={"_noinline": True})
def _turned(pixels, encoded):
    orientation = exif_orientation(encoded)
    # Orientations 5 to 8 are transposed. Of each four, two are flipped in each direction.
    upright = tf.cond(orientation >= 5, lambda: tf.transpose(pixels, [1, 0, 2]), lambda: pixels)
    flip_y = tf.reduce_any(orientation == [3, 4, 7, 8])
    flip_x = tf.reduce_any(orientation == [2, 3, 6, 7])
    upright = tf.cond(flip_y, lambda: tf.reverse(upright, [0]), lambda: upright)
    return tf.cond(flip_x, lambda: tf.reverse(upright, [1]), lambda: upright)


def _has_exif(encoded):
    head = tf.strings.substr(encoded, 0, _EXIF_WITHIN)
    return tf.strings.regex_full_match(head, r"\C*Exif\x00\x00\C*")


def exif_orientation(encoded):
    """The Exif orientation of a JPEG, 1 (upright) to 8; 1 if it has no Exif segment or a damaged one.

    Exif 2.3, section 4.6: `Exif`, two zero bytes, then a TIFF header (byte order, 42, offset of the
    directory). A directory is a number of entries, followed by 12 bytes per entry. TensorFlow ignores all
    of it.

    Args:
        encoded: scalar string tensor.

    Returns:
        A scalar int32 tensor.
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
    """Bytes, least significant first, as an int32; 0 if there are no bytes."""
    places = tf.range(tf.size(part), dtype=tf.int32)
    shifted = tf.bitwise.left_shift(tf.cast(part, tf.int32), 8 * places)
    # A damaged file may give a negative offset, which points nowhere.
    return tf.maximum(tf.reduce_sum(shifted), 0)

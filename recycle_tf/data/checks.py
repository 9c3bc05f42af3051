"""Checks image files: content hash, problems and thumbnail, from one reading of each file."""

import dataclasses
import functools
import os
import re
import warnings

import numpy as np
import tensorflow as tf
from PIL import Image

from recycle_tf.data import decode, near_duplicates, parallel, splits

UNUSABLE = {
    "unusable_name": "file names that cannot be used",
    "missing": "missing files",
    "changed": "files that do not match the hash in the manifest",
    "empty": "empty files",
    "not_an_image": "files that are not images",
    "unreadable": "damaged images",
    "animated": "animated WebP images",
    "huge": f"images of more than {decode.MAX_PIXELS // 10**6} million pixels",
}
"""Problems of a file that cannot be used for training, most serious first, and a heading for each."""

UNUSUAL = {
    "wrong_extension": "images whose extension names another format",
    "tiny": "tiny images",
    "sideways": "images with an Exif orientation",
}
"""Problems of a file that can be used nevertheless, and a heading for each."""

REMEDIES = {
    **decode.REMEDIES,
    "unusable_name": "rename it",
    "missing": "restore it, or remove the line",
    "changed": "restore it, or write the manifest again",
}
"""What a user can do about each problem in `UNUSABLE`."""

MIN_SIDE = 32
"""Smallest image side, in pixels, that is not reported as tiny: the smallest input of a network."""


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """What was found in a file.

    Attributes:
        digest: its `splits.content_hash`; None if the file cannot be read.
        problems: `(kind, detail)` pairs, with kinds of `UNUSABLE` and `UNUSUAL`.
        thumbnail: its `near_duplicates.thumbnail`; None if it was not wanted or cannot be made.
    """

    digest: str | None
    problems: tuple = ()
    thumbnail: np.ndarray | None = None


def check_all(names, read, *, compare, thorough):
    """Checks files in parallel, with a progress bar. Each is read once.

    Args:
        names: names of the files; a suffix that does not match the format is reported.
        read: function from a name to the file's bytes; it may raise `OSError`.
        compare: whether to make thumbnails.
        thorough: whether to decode every image completely, as training does, and to report `UNUSUAL` too.
            Otherwise problems are those that the header shows.

    Returns:
        `{name: Check}`, in the order of `names`.
    """

    def check_one(name):
        try:
            encoded = read(name)
        except FileNotFoundError:
            return Check(None, (("missing", "no such file"),))
        except OSError as error:
            return Check(None, (("unreadable", f"cannot be read ({error.strerror})"),))
        return check(encoded, name, compare=compare, thorough=thorough)

    names = list(names)
    with _without_warnings():
        return dict(zip(names, parallel.each(check_one, names, "reading images"), strict=True))


def check(encoded, name, *, compare, thorough):
    """Checks the bytes of one file; arguments as for `check_all`.

    Returns:
        A `Check`.
    """
    digest = splits.content_hash(encoded)
    try:
        image = decode.open_header(encoded)
        if not thorough:
            return Check(digest, (), _thumbnail_or_none(image) if compare else None)
        unusual = tuple(_unusual(image, name))
        thumbnail = _decoded(image, encoded)
    except decode.ImageError as error:
        return Check(digest, ((error.kind, error.detail),))
    return Check(digest, unusual, thumbnail if compare else None)


def thumbnails(contents):
    """Thumbnails of encoded images, in parallel, with a progress bar.

    Args:
        contents: functions without arguments, each of which returns the bytes of an image.

    Returns:
        A list of thumbnails, with None for images that cannot be decoded.
    """

    def thumbnail(content):
        try:
            return _thumbnail_or_none(decode.open_header(content()))
        except (decode.ImageError, tf.errors.OpError):
            # A file that has disappeared is named by the pass that decodes it.
            return None

    with _without_warnings():
        return parallel.each(thumbnail, contents, "comparing images")


def thumbnails_of(parts, known):
    """Thumbnails of all examples of some splits; those that were not made before are made now.

    Args:
        parts: `sources.Split`s.
        known: `{content hash: thumbnail}`.

    Returns:
        `{content hash: thumbnail}`, with None for images that cannot be decoded.
    """
    reads = {
        digest: functools.partial(_read, split, index)
        for split in parts
        for index, digest in enumerate(split.hashes)
        if digest not in known
    }
    made = thumbnails(list(reads.values())) if reads else ()
    return {**known, **dict(zip(reads, made, strict=True))}


def _read(split, index):
    return split.encoded(tf.constant(index, tf.int64)).numpy()


def _without_warnings():
    """Silences Pillow's warnings about large images and odd metadata: problems are reported by `check`."""
    return warnings.catch_warnings(action="ignore")


def _thumbnail_or_none(image):
    try:
        return near_duplicates.thumbnail(image)
    except Exception:
        # Pillow's decoders raise exceptions of any type. Whether the image is damaged is decided by the
        # decoder that training uses: the two do not tolerate the same damage.
        return None


def _decoded(image, encoded):
    """The thumbnail, after decoding the image with Pillow and with TensorFlow.

    Raises:
        decode.ImageError: one of them cannot decode it.
    """
    try:
        thumbnail = near_duplicates.thumbnail(image)
        decode.decode_pixels(tf.constant(encoded))
    except tf.errors.OpError as error:
        if "animated WebP" in error.message:
            raise decode.ImageError("animated", "an animated WebP") from None
        raise decode.ImageError("unreadable", f"damaged: {_plain(error.message)}") from None
    except Exception as error:
        # Pillow's decoders raise exceptions of any type.
        raise decode.ImageError("unreadable", f"damaged: {_plain(str(error))}") from None
    return thumbnail


def _plain(message):
    """A decoder's message on one line, without the names of TensorFlow's nodes."""
    text = re.sub(r"\{\{.*?\}\}", "", message).partition(" [Op:")[0]
    return " ".join(text.split())[:100]


def _unusual(image, name):
    """Problems of `UNUSUAL`, as `(kind, detail)`."""
    # MPO is a JPEG followed by further ones, as some phones write.
    actual = {"MPO": "JPEG"}.get(image.format, image.format)
    suffix = os.path.splitext(name)[1].lower()
    if suffix and Image.registered_extensions().get(suffix) != actual:
        yield "wrong_extension", f"a {actual} file named {suffix}"
    width, height = image.size
    if min(width, height) < MIN_SIDE:
        yield "tiny", f"{width} x {height} pixels"
    orientation = near_duplicates.orientation(image)
    if orientation != 1:
        yield "sideways", f"Exif orientation {orientation}"

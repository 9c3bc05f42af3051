"""Damaged images: pixels, or one line that names the file."""

import contextlib
import io

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from recycle_tf import options
from recycle_tf.data import decode
from recycle_tf.errors import UserError
from recycle_tf.evaluation import inputs
from tests.fuzz.mutations import answer_or_user_error, damaged, examples

LARGE = 2_000_000
"""Pixels above which an example is left out: it would test the machine's memory."""


def encoded(kind, mode="RGB", orientation=None, **options):
    """A small image as bytes."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 4), np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    if orientation:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


FILES = {
    "jpeg": encoded("JPEG", orientation=6),
    "jpeg_progressive": encoded("JPEG", progressive=True),
    "jpeg_gray": encoded("JPEG", "L"),
    "jpeg_cmyk": encoded("JPEG", "CMYK"),
    "png": encoded("PNG"),
    "png_alpha": encoded("PNG", "RGBA"),
    "png_palette": encoded("PNG", "P"),
    "png_bits": encoded("PNG", "1"),
    "gif": encoded("GIF", "P"),
    "bmp": encoded("BMP"),
    "bmp_palette": encoded("BMP", "P"),
    "bmp_gray": encoded("BMP", "L"),
    "webp": encoded("WEBP"),
    "webp_alpha": encoded("WEBP", "RGBA"),
    "webp_lossless": encoded("WEBP", "RGBA", lossless=True),
}


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_image_is_pixels_or_one_line(name, tmp_path):
    path = tmp_path / f"image.{name.partition('_')[0]}"

    @examples(12)
    @given(content=damaged(FILES[name]), resize=st.sampled_from(options.RESIZES))
    def check(content, resize):
        path.write_bytes(content)
        if isinstance(answer_or_user_error(decode.check_file, path), UserError):
            return
        with Image.open(path, formats=decode.FORMATS) as image:
            assume(image.width * image.height < LARGE)
        found = answer_or_user_error(inputs.read, path, 16, resize)
        if isinstance(found, UserError):
            assert str(path) in str(found)
        else:
            assert found.shape == (16, 16, 3)
            assert found.dtype == np.uint8

    check()


def test_the_decoder_of_training_gives_pixels_or_an_error_of_tensorflow(tmp_path):
    """Nothing but `tf.errors.OpError`, which training turns into a line that names the file."""
    path = tmp_path / "image"

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def quickly(content):
        return decode.decode_quickly(content, 8)

    @examples(60)
    @given(content=st.sampled_from(sorted(FILES)).flatmap(lambda name: damaged(FILES[name])))
    def check(content):
        path.write_bytes(content)
        assume(answer_or_user_error(decode.check_file, path) is None)
        with Image.open(path, formats=decode.FORMATS) as image:
            assume(image.width * image.height < LARGE)
        with contextlib.suppress(tf.errors.OpError):
            assert quickly(tf.constant(content)).shape == (8, 8, 3)

    check()

"""From bytes to pixels."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from recycle_tf.data import decode
from recycle_tf.errors import UserError


def encoded(pixels, kind):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


GRADIENT = np.dstack([np.tile(np.arange(40, dtype=np.uint8) * 6, (20, 1))] * 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP"])
def test_formats(kind):
    data = encoded(GRADIENT, kind)
    found = decode.decode(tf.constant(data), 20)
    assert found.dtype == tf.uint8
    assert found.shape == (20, 20, 3)
    assert np.abs(found.numpy().astype(int)[:, 1:-1, 0] - (np.arange(20) * 12 + 3)[1:-1]).max() <= 4


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.jpg", b"hello, I am a text", "not a picture"),
        ("empty.png", b"", "not a picture"),
        ("folder.jpg", None, "not a picture"),
        ("page.webp", "WEBP", "not a picture"),
        ("bomb.png", (12000, 12000), "more than 120 million pixels"),
    ],
)
def test_files_that_are_not_decoded(tmp_path, name, content, message):
    path = tmp_path / name
    if content is None:
        path.mkdir()
    elif content == "WEBP":
        Image.fromarray(GRADIENT).save(path, content)
    elif isinstance(content, tuple):
        Image.new("1", content).save(path)
        assert path.stat().st_size < 100_000
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        decode.check_file(path)


def test_text_is_no_picture():
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode.decode(tf.constant(b"hello, I am a text"), 20)


def test_stretch_crop_and_letterbox():
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255
    crop = decode.resize_pixels(wide, 10, "crop").numpy()
    assert (crop == 255).all()
    stretch = decode.resize_pixels(wide, 30, "stretch").numpy()
    assert (stretch[:, 12:18] == 255).all()
    assert (stretch[:, :8] == 0).all()
    letterbox = decode.resize_pixels(wide, 30, "letterbox").numpy()
    assert (letterbox[:9] == 0).all()
    assert (letterbox[12:18, 12:18] == 255).all()


def test_shrinking_averages_instead_of_skipping():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    small = decode.resize_pixels(stripes, 8).numpy()
    assert np.abs(small.astype(int) - 127).max() < 12

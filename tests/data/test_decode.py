"""From encoded bytes to pixels."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from recycle_tf import options
from recycle_tf.data import decode
from recycle_tf.errors import UserError


def encoded(pixels, kind):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


GRADIENT = np.dstack([np.tile(np.arange(40, dtype=np.uint8) * 6, (20, 1))] * 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_formats(kind):
    data = encoded(GRADIENT, kind)
    found = decode.decode(tf.constant(data), 20)
    assert found.dtype == tf.uint8
    assert found.shape == (20, 20, 3)
    assert np.abs(found.numpy().astype(int)[:, 1:-1, 0] - (np.arange(20) * 12 + 3)[1:-1]).max() <= 4


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("text.jpg", b"hello, I am a text", "not an image"),
        ("empty.png", b"", "empty"),
        ("folder.jpg", None, "directory"),
        ("page.tiff", "TIFF", "not an image"),
        ("bomb.png", (12000, 12000), "120 million"),
    ],
)
def test_files_that_are_not_decoded(tmp_path, name, content, reason):
    path = tmp_path / name
    if content is None:
        path.mkdir()
    elif content == "TIFF":
        Image.fromarray(GRADIENT).save(path, content)
    elif isinstance(content, tuple):
        Image.new("1", content).save(path)
        assert path.stat().st_size < 100_000
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"{path}: .*{reason}"):
        decode.check_file(path)


def test_an_image_without_a_file_name_gets_a_suffix():
    encoded = io.BytesIO()
    Image.new("RGB", (4, 4)).save(encoded, "JPEG")
    names = {"glass/1.JPG": "1.JPG", "train/17": "17.jpeg", "a/b.7": "b.7.jpeg"}
    for identity, name in names.items():
        assert decode.file_name(identity, encoded.getvalue()) == name


def test_text_is_not_decoded():
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


BLOCKS = np.kron(
    np.random.default_rng(3).integers(0, 256, (3, 4, 3), dtype=np.uint8), np.ones((16, 16, 1), np.uint8)
)
IMAGE = Image.fromarray(BLOCKS)


def saved(image, kind, **arguments):
    buffer = io.BytesIO()
    image.save(buffer, kind, **arguments)
    return buffer.getvalue()


def with_alpha():
    alpha = np.full(BLOCKS.shape[:2], 255, np.uint8)
    alpha[:, :20], alpha[:, 20:40] = 0, 100
    image = IMAGE.convert("RGBA")
    image.putalpha(Image.fromarray(alpha))
    return image


def expected(data):
    """As Pillow reads it, on white."""
    image = Image.open(io.BytesIO(data))
    if image.mode == "I;16":
        return np.repeat((np.asarray(image) // 256)[..., None], 3, axis=2)
    white = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")).astype(int)


@pytest.mark.parametrize(
    ("image", "kind", "options"),
    [
        (IMAGE, "JPEG", {"quality": 95}),
        (IMAGE, "JPEG", {"quality": 95, "progressive": True}),
        (IMAGE.convert("L"), "JPEG", {}),
        (IMAGE.convert("CMYK"), "JPEG", {"quality": 95}),
        (IMAGE, "PNG", {}),
        (IMAGE.convert("L"), "PNG", {}),
        (IMAGE.convert("P"), "PNG", {}),
        (IMAGE.convert("1"), "PNG", {}),
        (IMAGE.quantize(2), "PNG", {}),
        (IMAGE.quantize(4), "PNG", {}),
        (IMAGE.quantize(16), "PNG", {}),
        (IMAGE.quantize(16), "PNG", {"transparency": 0}),
        (IMAGE, "PNG", {"transparency": IMAGE.getpixel((0, 0))}),
        (IMAGE.convert("L"), "PNG", {"transparency": IMAGE.convert("L").getpixel((0, 0))}),
        (IMAGE.convert("1"), "PNG", {"transparency": 0}),
        (with_alpha(), "PNG", {}),
        (with_alpha().convert("LA"), "PNG", {}),
        (Image.fromarray(BLOCKS[..., 0].astype(np.uint16) * 257), "PNG", {}),
        (IMAGE, "BMP", {}),
        (IMAGE.convert("L"), "BMP", {}),
        (IMAGE.convert("P"), "BMP", {}),
        (IMAGE.convert("P"), "GIF", {}),
        (IMAGE.convert("P"), "GIF", {"save_all": True, "append_images": [IMAGE.convert("L")]}),
        (IMAGE, "WEBP", {"lossless": True}),
        (with_alpha(), "WEBP", {"lossless": True, "exact": True}),
        (with_alpha(), "WEBP", {"quality": 100}),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else "-".join(value) or None,
)
def test_every_mode_of_every_format(image, kind, options):
    data = saved(image, kind, **options)
    found = decode.decode_pixels(tf.constant(data)).numpy().astype(int)
    # Lossy files differ by their chroma, where the two libraries smooth differently.
    lossy = (kind == "JPEG" and image.mode != "L") or options.get("quality") == 100
    assert np.abs(found - expected(data)).mean() < (2.5 if lossy else 0.5)


def test_an_animated_webp_is_an_error(tmp_path):
    data = saved(IMAGE, "WEBP", save_all=True, append_images=[IMAGE.rotate(180)])
    with pytest.raises(tf.errors.InvalidArgumentError, match="animated WebP"):
        decode.decode_pixels(tf.constant(data))
    with pytest.raises(tf.errors.InvalidArgumentError, match="animated WebP"):
        tf.function(decode.decode_pixels)(tf.constant(data))
    (tmp_path / "moving.webp").write_bytes(data)
    with pytest.raises(UserError, match="moving.webp.*animated"):
        decode.check_file(tmp_path / "moving.webp")


def test_a_hundred_megapixels_are_not_too_many(tmp_path):
    Image.new("1", (10000, 10000)).save(tmp_path / "wide.png")
    decode.check_file(tmp_path / "wide.png")


def test_a_bmp_of_two_colors_is_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode.decode_pixels(tf.constant(saved(IMAGE.convert("1"), "BMP")))


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_sideways_photographs_are_turned_upright(orientation, endian):
    exif = Image.Exif()
    exif.endian = endian
    exif[0x010F], exif[0x0112], exif[0x0131] = "a phone", orientation, "its software"
    data = saved(IMAGE, "JPEG", quality=95, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))).astype(int)
    assert decode.exif_orientation(tf.constant(data)) == orientation
    found = decode.decode_pixels(tf.constant(data)).numpy()
    assert found.shape == upright.shape
    assert np.abs(found - upright).mean() < 2.5
    assert decode.decode_pixels(tf.constant(data), min_side=10).shape == (
        upright.shape[0] // 4,
        upright.shape[1] // 4,
        3,
    )


def test_a_damaged_exif_segment_is_ignored():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(IMAGE, "JPEG", exif=exif)
    start = data.index(b"Exif\0\0") + 6
    for at in range(start, start + 24):
        for value in (0, 127, 255):
            broken = data[:at] + bytes([value]) + data[at + 1 :]
            orientation = decode.exif_orientation(tf.constant(broken))
            assert 1 <= orientation <= 8
            assert decode.decode_pixels(tf.constant(broken)).shape in ((48, 64, 3), (64, 48, 3))
    # The value itself, out of range.
    assert decode.exif_orientation(tf.constant(data.replace(b"\x06\x00\x00\x00", b"\x09\x00\x00\x00"))) == 1
    assert decode.exif_orientation(tf.constant(saved(IMAGE, "JPEG"))) == 1


@pytest.mark.parametrize(("size", "ratio"), [(100, 1), (48, 1), (24, 2), (13, 2), (12, 4), (6, 8), (1, 8)])
def test_large_jpegs_are_shrunk_while_they_are_decoded(size, ratio):
    data = tf.constant(saved(IMAGE, "JPEG"))
    assert decode.decode_pixels(data, min_side=size).shape == (48 // ratio, 64 // ratio, 3)


def test_decode_quickly_gives_nearly_the_same_image():
    smooth = IMAGE.resize((512, 384), Image.Resampling.BICUBIC)
    for kind in ("JPEG", "PNG"):
        data = tf.constant(saved(smooth, kind))
        for size in (40, 150, 300):
            quick, exact = decode.decode_quickly(data, size), decode.decode(data, size)
            assert quick.shape == exact.shape
            assert np.abs(quick.numpy().astype(int) - exact.numpy()).mean() < 2


@pytest.mark.parametrize("sides", [(3000, 1), (1, 3000), (2, 7)])
@pytest.mark.parametrize("resize", options.RESIZES)
def test_extreme_shapes(sides, resize):
    pixels = np.full((*sides, 3), 200, np.uint8)
    found = decode.resize_pixels(tf.constant(pixels), 32, resize).numpy()
    assert found.shape == (32, 32, 3)
    assert found.max() == 200


def test_a_jpeg_has_the_pixels_of_other_decoders():
    """TensorFlow's default transform is 0.8 levels darker on average, which moved a probability by 0.1."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3)).astype(np.uint8)
    photo = Image.fromarray(pixels).resize((96, 72), Image.Resampling.BICUBIC)
    content = io.BytesIO()
    photo.save(content, "JPEG", quality=90)
    np.testing.assert_array_equal(decode.decode_pixels(content.getvalue()), np.array(Image.open(content)))


def test_the_fourth_byte_of_a_bmp_without_compression_is_not_alpha():
    data = saved(with_alpha(), "BMP")
    assert data[28] == 32
    assert data[30:34] == bytes(4)
    np.testing.assert_array_equal(decode.decode_pixels(tf.constant(data)), expected(data))
    np.testing.assert_array_equal(tf.function(decode.decode_pixels)(tf.constant(data)), expected(data))


SIXTEEN_BITS = Image.fromarray(BLOCKS[..., 0].astype(np.uint16) * 257)


@pytest.mark.parametrize(
    "image",
    [with_alpha(), with_alpha().convert("LA"), IMAGE, IMAGE.convert("P"), IMAGE.quantize(16), SIXTEEN_BITS],
)
def test_an_open_image_becomes_rgb_as_its_file_does(image):
    np.testing.assert_allclose(
        np.int32(decode.to_rgb(image)), decode.decode_pixels(tf.constant(saved(image, "PNG"))), atol=1
    )


def test_a_gif_with_a_frame_that_is_too_large():
    data = saved(IMAGE.convert("P"), "GIF", save_all=True, append_images=[IMAGE.convert("L").rotate(90)])
    decode.check(data, "moving.gif")
    second = data.rindex(b",\0\0\0\0")
    huge = data[: second + 5] + b"\xff\xff\xff\xff" + data[second + 9 :]
    with pytest.raises(UserError, match="moving.gif.*65535 x 65535"):
        decode.check(huge, "moving.gif")
    # Frames of 10,000 x 10,000 are not too large, five of them are.
    frame = b",\0\0\0\0\x10\x27\x10\x27\0\x02\x01\x44\0"
    head = b"GIF89a" + 7 * b"\0"
    decode._check_frames(head + 4 * frame)
    with pytest.raises(decode.ImageError, match="480 million"):
        decode._check_frames(head + 5 * frame)

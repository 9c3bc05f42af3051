"""Masks of drawn objects on drawn backgrounds."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from recycle_tf.data import cutout

SIZE = 160


def scene(shape, color=(40, 90, 160), ground=(225, 218, 205), falloff=0.15, shadow=False, seed=0):
    """An object on paper in uneven light: uint8 image, and its mask as a bool array."""
    place = (np.arange(SIZE) + 0.5) / SIZE - 0.5
    light = 1 - falloff * 2 * (place[:, None] ** 2 + place**2) + 0.1 * place
    mask = Image.new("L", (SIZE, SIZE))
    shape(ImageDraw.Draw(mask))
    mask = np.asarray(mask) > 0
    image = np.float32(ground) * light[..., None]
    if shadow:
        moved = (
            Image.fromarray(np.roll(mask, (10, 10), (0, 1))).convert("L").filter(ImageFilter.GaussianBlur(10))
        )
        image *= 1 - 0.4 * np.asarray(moved, np.float32)[..., None] / 255
    noise = np.random.default_rng(seed).normal(0, 2, image.shape)
    image = np.where(mask[..., None], np.float32(color), image) + noise
    return np.clip(image, 0, 255).astype(np.uint8), mask


def disc(pen):
    pen.ellipse([50, 40, 110, 120], 255)


def bottle(pen):
    pen.rectangle([60, 60, 100, 140], 255)
    pen.rectangle([72, 20, 88, 60], 255)


def cut_off(pen):
    pen.rectangle([50, 90, 120, 170], 255)


def overlap(found, mask):
    found = found > 127
    return (found & mask).sum() / (found | mask).sum()


@pytest.mark.parametrize("shape", [disc, bottle, cut_off])
@pytest.mark.parametrize("shadow", [False, True])
@pytest.mark.parametrize("color", [(40, 90, 160), (30, 30, 30), (250, 120, 30)])
def test_finds_the_object_and_not_its_shadow(shape, shadow, color):
    image, mask = scene(shape, color, shadow=shadow)
    assert overlap(cutout.masks(image[None])[0], mask) > 0.85


def test_an_object_of_the_background_s_color_is_filled_in_from_its_outline():
    def outline(pen):
        pen.rectangle([40, 40, 120, 120], outline=255, width=6)

    image, mask = scene(outline, (120, 110, 100))
    whole = np.zeros_like(mask)
    whole[40:121, 40:121] = True
    assert overlap(cutout.masks(image[None])[0], whole) > 0.9


@pytest.mark.parametrize(
    "image",
    [
        scene(lambda pen: pen.rectangle([5, 5, 155, 155], 255))[0],
        scene(lambda pen: None)[0],
        scene(disc, ground=(190, 140, 80))[0],
        scene(disc, ground=(40, 40, 40), color=(200, 60, 60))[0],
        np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), np.uint8),
    ],
    ids=["fills the image", "no object", "cardboard", "dark", "clutter"],
)
def test_without_a_certain_mask_the_whole_image_counts(image):
    assert cutout.masks(image[None]).min() == 255


def test_a_mask_does_not_depend_on_the_other_images_of_its_batch():
    images = np.stack([scene(shape)[0] for shape in (disc, bottle, cut_off)])
    together = cutout.masks(images)
    for image, mask in zip(images, together, strict=True):
        np.testing.assert_array_equal(cutout.masks(image[None])[0], mask)


@pytest.mark.parametrize("size", [24, 300])
def test_masks_have_the_size_of_the_images(size):
    image = np.asarray(Image.fromarray(scene(disc)[0]).resize((size, size)))
    found = cutout.masks(image[None])
    assert found.shape == (1, size, size)
    assert found.dtype == np.uint8
    assert 0.1 < (found > 127).mean() < 0.2


def test_the_background_continues_under_the_object():
    image, mask = scene(disc, falloff=0.3)
    empty, _ = scene(lambda pen: None, falloff=0.3)
    surface = cutout.background(image[None].astype(np.float32))[0]
    assert np.abs(surface - empty)[mask].mean() < 5

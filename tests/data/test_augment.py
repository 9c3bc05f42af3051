"""Augmentation: matrices and boxes from draws."""

import numpy as np
import pytest
import tensorflow as tf

from recycle_tf import options
from recycle_tf.data import augment, pipeline, sources
from recycle_tf.errors import UserError


def test_every_choice_is_a_policy():
    assert augment.policies() == options.POLICIES


# Of keras-cv's policies, which have tests of their own, the fastest.
@pytest.mark.parametrize("name", ["none", "trivial", "basic", "upright", "gridmask"])
def test_policies_keep_shape_and_range_and_labels(photos, name):
    split = sources.open_source(photos).splits["train"]
    dataset = pipeline.build_training(split, 3, 16, 8, augment=name)
    images, labels = next(dataset.as_numpy_iterator())
    assert images.shape == (8, 16, 16, 3)
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 255
    # Each class has a color of its own, which the mean of the image retains.
    if name != "gridmask":
        np.testing.assert_array_equal(images.mean((1, 2)).argmax(1), labels.argmax(1))


def test_unknown_policy():
    with pytest.raises(UserError, match="`augment=basik`.*basic"):
        augment.policy("basik")


def draws(count=1, **columns):
    """Draws for some images: a half everywhere (the middle, the mean), but for `dN=value`."""
    values = np.full((count, augment.NUM_DRAWS), 0.5, np.float32)
    values[:, 0], values[:, 4:7] = 1.0, 0.0
    for name, value in columns.items():
        values[:, int(name[1:])] = value
    return tf.constant(values)


def random_draws(count):
    return tf.constant(np.random.default_rng(0).uniform(size=(count, augment.NUM_DRAWS)).astype(np.float32))


NOISE = np.random.default_rng(0).integers(20, 200, (1, 8, 8, 3), dtype=np.uint8)
SMOOTH = np.random.default_rng(0).uniform(60, 190, (1, 3, 3, 3)).astype(np.float32)
SMOOTH = tf.image.resize(SMOOTH, (64, 64), "bicubic").numpy().astype(np.uint8)


def placed(images, size, **columns):
    return augment.resample(images, augment.placed(draws(len(images), **columns)), size).numpy()


def test_crop_of_the_whole_image_changes_nothing():
    np.testing.assert_allclose(placed(NOISE, 8), NOISE, atol=1e-3)


def test_flips_and_quarter_turns():
    np.testing.assert_allclose(placed(NOISE, 8, d4=0.9), NOISE[:, ::-1], atol=1e-3)
    np.testing.assert_allclose(placed(NOISE, 8, d5=0.9), NOISE[:, :, ::-1], atol=1e-3)
    np.testing.assert_allclose(placed(NOISE, 8, d6=0.9), NOISE.transpose(0, 2, 1, 3), atol=1e-3)
    np.testing.assert_allclose(
        placed(NOISE, 8, d4=0.9, d6=0.9), NOISE.transpose(0, 2, 1, 3)[:, :, ::-1], atol=1e-3
    )


def test_a_crop_is_what_crop_and_resize_cuts_out():
    values = random_draws(32)
    geometry = augment.placed(values, upright=True)
    images = np.repeat(SMOOTH, 32, axis=0)
    found = augment.resample(images, geometry, 24).numpy()
    # crop_and_resize puts its first and last samples on the box's edges, half a pixel of the result inside.
    middle, half = geometry[:, :, 2] + 0.5, tf.stack([geometry[:, 0, 0], geometry[:, 1, 1]], 1) / 2
    edge = half * (23 / 24)
    boxes = tf.concat([middle - edge, middle + edge], axis=1)
    boxes = (boxes * 64 - 0.5) / 63
    expected = tf.image.crop_and_resize(images, boxes, tf.range(32), [24, 24]).numpy()
    inside = np.array((boxes >= 0) & (boxes <= 1)).all(1)
    assert inside.sum() > 20
    np.testing.assert_allclose(found[inside], expected[inside], atol=0.02)


def test_rotation_samples_along_a_turned_grid():
    angle = 0.7 * np.pi / 4
    geometry = tf.concat([augment.rotation(tf.constant([0.7])), tf.zeros((1, 2, 1))], axis=2)
    found = augment.resample(SMOOTH, geometry, 64).numpy()[0]
    for row, column in ((32, 32), (20, 40), (45, 25), (30, 10)):
        y, x = row - 31.5, column - 31.5
        y, x = np.cos(angle) * y - np.sin(angle) * x + 31.5, np.sin(angle) * y + np.cos(angle) * x + 31.5
        top, left = int(y), int(x)
        corners = SMOOTH[0, top : top + 2, left : left + 2].astype(np.float32)
        down, right = y - top, x - left
        expected = np.einsum("y,x,yxc->c", [1 - down, down], [1 - right, right], corners)
        np.testing.assert_allclose(found[row, column], expected, atol=0.01)


def test_upright_keeps_the_top_on_top():
    ramp = np.tile(np.linspace(0, 255, 16).astype(np.uint8)[None, :, None, None], (64, 1, 16, 3))
    gray = augment.gray(ramp)
    rows = augment.apply(ramp, augment.upright(random_draws(64), gray), 16).numpy().mean((2, 3))
    assert (np.diff(rows, axis=1) > -1e-3).all()
    turned = augment.apply(ramp, augment.basic(random_draws(64), gray), 16).numpy().mean((2, 3))
    assert (np.diff(turned, axis=1) < -1).any()


def test_crops_have_the_drawn_area_and_stay_inside():
    geometry = augment.placed(random_draws(500)).numpy()
    area = np.abs(np.linalg.det(geometry[:, :, :2]))
    assert 0.25 <= area.min() < 0.3
    assert 0.9 < area.max() <= 1 + 1e-6
    corners = np.array([[y, x, 1] for y in (-0.5, 0.5) for x in (-0.5, 0.5)])
    assert np.abs(np.einsum("bij,kj->bki", geometry, corners)).max() <= 0.5 + 1e-6


def recolored(matrix):
    """The noise through a color matrix."""
    return augment.recolor(tf.constant(NOISE, tf.float32), matrix, tf.zeros((1, 4))).numpy()


def test_slight_changes_of_color():
    image = NOISE.astype(np.float32)
    luma = image @ augment.LUMA
    gray = np.float32([luma.mean()])

    def light(*values):
        columns = dict(zip(("d8", "d9", "d10"), values, strict=True))
        return recolored(augment.light(draws(**columns), gray, strength=0.3))

    np.testing.assert_allclose(light(0.5, 0.5, 0.5), image, atol=1e-3)
    np.testing.assert_allclose(light(0.0, 0.5, 0.5), 0.7 * image, rtol=1e-4)
    np.testing.assert_allclose(light(0.5, 0.0, 0.5), 0.7 * image + 0.3 * luma.mean(), rtol=1e-4)
    np.testing.assert_allclose(light(0.5, 0.5, 0.0), 0.7 * image + 0.3 * luma[..., None], rtol=1e-4)
    # Composed: saturation first, then contrast, then brightness.
    color = 0.7 * image + 0.3 * luma[..., None]
    both = 0.7 * (0.7 * color + 0.3 * luma.mean())
    np.testing.assert_allclose(light(0.0, 0.0, 0.0), both, rtol=1e-4)


def test_hue_keeps_grays_and_turns_colors():
    found = augment.hue(np.float32([1.0]), None).numpy()[0]
    np.testing.assert_allclose(found[:, :3] @ [1, 1, 1], [1, 1, 1], atol=1e-6)
    turned = np.linalg.matrix_power(found[:, :3], 10)
    np.testing.assert_allclose(turned, np.eye(3), atol=1e-5)  # Ten tenths of a turn.
    assert found[0, 0] < 0.9


def test_cast_moves_red_and_blue_apart():
    found = augment.cast(np.float32([0.5]), None).numpy()[0]
    np.testing.assert_allclose(found, np.diag([1.15, 1.0, 0.85, 0])[:3], atol=1e-6)


def test_gray_is_the_mean_luma():
    images = np.repeat(SMOOTH, 2, axis=0)
    expected = (images.astype(np.float32) @ augment.LUMA).mean((1, 2))
    np.testing.assert_allclose(augment.gray(images), expected, rtol=0.02)


def test_an_erased_box_is_gray():
    erased = np.float32([[-0.25, -0.5, 0.25, 0.0]])
    matrix = np.eye(3, 4, dtype=np.float32)[None]
    found = augment.recolor(tf.constant(NOISE, tf.float32), matrix, erased).numpy()
    expected = NOISE.astype(np.float32)
    expected[:, 2:6, :4] = augment.FILL
    np.testing.assert_array_equal(found, expected)


def test_trivial_draws_one_operation_for_each_image():
    count = 4000
    values = random_draws(count)
    change = augment.trivial(values, tf.fill([count], 100.0))
    warped = ~np.isclose(change.geometry, augment.placed(values)).all((1, 2))
    colored = ~np.isclose(change.color, np.eye(3, 4)).all((1, 2))
    erased = (change.erased[:, 2] > change.erased[:, 0]).numpy()
    assert (warped.astype(int) + colored + erased).max() == 1
    kinds = 1 + len(augment.WARPS) + len(augment.COLORS) + 1
    for share, expected in ((warped, len(augment.WARPS)), (colored, len(augment.COLORS)), (erased, 1)):
        assert share.mean() == pytest.approx(expected / kinds, abs=0.03)
    boxes = change.erased.numpy()[erased]
    assert boxes.min() >= -0.5
    assert boxes.max() <= 0.5

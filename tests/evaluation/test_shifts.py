"""Simulated shifts: seeded, graded, and what they claim to be."""

import numpy as np
import pytest

from recycle_tf.evaluation import shifts

SIZE = 32


@pytest.fixture(scope="module")
def images():
    """A bright disk, left of the center, on gray."""
    y, x = np.mgrid[:SIZE, :SIZE]
    disk = ((x - 12) ** 2 + (y - 16) ** 2 < 36)[..., None]
    image = np.where(disk, [200, 60, 60], [120, 120, 120]).astype(np.uint8)
    return np.stack([image] * 4)


def red(images):
    return (images[..., 0].astype(int) - images[..., 1] > 50).sum(axis=(1, 2))


@pytest.mark.parametrize("name", shifts.SHIFTS)
def test_the_seed_decides_and_strength_grows(images, name):
    first, again = shifts.shift(name, images, 3, seed=1), shifts.shift(name, images, 3, seed=1)
    assert first.dtype == np.uint8
    assert first.shape == images.shape
    assert np.array_equal(first, again)
    distance = [
        np.abs(shifts.shift(name, images, strength).astype(int) - images).mean() for strength in (3, 5)
    ]
    assert 0 < distance[0] < distance[1]


def test_small_makes_the_object_small(images):
    before = red(images)[0]
    share = red(shifts.shift("small", images, 5))[0] / before
    assert share == pytest.approx(0.36**2, abs=0.05)
    assert (shifts.shift("small", images, 5)[:, 0, 0] == 120).all()


def test_rotation_turns_around_the_center(images):
    turned = shifts.shift("rotation", images, 5)
    rows = {tuple(np.argwhere(image[..., 0] > 150).mean(axis=0).round(0)) for image in turned}
    # A quarter turn takes the disk from the left to above or below.
    assert rows <= {(12.0, 16.0), (20.0, 16.0), (12.0, 15.0), (19.0, 15.0), (11.0, 15.0), (19.0, 16.0)}
    assert red(turned) == pytest.approx(red(images), abs=4)


def test_cut_off_moves_part_of_the_object_out(images):
    moved = shifts.shift("cut_off", images, 1)
    centers = np.array([np.argwhere(image[..., 0] > 150).mean(axis=0) for image in moved])
    assert np.hypot(*(centers - [16, 12]).T) == pytest.approx(0.08 * SIZE, abs=0.6)
    assert (red(shifts.shift("cut_off", images, 5)) < red(images)).any()


def test_blur_keeps_the_border(images):
    flat = np.full_like(images, 90)
    assert np.array_equal(shifts.shift("blur", flat, 5), flat)


def test_dim_and_bright(images):
    assert shifts.shift("dim", images, 2).mean() == pytest.approx(0.62 * images.mean(), rel=0.03)
    assert shifts.shift("bright", images, 1)[0, 0, 0].tolist() == [138, 138, 138]


def test_measure_counts_what_a_predictor_gets_right(images):
    def is_red(shifted):
        share = red(shifted) / SIZE**2
        return np.stack([1 - share, share * 20], axis=1)

    found = shifts.measure(is_red, images, np.ones(4, int), names=("noise", "small"))
    assert found.clean == 1
    assert found.accuracy["small"][-1] < found.accuracy["small"][0]
    assert found.mean(5) == pytest.approx(np.mean([found.accuracy[n][-1] for n in ("noise", "small")]))
    parts = shifts.measure(is_red, np.tile(images, (200, 1, 1, 1)), np.ones(800, int), names=("small",))
    assert parts.examples == 800 > shifts.PART
    assert parts.accuracy["small"] == found.accuracy["small"], "nothing is random in it"
    lines = shifts.table(found).splitlines()
    assert [line.split()[0] for line in lines] == ["shift", "noise", "small", "mean", "clean"]


def test_the_example_is_an_image_whose_background_can_be_replaced(images):
    noise = np.random.default_rng(0).integers(0, 256, images[:1].shape, dtype=np.uint8)
    assert np.array_equal(shifts.example(np.concatenate([noise, images])), images[0])
    assert np.array_equal(shifts.example(noise), noise[0])

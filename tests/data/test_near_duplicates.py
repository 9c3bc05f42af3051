"""Finding near-duplicates."""

import io
import itertools

import numpy as np
import pytest
from PIL import ExifTags, Image

from recycle_tf.data import near_duplicates


def brute_force(thumbnails, above):
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float64)
    correlation = np.corrcoef(flat)
    return {
        (i, j) for i, j in itertools.combinations(range(len(flat)), 2) if correlation[i, j] > above
    }, correlation


def drawn(number, seed):
    """Smooth images and increasingly noisy copies of each, so that all correlations occur."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(number):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6), np.uint8)).resize((48, 48))
        for noise in (0, 5, 10, 15, 20, 30):
            found.append(np.clip(np.asarray(coarse) + rng.normal(0, noise, (48, 48)), 0, 255))
    return np.array(found).astype(np.uint8)


@pytest.mark.parametrize("above", [0.98, 0.95, 0.9, 0.5])
def test_the_hash_misses_no_pair(above, monkeypatch):
    monkeypatch.setattr(near_duplicates, "_BLOCK", 50)  # several blocks, the last one partial
    thumbnails = drawn(40, seed=1)
    expected, correlation = brute_force(thumbnails, above)
    found = {}
    for first, second, values in near_duplicates.near_pairs(thumbnails, above):
        found |= dict(zip(zip(first.tolist(), second.tolist(), strict=True), values, strict=True))
    assert len(expected) > 100
    assert set(found) == expected
    for pair, value in found.items():
        assert value == pytest.approx(correlation[pair], abs=1e-4)


def test_most_pairs_are_settled_by_the_hash(monkeypatch):
    compared = []
    whole = near_duplicates._unit
    monkeypatch.setattr(
        near_duplicates, "_unit", lambda thumbnails: compared.append(len(thumbnails)) or whole(thumbnails)
    )
    thumbnails = drawn(200, seed=0)[::6]
    assert not list(near_duplicates.near_pairs(thumbnails))
    assert compared == [200]  # for their hashes; none completely


def test_images_of_a_single_shade_resemble_nothing():
    thumbnails = np.full((4, 48, 48), 255, np.uint8)
    thumbnails[2:] = drawn(1, seed=0)[0]
    assert [(f.tolist(), s.tolist()) for f, s, _ in near_duplicates.near_pairs(thumbnails)] == [([2], [3])]
    assert not list(near_duplicates.near_pairs(np.empty((0, 48, 48), np.uint8)))


def test_groups_are_connected_components():
    pairs = [(np.array([5, 1]), np.array([6, 2])), (np.array([2]), np.array([6]))]
    assert near_duplicates.groups(8, pairs).tolist() == [0, 1, 1, 3, 4, 1, 1, 7]
    assert near_duplicates.groups(3, []).tolist() == [0, 1, 2]


def photograph(side, **options):
    """A JPEG of the same smooth scene at any size."""
    scene = Image.fromarray(np.random.default_rng(3).integers(0, 256, (6, 8, 3), np.uint8))
    buffer = io.BytesIO()
    scene.resize((side * 4 // 3, side), Image.Resampling.BICUBIC).save(buffer, "JPEG", **options)
    return Image.open(buffer)


def test_size_and_quality_make_no_difference():
    shots = [photograph(60), photograph(384, quality=30), photograph(3000)]
    found = list(
        near_duplicates.near_pairs(np.array([near_duplicates.thumbnail(shot) for shot in shots]), 0.995)
    )
    assert sum(len(first) for first, _, _ in found) == 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_sideways_photograph_is_compared_upright(orientation):
    upright = photograph(384)
    undo = {6: 8, 8: 6}.get(orientation, orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    near_duplicates.upright(upright, undo).save(buffer, "JPEG", exif=exif, quality=95)
    sideways = Image.open(buffer)
    assert near_duplicates.orientation(sideways) == orientation
    difference = near_duplicates.thumbnail(sideways).astype(int) - near_duplicates.thumbnail(photograph(384))
    assert abs(difference).max() < 12


def test_an_invalid_orientation():
    exif = Image.Exif()
    exif[0x0112] = 77
    assert near_duplicates.orientation(photograph(60, exif=exif)) == 1
    assert near_duplicates.orientation(photograph(60, exif=b"Exif\0\0no TIFF at all")) == 1


@pytest.mark.parametrize(("kind", "found"), [("JPEG", 6), ("PNG", 1), ("WEBP", 1)])
def test_only_jpegs_are_turned(kind, found):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (8, 4)).save(buffer, kind, exif=exif)
    assert near_duplicates.orientation(Image.open(buffer)) == found

"""Backgrounds: drawn, and of a folder."""

import numpy as np
import pytest
from PIL import Image

from recycle_tf.data import backgrounds
from recycle_tf.errors import UserError


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(backgrounds, "COUNT", 6)


def test_the_seed_decides_what_is_drawn():
    first, again, other = (backgrounds.load(None, 48, seed) for seed in (1, 1, 2))
    assert first.shape == (6, 48, 48, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert len(np.unique(first.reshape(6, -1), axis=0)) == 6


@pytest.mark.parametrize(
    "kind", sorted(set(backgrounds.KINDS), key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__
)
@pytest.mark.parametrize("size", [24, 97])
def test_every_kind_is_an_image_of_values_in_range(kind, size):
    image = kind(np.random.default_rng(0), size)
    assert image.shape == (size, size, 3)
    assert np.isfinite(image).all()
    assert 0 <= image.mean() <= 255


def test_half_of_the_bank_comes_from_a_folder_and_its_subfolders(tmp_path):
    (tmp_path / "more").mkdir()
    Image.new("RGB", (80, 60), (0, 0, 255)).save(tmp_path / "blue.png")
    Image.new("RGB", (40, 90), (0, 255, 0)).save(tmp_path / "more" / "green.png")
    found = backgrounds.load(str(tmp_path), 32, 0)
    assert len(found) == 6
    own = {tuple(image[0, 0]) for image in found[:3] if (image == image[0, 0]).all()}
    assert own == {(0, 0, 255), (0, 255, 0)}


def test_a_folder_without_images_is_named(tmp_path):
    with pytest.raises(UserError, match=rf"`backgrounds={tmp_path}`"):
        backgrounds.load(str(tmp_path), 32, 0)


def test_a_damaged_image_is_named(tmp_path):
    Image.new("RGB", (80, 60)).save(tmp_path / "half.png")
    whole = (tmp_path / "half.png").read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="half.png"):
        backgrounds.load(str(tmp_path), 32, 0)

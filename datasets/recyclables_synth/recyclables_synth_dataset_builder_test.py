"""Tests of the synthetic dataset: what an image shows, and that it is always the same one."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from . import recyclables_synth_dataset_builder as builder
from .drawing import FLOORS, HEIGHT, KINDS, LABELS, WIDTH, draw, draw_mask


class RecyclablesSynthTest(tfds.testing.DatasetBuilderTestCase):
    """TFDS's tests of a builder, on a few images."""

    DATASET_CLASS = builder.Builder
    SPLITS = {"train": 18, "validation": 6, "test": 12}
    # Nothing is read: any folder will do.
    EXAMPLE_DIR = builder.Builder.code_path.parent

    def setUp(self):
        """Draws fewer images than the real builder."""
        super().setUp()
        few = {"train": 3, "validation": 1, "test": 2}
        self.enterContext(pytest.MonkeyPatch.context()).setattr(builder.Builder, "EXAMPLES_PER_CLASS", few)


def test_splits_have_equally_many_of_each_class():
    per_class = builder.Builder.EXAMPLES_PER_CLASS
    assert {split: 6 * count for split, count in per_class.items()} == {
        "train": 630,
        "validation": 120,
        "test": 150,
    }


@pytest.mark.parametrize("label", LABELS)
def test_the_same_seed_draws_the_same_image(label):
    first = draw(label, 3)
    draw(label, 4)
    assert first.tobytes() == draw(label, 3).tobytes()


@pytest.mark.parametrize("label", LABELS)
def test_seeds_and_labels_all_differ(label):
    images = {draw(label, seed).tobytes() for seed in range(5)}
    images |= {draw(other, 0).tobytes() for other in LABELS}
    assert len(images) == 5 + len(LABELS) - 1


@pytest.mark.parametrize("label", LABELS)
def test_size_and_mode(label):
    image = draw(label, 0)
    assert image.size == (WIDTH, HEIGHT) == (160, 120)
    assert image.mode == "RGB"
    assert np.asarray(image).std() > 5


@pytest.mark.parametrize("label", LABELS)
def test_the_mask_is_where_the_object_is(label):
    mask, image = np.asarray(draw_mask(label, 3)), np.asarray(draw(label, 3), np.float32)
    assert mask.shape == image.shape[:2]
    object_ = mask > 25
    assert 0.03 < object_.mean() < 0.9
    # The outline of the object stands out: colors change more across it than elsewhere.
    change = np.abs(np.diff(image, axis=1)).sum(axis=2)
    outline = object_[:, 1:] != object_[:, :-1]
    assert change[outline].mean() > 1.5 * change[~outline].mean()


def test_unknown_label_names_the_known_ones():
    with pytest.raises(ValueError, match="'wood': use one of glass, paper"):
        draw("wood", 0)


def test_every_label_has_several_kinds_of_its_own():
    assert tuple(KINDS) == LABELS
    kinds = [kind for kinds in KINDS.values() for kind in kinds]
    assert len(set(kinds)) == len(kinds)
    assert all(len(kinds) >= 3 for kinds in KINDS.values())
    assert len(FLOORS) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("side", [32, 48])
def test_nearest_neighbor_in_pixels_is_not_enough(side):
    """Color and layout alone must not reveal the class."""
    train, validation, test = builder.Builder.EXAMPLES_PER_CLASS.values()
    known, known_labels = _pixels(range(train), side)
    asked, asked_labels = _pixels(range(train + validation, train + validation + test), side)
    distances = (known**2).sum(axis=1) - 2 * asked @ known.T
    assert np.mean(known_labels[distances.argmin(axis=1)] == asked_labels) < 0.6


def _pixels(seeds, side):
    images = [
        np.asarray(draw(label, seed).resize((side, side), Image.Resampling.BILINEAR))
        for label in LABELS
        for seed in seeds
    ]
    labels = np.repeat(np.arange(len(LABELS)), len(seeds))
    return np.asarray(images, np.float32).reshape(len(images), -1), labels

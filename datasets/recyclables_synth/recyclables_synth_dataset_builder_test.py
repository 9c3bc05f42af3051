"""Tests of the drawn data set: what is in a picture, and that it is the same one every time."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from . import recyclables_synth_dataset_builder as builder
from .drawing import FLOORS, HEIGHT, KINDS, LABELS, WIDTH, draw


class RecyclablesSynthTest(tfds.testing.DatasetBuilderTestCase):
    """The contract of every TFDS builder, on a few pictures."""

    DATASET_CLASS = builder.Builder
    SPLITS = {"train": 18, "validation": 6, "test": 12}
    # Nothing is read, so any folder does.
    EXAMPLE_DIR = builder.Builder.code_path.parent

    def setUp(self):
        """Draws fewer pictures than the real thing."""
        super().setUp()
        few = {"train": 3, "validation": 1, "test": 2}
        self.enterContext(pytest.MonkeyPatch.context()).setattr(builder.Builder, "EXAMPLES_PER_CLASS", few)


def test_splits_have_as_many_of_each_class():
    """Six classes times the counts of one."""
    per_class = builder.Builder.EXAMPLES_PER_CLASS
    assert {split: 6 * count for split, count in per_class.items()} == {
        "train": 630,
        "validation": 120,
        "test": 150,
    }


@pytest.mark.parametrize("label", LABELS)
def test_same_seed_same_picture(label):
    """Whatever was drawn in between."""
    first = draw(label, 3)
    draw(label, 4)
    assert first.tobytes() == draw(label, 3).tobytes()


@pytest.mark.parametrize("label", LABELS)
def test_seeds_and_labels_all_differ(label):
    """No two examples are the same picture."""
    pictures = {draw(label, seed).tobytes() for seed in range(5)}
    pictures |= {draw(other, 0).tobytes() for other in LABELS}
    assert len(pictures) == 5 + len(LABELS) - 1


@pytest.mark.parametrize("label", LABELS)
def test_size_and_mode(label):
    """What the data set promises, and that something is on the picture."""
    picture = draw(label, 0)
    assert picture.size == (WIDTH, HEIGHT) == (160, 120)
    assert picture.mode == "RGB"
    assert np.asarray(picture).std() > 5


def test_unknown_label_names_the_known_ones():
    """A typing mistake is answered with what would be right."""
    with pytest.raises(ValueError, match="'wood': use one of glass, paper"):
        draw("wood", 0)


def test_every_label_has_kinds_of_its_own():
    """No class can be told by one silhouette, and none shares one with another."""
    assert tuple(KINDS) == LABELS
    kinds = [kind for kinds in KINDS.values() for kind in kinds]
    assert len(set(kinds)) == len(kinds)
    assert all(len(kinds) >= 3 for kinds in KINDS.values())
    assert len(FLOORS) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("side", [32, 48])
def test_nearest_neighbour_on_pixels_is_not_enough(side):
    """Colour and layout alone must not give the class away."""
    train, validation, test = builder.Builder.EXAMPLES_PER_CLASS.values()
    known, known_labels = _pixels(range(train), side)
    asked, asked_labels = _pixels(range(train + validation, train + validation + test), side)
    distances = (known**2).sum(axis=1) - 2 * asked @ known.T
    assert np.mean(known_labels[distances.argmin(axis=1)] == asked_labels) < 0.6


def _pixels(seeds, side):
    pictures = [
        np.asarray(draw(label, seed).resize((side, side), Image.Resampling.BILINEAR))
        for label in LABELS
        for seed in seeds
    ]
    labels = np.repeat(np.arange(len(LABELS)), len(seeds))
    return np.asarray(pictures, np.float32).reshape(len(pictures), -1), labels

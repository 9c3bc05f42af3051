"""MixUp and CutMix."""

import numpy as np
import pytest

from recycle_tf.data import mix


def test_mixup_mixes_images_and_labels_in_the_same_proportion():
    images = np.stack([np.zeros((4, 4, 3)), np.full((4, 4, 3), 100)]).astype(np.float32)
    labels = np.eye(2, dtype=np.float32)
    draws = np.float32([[0.9, 0.25, 0.5, 0.5], [0.1, 0.25, 0.5, 0.5]])
    mixed, soft = mix.mix("mixup", images, labels, draws)
    np.testing.assert_allclose(mixed[0], 75)
    np.testing.assert_allclose(soft, [[0.25, 0.75], [0, 1]])
    np.testing.assert_allclose(mixed[1], 100)


def test_cutmix_labels_by_the_area_that_is_visible():
    images = np.stack([np.zeros((8, 8, 3)), np.full((8, 8, 3), 100)]).astype(np.float32)
    labels = np.eye(2, dtype=np.float32)
    # A box of half the side, centered on the corner: a quarter of it is inside, 1/16 of the image.
    draws = np.float32([[0.9, 0.75, 0.0, 0.0], [0.9, 0.75, 0.5, 0.5]])
    mixed, soft = mix.mix("cutmix", images, labels, draws)
    np.testing.assert_allclose(np.array(mixed[0])[:2, :2], 100)
    assert np.array(mixed[0]).mean() == pytest.approx(100 / 16)
    np.testing.assert_allclose(soft, [[15 / 16, 1 / 16], [1 / 4, 3 / 4]])


def test_both_mixes_two_thirds():
    draws = np.random.default_rng(0).uniform(size=(1500, 4)).astype(np.float32)
    # A class for each image, so that every mixture can be seen.
    images, labels = np.zeros((1500, 8, 8, 3), np.float32), np.eye(1500, dtype=np.float32)
    _, soft = mix.mix("both", images, labels, draws)
    assert (np.array(soft).max(1) == 1).mean() == pytest.approx(1 / 3, abs=0.05)
    np.testing.assert_allclose(np.sum(soft, 1), 1, atol=1e-6)


def test_none_changes_nothing():
    images, labels = np.ones((2, 2, 2, 3), np.float32), np.eye(2, dtype=np.float32)
    same, same_labels = mix.mix("none", images, labels, np.zeros((2, 4), np.float32))
    np.testing.assert_array_equal(same, images)
    np.testing.assert_array_equal(same_labels, labels)

"""The batches of a training run."""

import numpy as np
import pytest
import tensorflow as tf

from recycle_tf.config import TrainConfig
from recycle_tf.data import sources
from recycle_tf.errors import UserError
from recycle_tf.training.batches import Batches
from tests.conftest import tiny_settings

STRATEGY = tf.distribute.get_strategy()


def batches(root, **settings):
    config = TrainConfig(**{**tiny_settings(root), **settings})
    return Batches(sources.open_source(root), config, 32, STRATEGY)


def test_training_batches_continue_from_any_step(photos):
    found = batches(photos, epochs="7steps", augment="basic", mix="both")
    assert found.class_counts.tolist() == [8, 8, 8]
    assert found.steps_per_epoch == 3
    whole = list(found.training_from(0).as_numpy_iterator())
    assert len(whole) == 9  # whole epochs
    for (images, labels), (expected, expected_labels) in zip(found.training_from(4), whole[4:], strict=True):
        np.testing.assert_array_equal(images, expected)
        np.testing.assert_array_equal(labels, expected_labels)


def test_evaluation_batches_have_every_example_once_in_order(photos):
    found = batches(photos, batch_size=4)
    for name in ("validation", "test"):
        split = found.source.splits[name]
        labels = np.concatenate([labels for _, labels in getattr(found, name).as_numpy_iterator()])
        assert labels.argmax(axis=1).tolist() == split.labels.tolist()


def test_fewer_images_than_one_batch_are_an_error(photos):
    with pytest.raises(UserError, match="batch_size=500"):
        batches(photos, batch_size=500)


def test_another_error_of_tensorflow_is_not_blamed_on_an_image(photos):
    found = batches(photos)
    with pytest.raises(tf.errors.InvalidArgumentError, match="mine"), found.naming_damaged_images():
        raise tf.errors.InvalidArgumentError(None, None, "mine")

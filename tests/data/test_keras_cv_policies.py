"""The augmentation layers of keras-cv."""

import numpy as np
import pytest
import tensorflow as tf

from recycle_tf.data import keras_cv_policies

IMAGES = np.random.default_rng(0).uniform(0, 255, (4, 24, 24, 3)).astype(np.float32)


@pytest.mark.parametrize("name", keras_cv_policies.NAMES)
def test_a_policy_changes_images_and_keeps_shape_and_range(name):
    tf.random.set_seed(0)
    layer = keras_cv_policies.layer(name)
    found = np.stack([layer(tf.constant(IMAGES), training=True).numpy() for _ in range(3)])
    assert found.shape == (3, *IMAGES.shape)
    assert found.min() >= 0
    assert found.max() <= 255
    assert (found != IMAGES).any()


def test_other_names_are_errors():
    with pytest.raises(KeyError):
        keras_cv_policies.layer("cutout")

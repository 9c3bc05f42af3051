"""The policy `wild`, alone and in the pipeline."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from recycle_tf.config import TrainConfig
from recycle_tf.data import backgrounds, pipeline, sources, wild
from recycle_tf.errors import UserError
from tests.data.test_cutout import bottle, disc, scene
from tests.data.test_pipeline import batches

GREEN = (0, 200, 0)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(backgrounds, "COUNT", 4)


@pytest.fixture
def split(photos):
    return sources.open_source(str(photos)).splits["train"]


def build(split, **settings):
    return batches(pipeline.build_training(split, 3, 16, 5, augment="wild", seed=7, epochs=2, **settings))


def assert_equal(first, second):
    for (images, labels), (same_images, same_labels) in zip(first, second, strict=True):
        np.testing.assert_array_equal(images, same_images)
        np.testing.assert_array_equal(labels, same_labels)


def test_same_seed_same_batches(split):
    first = build(split, mix="both")
    assert len(first) == 2 * 4
    assert_equal(first, build(split, mix="both"))


def test_a_resumed_run_sees_the_batches_that_are_left(split):
    assert_equal(build(split, mix="both")[3:], build(split, mix="both", first_step=3))


@pytest.mark.parametrize("place", ["disk", "off"])
def test_the_cache_decides_nothing(split, place):
    assert_equal(build(split, cache="memory"), build(split, cache=place))


def test_images_are_floats_in_range(split):
    images = np.concatenate([images for images, _ in build(split)])
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 255
    assert images.std() > 10


def masked(shape):
    """A scene with its true mask as fourth channel, `[1, size, size, 4]`."""
    image, mask = scene(shape, color=(200, 30, 30))
    return np.concatenate([image, np.uint8(255 * mask)[..., None]], axis=-1)[None]


def applied(images, count=200, size=64):
    policy = wild.policy(np.full((2, 80, 80, 3), GREEN, np.uint8))
    draws = np.random.default_rng(0).random((count, wild.NUM_DRAWS), np.float32)
    return policy(tf.constant(np.repeat(images, count, axis=0)), tf.constant(draws), size).numpy()


def test_most_objects_lie_on_another_background():
    for shape in (disc, bottle):
        images = applied(masked(shape))
        red, green, _ = np.moveaxis(images, -1, 0)
        on_green = (green > 1.5 * red).mean((1, 2)) > 0.1
        assert abs(on_green.mean() - wild.REPLACED) < 0.1
        # The object stays in sight.
        assert ((red > 1.5 * green).mean((1, 2)) > 0.01).mean() > 0.95


def test_without_a_mask_some_images_lie_like_a_sheet():
    image = masked(disc)
    image[..., 3] = 255
    red, green, _ = np.moveaxis(applied(image), -1, 0)
    on_green = (green > 1.5 * red).mean((1, 2)) > 0.02
    assert abs(on_green.mean() - wild.SHEETS) < 0.15


def test_each_example_depends_on_its_own_draws_alone():
    images, draws = (
        np.repeat(masked(disc), 3, axis=0),
        np.random.default_rng(1).random((3, wild.NUM_DRAWS), np.float32),
    )
    policy = wild.policy(backgrounds.load(None, 80, 0))
    together = policy(tf.constant(images), tf.constant(draws), 64).numpy()
    alone = policy(tf.constant(images[1:2]), tf.constant(draws[1:2]), 64).numpy()
    np.testing.assert_allclose(together[1:2], alone, atol=0.01)


def test_the_draws_of_mixing_are_not_used_twice():
    images, draws = masked(disc), np.random.default_rng(1).random((1, wild.NUM_DRAWS), np.float32)
    policy = wild.policy(backgrounds.load(None, 80, 0))
    first = policy(tf.constant(images), tf.constant(draws), 64).numpy()
    draws[:, -4:] = 0
    np.testing.assert_array_equal(first, policy(tf.constant(images), tf.constant(draws), 64).numpy())


def test_not_with_a_data_service():
    """Its workers do not have the Python function that computes the masks."""
    with pytest.raises(UserError, match="`data_service`.*`augment=wild`"):
        TrainConfig(data_service="grpc://host:5050", augment="wild")


def test_backgrounds_need_the_policy():
    with pytest.raises(UserError, match="`backgrounds=photos`.*`augment=wild`"):
        TrainConfig(backgrounds="photos")
    assert TrainConfig(backgrounds="photos", augment="wild").backgrounds == "photos"


def test_blur_is_a_gaussian():
    image = np.random.default_rng(0).uniform(0, 255, (160, 160, 3)).astype(np.float32)

    def blurred(deviation):
        planes, deviation = image.transpose(2, 0, 1), tf.constant(deviation)
        return wild.blur(wild.blur(planes, deviation, 1), deviation, 2).numpy().transpose(1, 2, 0)

    np.testing.assert_allclose(blurred(0.0), image, atol=1e-3)
    expected = keras.ops.image.gaussian_blur(image[None], (9, 9), (1.6, 1.6))[0]
    # Keras pads with black.
    np.testing.assert_allclose(blurred(0.01)[9:-9, 9:-9], expected[9:-9, 9:-9], atol=2)


def test_an_image_is_compressed():
    image = np.random.default_rng(0).uniform(0, 255, (20, 20, 3)).astype(np.float32)
    expected = tf.image.adjust_jpeg_quality(np.uint8(image.round()), 30)
    np.testing.assert_array_equal(wild.compress(tf.constant(image), tf.constant(30)), expected)

"""Batches for the network."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from recycle_tf.data import cache, pipeline, sources
from recycle_tf.errors import UserError


@pytest.fixture
def split(photos):
    return sources.open_source(str(photos)).splits["train"]


def batches(dataset):
    return [(images.copy(), labels.copy()) for images, labels in dataset.as_numpy_iterator()]


def test_evaluation_sees_every_example_once_and_in_order(split):
    found = batches(pipeline.build_evaluation(split, 3, 16, 7))
    assert [len(images) for images, _ in found] == [7, 7, 7, 3]
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in found]).argmax(1), split.labels)
    assert found[0][0].dtype == np.float32
    assert found[0][0].shape == (7, 16, 16, 3)
    assert found[0][0].max() > 100


def test_nothing_waits_for_autotuning_when_an_iterator_is_deleted(split):
    """TensorFlow 2.21 waits up to a minute; see `parallel.without_autotune`."""
    training = pipeline.training_batches(split, 3, 16, 5)
    for dataset in (training(0), training.in_order(), pipeline.build_evaluation(split, 3, 16, 7)):
        assert dataset.options().autotune.enabled is False


def test_same_seed_same_batches(split):
    first = batches(pipeline.build_training(split, 3, 16, 5, mix="both", seed=7, epochs=2))
    again = batches(pipeline.build_training(split, 3, 16, 5, mix="both", seed=7, epochs=2))
    other = batches(pipeline.build_training(split, 3, 16, 5, mix="both", seed=8, epochs=2))
    assert len(first) == 2 * 4
    for (images, labels), (same_images, same_labels) in zip(first, again, strict=True):
        np.testing.assert_array_equal(images, same_images)
        np.testing.assert_array_equal(labels, same_labels)
    assert any((a != b).any() for (a, _), (b, _) in zip(first, other, strict=True))


def test_a_later_step_has_the_batches_of_the_whole_run(split):
    whole = batches(pipeline.build_training(split, 3, 16, 5, mix="both", seed=7, epochs=3))
    # The start of an epoch, and the middle of one.
    for step in (8, 6):
        rest = batches(
            pipeline.build_training(split, 3, 16, 5, mix="both", seed=7, epochs=3, first_step=step)
        )
        assert len(rest) == 12 - step
        for (images, labels), (same_images, same_labels) in zip(whole[step:], rest, strict=True):
            np.testing.assert_array_equal(images, same_images)
            np.testing.assert_array_equal(labels, same_labels)


@pytest.fixture
def uneven(split):
    """14 images of the first class, 4 of the second and one of the third; each has its own gray level."""
    chosen = [0] * 14 + [1] * 4 + [2]
    grays = tf.constant(10 * np.arange(1, 20), tf.uint8)

    def encoded(index):
        return tf.io.encode_png(tf.fill([16, 16, 3], grays[index]))

    return dataclasses.replace(
        split, ids=tuple(f"{n}.png" for n in range(19)), labels=np.array(chosen, np.int64), encoded=encoded
    )


def drawn(split, epochs, first_step=0):
    """Indices of the examples that are drawn, `[step, place]`."""
    dataset = pipeline.build_training(
        split, 3, 16, 5, augment="none", seed=3, epochs=epochs, first_step=first_step, groups=split.labels
    )
    return np.stack([images[:, 0, 0, 0].round().astype(int) // 10 - 1 for images, _ in batches(dataset)])


def test_balanced_draws_every_class_equally_often(uneven):
    found = drawn(uneven, epochs=28).reshape(28, 15)
    for epoch in found:
        assert np.bincount(uneven.labels[epoch]).tolist() == [5, 5, 5]
    # And the images of a class equally often: 140 draws of 14, of 4 and of one.
    assert np.bincount(found.ravel()).tolist() == [10] * 14 + [35] * 4 + [140]
    orders = {tuple(epoch[uneven.labels[epoch] == 1][:4]) for epoch in found}
    assert len(orders) > 5
    assert len({tuple(uneven.labels[epoch]) for epoch in found}) > 20


def test_balanced_continues_at_any_step(uneven):
    np.testing.assert_array_equal(drawn(uneven, 4)[7:], drawn(uneven, 4, first_step=7))


def test_balanced_leaves_out_a_class_without_training_images(uneven):
    without = dataclasses.replace(uneven, labels=np.where(uneven.labels == 1, 2, uneven.labels))
    assert set(without.labels[drawn(without, 1).ravel()]) == {0, 2}


def test_balanced_augments_an_image_differently_each_time(uneven):
    found = batches(pipeline.build_training(uneven, 3, 16, 5, augment="basic", groups=uneven.labels))
    images, labels = (np.concatenate(parts) for parts in zip(*found, strict=True))
    same = images[labels.argmax(1) == 2]
    assert len(same) == 5
    assert len(np.unique(same.reshape(5, -1), axis=0)) == 5


@pytest.mark.parametrize("place", ["auto", "disk", "off"])
@pytest.mark.parametrize("name", ["trivial", "none"])
def test_all_caches_give_the_same_batches(split, place, name):
    cached = batches(pipeline.build_training(split, 3, 16, 5, seed=7, augment=name, cache="memory"))
    other = batches(pipeline.build_training(split, 3, 16, 5, seed=7, augment=name, cache=place))
    evaluation = [batches(pipeline.build_evaluation(split, 3, 16, 7, cache=c)) for c in ("memory", place)]
    for (images, labels), (same, same_labels) in zip(
        cached + evaluation[0], other + evaluation[1], strict=True
    ):
        np.testing.assert_array_equal(images, same)
        np.testing.assert_array_equal(labels, same_labels)


def test_the_number_of_threads_changes_nothing(split):
    many = pipeline.build_training(split, 3, 16, 5, mix="both", seed=7, epochs=2, cache="off")
    one = tf.data.Options()
    one.threading.private_threadpool_size = 1
    one.autotune.enabled = False
    for (images, labels), (same, same_labels) in zip(
        batches(many), batches(many.with_options(one)), strict=True
    ):
        np.testing.assert_array_equal(images, same)
        np.testing.assert_array_equal(labels, same_labels)


def test_skipped_steps_decode_nothing(split):
    read = []

    def encoded(index):
        return tf.numpy_function(lambda i: (read.append(i), split.encoded(i).numpy())[1], [index], tf.string)

    counted = dataclasses.replace(split, encoded=encoded)
    dataset = pipeline.build_training(counted, 3, 16, 5, epochs=100, first_step=399, cache="off")
    assert len(batches(dataset)) == 1
    assert len(read) == 5


def test_an_epoch_holds_each_example_at_most_once_in_a_new_order(split):
    dataset = pipeline.build_training(split, 3, 16, 24, augment="none", seed=1, epochs=2)
    first, second = [images.reshape(24, -1) for images, _ in batches(dataset)]
    assert len(np.unique(first, axis=0)) == 24
    assert (first != second).any()
    np.testing.assert_array_equal(np.unique(first, axis=0), np.unique(second, axis=0))


def test_sizes_that_cannot_be_used(split):
    with pytest.raises(UserError, match="`progressive`.*`augment`"):
        pipeline.training_batches(split, 3, 16, 8, augment="none", smaller=(8,))
    with pytest.raises(UserError, match="`progressive=16`"):
        pipeline.training_batches(split, 3, 16, 8, smaller=(8, 16))


def test_too_few_examples_for_a_batch(split):
    with pytest.raises(UserError, match="`batch_size=32`.*24 training images"):
        pipeline.build_training(split, 3, 16, 32)


@pytest.mark.parametrize(
    ("examples", "batch_size", "replicas", "expected"),
    [(9, 8, 1, 8), (9, 8, 2, 6), (10, 8, 2, 8), (6, 8, 2, 8), (328, 32, 2, 32), (12, 8, 4, 8)],
)
def test_batches_that_replicas_can_share(examples, batch_size, replicas, expected):
    assert pipeline.shareable(examples, batch_size, replicas) == expected


def test_too_few_examples_to_share():
    with pytest.raises(UserError, match="`strategy=mirrored`: 4 devices.*5 validation images"):
        pipeline.shareable(5, 8, 4)


def test_class_balanced_takes_equally_many_of_each_class(split):
    chosen = pipeline.class_balanced(split, 9, seed=0)
    assert list(np.bincount(chosen.labels)) == [3, 3, 3]
    assert len(set(chosen.ids)) == 9
    images = cache.decode_all(chosen, 16)
    expected = {example: image for example, image in zip(split.ids, cache.decode_all(split, 16), strict=True)}
    for example, image in zip(chosen.ids, images, strict=True):
        np.testing.assert_array_equal(image, expected[example])

"""What the network sees."""

import collections

import numpy as np
import psutil
import pytest

from recycle_tf.data import augment, mix, pipeline, sources
from recycle_tf.errors import UserError
from tests.conftest import write_photos


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


def test_same_seed_same_batches(split):
    first = batches(pipeline.build_training(split, 3, 16, 5, mix="both", seed=7, epochs=2))
    again = batches(pipeline.build_training(split, 3, 16, 5, mix="both", seed=7, epochs=2))
    other = batches(pipeline.build_training(split, 3, 16, 5, mix="both", seed=8, epochs=2))
    assert len(first) == 2 * 4
    for (images, labels), (same_images, same_labels) in zip(first, again, strict=True):
        np.testing.assert_array_equal(images, same_images)
        np.testing.assert_array_equal(labels, same_labels)
    assert any((a != b).any() for (a, _), (b, _) in zip(first, other, strict=True))


def test_an_epoch_begins_where_it_would_have_been(split):
    whole = batches(pipeline.build_training(split, 3, 16, 5, mix="both", seed=7, epochs=3))
    rest = batches(pipeline.build_training(split, 3, 16, 5, mix="both", seed=7, epochs=3, first_epoch=2))
    assert len(rest) == 4
    for (images, labels), (same_images, same_labels) in zip(whole[8:], rest, strict=True):
        np.testing.assert_array_equal(images, same_images)
        np.testing.assert_array_equal(labels, same_labels)


def test_memory_decides_how_pictures_are_read_not_what_they_are(split, monkeypatch):
    cached = batches(pipeline.build_training(split, 3, 16, 5, seed=7))
    memory = collections.namedtuple("Memory", "available")(0)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    decoded = batches(pipeline.build_training(split, 3, 16, 5, seed=7))
    for (images, _), (same, _) in zip(cached, decoded, strict=True):
        np.testing.assert_array_equal(images, same)


def test_an_epoch_holds_each_example_at_most_once_in_a_new_order(split):
    dataset = pipeline.build_training(split, 3, 16, 24, augment="none", seed=1, epochs=2)
    first, second = [images.reshape(24, -1) for images, _ in batches(dataset)]
    assert len(np.unique(first, axis=0)) == 24
    assert (first != second).any()
    np.testing.assert_array_equal(np.unique(first, axis=0), np.unique(second, axis=0))


@pytest.mark.parametrize("name", augment.policies())
def test_policies_keep_shape_and_range_and_labels(split, name):
    images, labels = batches(pipeline.build_training(split, 3, 16, 8, augment=name))[0]
    assert images.shape == (8, 16, 16, 3)
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 255
    # Each class of these pictures has a colour of its own, which survives every policy in the mean.
    if name not in augment.SEQUENTIAL:
        np.testing.assert_array_equal(images.mean((1, 2)).argmax(1), labels.argmax(1))


def test_unknown_policy(split):
    with pytest.raises(UserError, match="--augment=basik: no such policy, did you mean basic"):
        pipeline.build_training(split, 3, 16, 8, augment="basik")


def test_too_few_examples_for_a_batch(split):
    with pytest.raises(UserError, match="--batch_size=32: more than the 24 training pictures"):
        pipeline.build_training(split, 3, 16, 32)


def test_a_damaged_picture_is_named(tmp_path):
    root = write_photos(tmp_path / "photos")
    path = root / "jar" / "jar3.png"
    path.write_bytes(path.read_bytes()[:60])
    source = sources.open_source(str(root))
    damaged = next(split for split in source.splits.values() if "jar/jar3.png" in split.ids)
    with pytest.raises(UserError, match="jar/jar3.png: missing or damaged"):
        pipeline.decode_all(damaged, 16)


@pytest.mark.parametrize(
    ("examples", "batch_size", "replicas", "expected"),
    [(9, 8, 1, 8), (9, 8, 2, 6), (10, 8, 2, 8), (6, 8, 2, 8), (328, 32, 2, 32), (12, 8, 4, 8)],
)
def test_batches_that_replicas_can_share(examples, batch_size, replicas, expected):
    assert pipeline.shareable(examples, batch_size, replicas) == expected


def test_too_few_examples_to_share():
    with pytest.raises(UserError, match="4 devices cannot share 5 validation pictures"):
        pipeline.shareable(5, 8, 4)


def test_class_balanced_takes_equally_many_of_each_class(split):
    chosen = pipeline.class_balanced(split, 9, seed=0)
    assert list(np.bincount(chosen.labels)) == [3, 3, 3]
    assert len(set(chosen.ids)) == 9
    pictures = pipeline.decode_all(chosen, 16)
    expected = {
        example: picture for example, picture in zip(split.ids, pipeline.decode_all(split, 16), strict=True)
    }
    for example, picture in zip(chosen.ids, pictures, strict=True):
        np.testing.assert_array_equal(picture, expected[example])


def draws(**columns):
    """Draws for one picture: a half everywhere (the middle, the mean), but for `dN=value`."""
    values = np.full((1, augment.NUM_DRAWS), 0.5, np.float32)
    values[:, 4:7] = 0.0
    for name, value in columns.items():
        values[0, int(name[1:])] = value
    return values


RAMP = np.random.default_rng(0).uniform(20, 200, (1, 8, 8, 3)).astype(np.float32)


def test_crop_of_the_whole_picture_changes_nothing():
    np.testing.assert_allclose(augment.random_crop(RAMP, draws(d0=1.0), 8), RAMP, atol=1e-3)


def test_flips_and_quarter_turns():
    def crop(**columns):
        return np.array(augment.random_crop(RAMP, draws(d0=1.0, **columns), 8))

    np.testing.assert_allclose(crop(d4=0.9), RAMP[:, ::-1], atol=1e-3)
    np.testing.assert_allclose(crop(d5=0.9), RAMP[:, :, ::-1], atol=1e-3)
    turned = augment.quarter_turn(RAMP, np.float32([0.9]))
    np.testing.assert_array_equal(turned, RAMP.transpose(0, 2, 1, 3))


def test_upright_keeps_the_top_on_top():
    ramp = np.tile(np.linspace(0, 255, 16, dtype=np.float32)[None, :, None, None], (64, 1, 16, 3))
    random = np.random.default_rng(0).uniform(size=(64, augment.NUM_DRAWS)).astype(np.float32)
    rows = np.array(augment.upright(ramp, random, 16)).mean((2, 3))
    assert (np.diff(rows, axis=1) > -1e-3).all()
    turned = np.array(augment.basic(ramp, random, 16)).mean((2, 3))
    assert (np.diff(turned, axis=1) < -1).any()


def test_crop_is_of_the_drawn_area_and_stays_inside():
    ones = np.ones((200, 16, 16, 3), np.float32)
    random = np.random.default_rng(0).uniform(size=(200, augment.NUM_DRAWS)).astype(np.float32)
    np.testing.assert_allclose(augment.random_crop(ones, random, 16), 1, atol=1e-5)  # outside would be 0


def test_colour():
    def change(*values):
        return np.array(augment.change_colour(RAMP, np.float32([values]), strength=0.3))

    luma = RAMP @ np.float32([0.299, 0.587, 0.114])
    np.testing.assert_allclose(change(0.5, 0.5, 0.5), RAMP, atol=1e-3)
    np.testing.assert_allclose(change(0.0, 0.5, 0.5), 0.7 * RAMP, rtol=1e-4)
    np.testing.assert_allclose(change(0.5, 0.0, 0.5), 0.7 * RAMP + 0.3 * luma.mean(), rtol=1e-4)
    np.testing.assert_allclose(change(0.5, 0.5, 0.0), 0.7 * RAMP + 0.3 * luma[..., None], rtol=1e-4)


def test_mixup_mixes_pictures_and_labels_alike():
    images = np.stack([np.zeros((4, 4, 3)), np.full((4, 4, 3), 100)]).astype(np.float32)
    labels = np.eye(2, dtype=np.float32)
    numbers = np.float32([[0.9, 0.25, 0.5, 0.5], [0.1, 0.25, 0.5, 0.5]])
    mixed, soft = mix.mix("mixup", images, labels, numbers)
    np.testing.assert_allclose(mixed[0], 75)
    np.testing.assert_allclose(soft, [[0.25, 0.75], [0, 1]])
    np.testing.assert_allclose(mixed[1], 100)


def test_cutmix_labels_by_the_area_that_is_left():
    images = np.stack([np.zeros((8, 8, 3)), np.full((8, 8, 3), 100)]).astype(np.float32)
    labels = np.eye(2, dtype=np.float32)
    # A box of half the side around the corner: a quarter of it lies inside, 1/16 of the picture.
    numbers = np.float32([[0.9, 0.75, 0.0, 0.0], [0.9, 0.75, 0.5, 0.5]])
    mixed, soft = mix.mix("cutmix", images, labels, numbers)
    np.testing.assert_allclose(np.array(mixed[0])[:2, :2], 100)
    assert np.array(mixed[0]).mean() == pytest.approx(100 / 16)
    np.testing.assert_allclose(soft, [[15 / 16, 1 / 16], [1 / 4, 3 / 4]])


def test_both_mixes_two_thirds():
    numbers = np.random.default_rng(0).uniform(size=(3000, 4)).astype(np.float32)
    images, labels = np.zeros((3000, 2, 2, 3), np.float32), np.eye(3, dtype=np.float32)[np.arange(3000) % 3]
    _, soft = mix.mix("both", images, labels, numbers)
    assert (np.array(soft).max(1) == 1).mean() < 0.6
    np.testing.assert_allclose(np.sum(soft, 1), 1, atol=1e-6)

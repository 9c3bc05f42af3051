"""What the network sees."""

import collections
import dataclasses
import shutil
import types

import numpy as np
import psutil
import pytest
import tensorflow as tf

from recycle_tf.data import augment, backgrounds, cache, mix, pipeline, sources
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
    rest = batches(pipeline.build_training(split, 3, 16, 5, mix="both", seed=7, epochs=3, first_step=8))
    assert len(rest) == 4
    for (images, labels), (same_images, same_labels) in zip(whole[8:], rest, strict=True):
        np.testing.assert_array_equal(images, same_images)
        np.testing.assert_array_equal(labels, same_labels)


@pytest.fixture
def uneven(split):
    """14 pictures of the first class, 4 of the second and one of the third; each is one grey of its own."""
    chosen = [0] * 14 + [1] * 4 + [2]
    greys = tf.constant(10 * np.arange(1, 20), tf.uint8)

    def encoded(index):
        return tf.io.encode_png(tf.fill([16, 16, 3], greys[index]))

    return dataclasses.replace(
        split, ids=tuple(f"{n}.png" for n in range(19)), labels=np.array(chosen, np.int64), encoded=encoded
    )


def drawn(split, epochs, first_step=0):
    """Which examples are drawn, `[step, place]`."""
    dataset = pipeline.build_training(
        split, 3, 16, 5, augment="none", seed=3, epochs=epochs, first_step=first_step, balanced=True
    )
    return np.stack([images[:, 0, 0, 0].round().astype(int) // 10 - 1 for images, _ in batches(dataset)])


def test_balanced_every_class_comes_equally_often(uneven):
    found = drawn(uneven, epochs=28).reshape(28, 15)
    for epoch in found:
        assert np.bincount(uneven.labels[epoch]).tolist() == [5, 5, 5]
    # And the pictures of a class equally often: 140 draws of 14, of 4 and of one.
    assert np.bincount(found.ravel()).tolist() == [10] * 14 + [35] * 4 + [140]
    orders = {tuple(epoch[uneven.labels[epoch] == 1][:4]) for epoch in found}
    assert len(orders) > 5
    assert len({tuple(uneven.labels[epoch]) for epoch in found}) > 20


def test_balanced_an_epoch_begins_where_it_would_have_been(uneven):
    np.testing.assert_array_equal(drawn(uneven, 4)[7:], drawn(uneven, 4, first_step=7))


def test_balanced_a_class_without_training_pictures_is_left_out(uneven):
    without = dataclasses.replace(uneven, labels=np.where(uneven.labels == 1, 2, uneven.labels))
    assert set(without.labels[drawn(without, 1).ravel()]) == {0, 2}


def test_balanced_a_picture_is_augmented_otherwise_each_time(uneven):
    found = batches(pipeline.build_training(uneven, 3, 16, 5, augment="basic", balanced=True))
    images, labels = (np.concatenate(parts) for parts in zip(*found, strict=True))
    same = images[labels.argmax(1) == 2]
    assert len(same) == 5
    assert len(np.unique(same.reshape(5, -1), axis=0)) == 5


@pytest.mark.parametrize("place", ["auto", "disk", "off"])
@pytest.mark.parametrize("name", ["trivial", "none"])
def test_the_cache_decides_how_pictures_are_read_not_what_they_are(split, place, name):
    cached = batches(pipeline.build_training(split, 3, 16, 5, seed=7, augment=name, cache="memory"))
    other = batches(pipeline.build_training(split, 3, 16, 5, seed=7, augment=name, cache=place))
    evaluation = [batches(pipeline.build_evaluation(split, 3, 16, 7, cache=c)) for c in ("memory", place)]
    for (images, labels), (same, same_labels) in zip(
        cached + evaluation[0], other + evaluation[1], strict=True
    ):
        np.testing.assert_array_equal(images, same)
        np.testing.assert_array_equal(labels, same_labels)


def free(monkeypatch, memory, disk):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(available=memory))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=disk))


@pytest.mark.parametrize(
    ("memory", "disk", "place"), [(400, 0, "memory"), (399, 200, "disk"), (399, 199, "off")]
)
def test_auto_looks_at_what_is_free(monkeypatch, caplog, memory, disk, place):
    free(monkeypatch, memory, disk)
    assert cache._place("auto", 100) == place
    assert ("do not fit" in caplog.text) == (place != "memory")


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_a_cache_without_room_is_refused(monkeypatch, split, place):
    free(monkeypatch, 0, 0)
    with pytest.raises(UserError, match=f"--cache={place}: 0.0 GB of decoded pictures, but only 0.0 GB"):
        pipeline.build_training(split, 3, 16, 5, cache=place)


def test_threads_decide_nothing(split):
    many = pipeline.build_training(split, 3, 16, 5, mix="both", seed=7, epochs=2, cache="off")
    one = tf.data.Options()
    one.threading.private_threadpool_size = 1
    one.autotune.enabled = False
    for (images, labels), (same, same_labels) in zip(
        batches(many), batches(many.with_options(one)), strict=True
    ):
        np.testing.assert_array_equal(images, same)
        np.testing.assert_array_equal(labels, same_labels)


def test_any_step_is_where_it_would_have_been(split):
    whole = batches(pipeline.build_training(split, 3, 16, 5, mix="both", seed=7, epochs=3))
    rest = batches(pipeline.build_training(split, 3, 16, 5, mix="both", seed=7, epochs=3, first_step=6))
    assert len(rest) == 6
    for (images, labels), (same_images, same_labels) in zip(whole[6:], rest, strict=True):
        np.testing.assert_array_equal(images, same_images)
        np.testing.assert_array_equal(labels, same_labels)


def test_skipped_steps_decode_nothing(split):
    read = []

    def encoded(index):
        return tf.numpy_function(lambda i: (read.append(i), split.encoded(i).numpy())[1], [index], tf.string)

    counted = dataclasses.replace(split, encoded=encoded)
    dataset = pipeline.build_training(counted, 3, 16, 5, epochs=100, first_step=399, cache="off")
    assert len(batches(dataset)) == 1
    assert len(read) == 5


def test_a_data_service_delivers_each_example_once_an_epoch(split):
    dispatcher = tf.data.experimental.service.DispatchServer()
    workers = [
        tf.data.experimental.service.WorkerServer(
            tf.data.experimental.service.WorkerConfig(dispatcher.target.removeprefix("grpc://"))
        )
        for _ in range(2)
    ]
    arguments = {"augment": "none", "seed": 7, "epochs": 3}
    here = batches(pipeline.build_training(split, 3, 16, 5, **arguments))
    there = batches(pipeline.build_training(split, 3, 16, 5, **arguments, data_service=dispatcher.target))
    assert len(there) == len(here) == 12

    def contents(found):
        return collections.Counter(image.tobytes() for images, _ in found for image in images)

    assert contents(there) == contents(here)
    assert all(worker._server.num_tasks() > 0 for worker in workers)


def test_an_epoch_holds_each_example_at_most_once_in_a_new_order(split):
    dataset = pipeline.build_training(split, 3, 16, 24, augment="none", seed=1, epochs=2)
    first, second = [images.reshape(24, -1) for images, _ in batches(dataset)]
    assert len(np.unique(first, axis=0)) == 24
    assert (first != second).any()
    np.testing.assert_array_equal(np.unique(first, axis=0), np.unique(second, axis=0))


@pytest.mark.parametrize("name", augment.policies())
def test_policies_keep_shape_and_range_and_labels(split, name, monkeypatch):
    monkeypatch.setattr(backgrounds, "COUNT", 4)
    images, labels = batches(pipeline.build_training(split, 3, 16, 8, augment=name))[0]
    assert images.shape == (8, 16, 16, 3)
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 255
    # Each class of these pictures has a colour of its own, which survives every policy in the mean.
    # `wild` puts some on a background of another color.
    if name not in (*augment.SEQUENTIAL, "wild"):
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
        cache.decode_all(damaged, 16)


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
    pictures = cache.decode_all(chosen, 16)
    expected = {
        example: picture for example, picture in zip(split.ids, cache.decode_all(split, 16), strict=True)
    }
    for example, picture in zip(chosen.ids, pictures, strict=True):
        np.testing.assert_array_equal(picture, expected[example])


def draws(count=1, **columns):
    """Draws for some pictures: a half everywhere (the middle, the mean), but for `dN=value`."""
    values = np.full((count, augment.NUM_DRAWS), 0.5, np.float32)
    values[:, 0], values[:, 4:7] = 1.0, 0.0
    for name, value in columns.items():
        values[:, int(name[1:])] = value
    return tf.constant(values)


def random_draws(count):
    return tf.constant(np.random.default_rng(0).uniform(size=(count, augment.NUM_DRAWS)).astype(np.float32))


NOISE = np.random.default_rng(0).integers(20, 200, (1, 8, 8, 3), dtype=np.uint8)
SMOOTH = np.random.default_rng(0).uniform(60, 190, (1, 3, 3, 3)).astype(np.float32)
SMOOTH = tf.image.resize(SMOOTH, (64, 64), "bicubic").numpy().astype(np.uint8)


def placed(pictures, size, **columns):
    return augment.resample(pictures, augment.placed(draws(len(pictures), **columns)), size).numpy()


def test_crop_of_the_whole_picture_changes_nothing():
    np.testing.assert_allclose(placed(NOISE, 8), NOISE, atol=1e-3)


def test_flips_and_quarter_turns():
    np.testing.assert_allclose(placed(NOISE, 8, d4=0.9), NOISE[:, ::-1], atol=1e-3)
    np.testing.assert_allclose(placed(NOISE, 8, d5=0.9), NOISE[:, :, ::-1], atol=1e-3)
    np.testing.assert_allclose(placed(NOISE, 8, d6=0.9), NOISE.transpose(0, 2, 1, 3), atol=1e-3)
    np.testing.assert_allclose(
        placed(NOISE, 8, d4=0.9, d6=0.9), NOISE.transpose(0, 2, 1, 3)[:, :, ::-1], atol=1e-3
    )


def test_a_crop_is_what_crop_and_resize_cuts_out():
    values = random_draws(32)
    geometry = augment.placed(values, upright=True)
    pictures = np.repeat(SMOOTH, 32, axis=0)
    found = augment.resample(pictures, geometry, 24).numpy()
    # crop_and_resize puts its first and last samples on the box's edges, half a pixel of the result inside.
    middle, half = geometry[:, :, 2] + 0.5, tf.stack([geometry[:, 0, 0], geometry[:, 1, 1]], 1) / 2
    edge = half * (23 / 24)
    boxes = tf.concat([middle - edge, middle + edge], axis=1)
    boxes = (boxes * 64 - 0.5) / 63
    expected = tf.image.crop_and_resize(pictures, boxes, tf.range(32), [24, 24]).numpy()
    inside = np.array((boxes >= 0) & (boxes <= 1)).all(1)
    assert inside.sum() > 20
    np.testing.assert_allclose(found[inside], expected[inside], atol=0.02)


def test_rotation_samples_along_a_turned_grid():
    angle = 0.7 * np.pi / 4
    geometry = tf.concat([augment.rotation(tf.constant([0.7])), tf.zeros((1, 2, 1))], axis=2)
    found = augment.resample(SMOOTH, geometry, 64).numpy()[0]
    for row, column in ((32, 32), (20, 40), (45, 25), (30, 10)):
        y, x = row - 31.5, column - 31.5
        y, x = np.cos(angle) * y - np.sin(angle) * x + 31.5, np.sin(angle) * y + np.cos(angle) * x + 31.5
        top, left = int(y), int(x)
        corners = SMOOTH[0, top : top + 2, left : left + 2].astype(np.float32)
        down, right = y - top, x - left
        expected = np.einsum("y,x,yxc->c", [1 - down, down], [1 - right, right], corners)
        np.testing.assert_allclose(found[row, column], expected, atol=0.01)


def test_upright_keeps_the_top_on_top():
    ramp = np.tile(np.linspace(0, 255, 16).astype(np.uint8)[None, :, None, None], (64, 1, 16, 3))
    grey = augment.grey(ramp)
    rows = augment.apply(ramp, augment.upright(random_draws(64), grey), 16).numpy().mean((2, 3))
    assert (np.diff(rows, axis=1) > -1e-3).all()
    turned = augment.apply(ramp, augment.basic(random_draws(64), grey), 16).numpy().mean((2, 3))
    assert (np.diff(turned, axis=1) < -1).any()


def test_crops_are_of_the_drawn_area_and_stay_inside():
    geometry = augment.placed(random_draws(500)).numpy()
    area = np.abs(np.linalg.det(geometry[:, :, :2]))
    assert 0.25 <= area.min() < 0.3
    assert 0.9 < area.max() <= 1 + 1e-6
    corners = np.array([[y, x, 1] for y in (-0.5, 0.5) for x in (-0.5, 0.5)])
    assert np.abs(np.einsum("bij,kj->bki", geometry, corners)).max() <= 0.5 + 1e-6


def recoloured(matrix):
    """The noise through a colour matrix."""
    return augment.recolour(tf.constant(NOISE, tf.float32), matrix, tf.zeros((1, 4))).numpy()


def test_light_changes_of_colour():
    picture = NOISE.astype(np.float32)
    luma = picture @ augment.LUMA
    grey = np.float32([luma.mean()])

    def light(*values):
        columns = dict(zip(("d8", "d9", "d10"), values, strict=True))
        return recoloured(augment.light(draws(**columns), grey, strength=0.3))

    np.testing.assert_allclose(light(0.5, 0.5, 0.5), picture, atol=1e-3)
    np.testing.assert_allclose(light(0.0, 0.5, 0.5), 0.7 * picture, rtol=1e-4)
    np.testing.assert_allclose(light(0.5, 0.0, 0.5), 0.7 * picture + 0.3 * luma.mean(), rtol=1e-4)
    np.testing.assert_allclose(light(0.5, 0.5, 0.0), 0.7 * picture + 0.3 * luma[..., None], rtol=1e-4)
    # Composed: colour first, then contrast, then light.
    colour = 0.7 * picture + 0.3 * luma[..., None]
    both = 0.7 * (0.7 * colour + 0.3 * luma.mean())
    np.testing.assert_allclose(light(0.0, 0.0, 0.0), both, rtol=1e-4)


def test_hue_keeps_greys_and_turns_colours():
    found = augment.hue(np.float32([1.0]), None).numpy()[0]
    np.testing.assert_allclose(found[:, :3] @ [1, 1, 1], [1, 1, 1], atol=1e-6)
    turned = np.linalg.matrix_power(found[:, :3], 10)
    np.testing.assert_allclose(turned, np.eye(3), atol=1e-5)  # Ten tenths of a turn.
    assert found[0, 0] < 0.9


def test_cast_moves_red_and_blue_apart():
    found = augment.cast(np.float32([0.5]), None).numpy()[0]
    np.testing.assert_allclose(found, np.diag([1.15, 1.0, 0.85, 0])[:3], atol=1e-6)


def test_grey_is_the_mean_luma():
    pictures = np.repeat(SMOOTH, 2, axis=0)
    expected = (pictures.astype(np.float32) @ augment.LUMA).mean((1, 2))
    np.testing.assert_allclose(augment.grey(pictures), expected, rtol=0.02)


def test_an_erased_box_is_grey():
    erased = np.float32([[-0.25, -0.5, 0.25, 0.0]])
    matrix = np.eye(3, 4, dtype=np.float32)[None]
    found = augment.recolour(tf.constant(NOISE, tf.float32), matrix, erased).numpy()
    expected = NOISE.astype(np.float32)
    expected[:, 2:6, :4] = augment.FILL
    np.testing.assert_array_equal(found, expected)


def test_trivial_draws_one_operation_for_each_picture():
    count = 4000
    values = random_draws(count)
    change = augment.trivial(values, tf.fill([count], 100.0))
    warped = ~np.isclose(change.geometry, augment.placed(values)).all((1, 2))
    coloured = ~np.isclose(change.colour, np.eye(3, 4)).all((1, 2))
    erased = (change.erased[:, 2] > change.erased[:, 0]).numpy()
    assert (warped.astype(int) + coloured + erased).max() == 1
    kinds = 1 + len(augment.WARPS) + len(augment.COLOURS) + 1
    for share, expected in ((warped, len(augment.WARPS)), (coloured, len(augment.COLOURS)), (erased, 1)):
        assert share.mean() == pytest.approx(expected / kinds, abs=0.03)
    boxes = change.erased.numpy()[erased]
    assert boxes.min() >= -0.5
    assert boxes.max() <= 0.5


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

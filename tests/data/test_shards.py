"""Datasets as some large files."""

import collections
import dataclasses
import json
import re
import shutil
import types
import uuid

import numpy as np
import pytest
import tensorflow as tf

from recycle_tf import options
from recycle_tf.commands import train
from recycle_tf.config import TrainConfig
from recycle_tf.data import audit, cache, checks, pipeline, shards, sources, splits
from recycle_tf.errors import UserError
from recycle_tf.runs import open_run
from recycle_tf.training.batches import Batches
from tests.conftest import run_main, tiny_training, write_photos
from tests.training.test_resume import killed_at


@pytest.fixture
def pair(photos, tmp_path):
    """A folder opened as it is, and as shards."""
    source = sources.open_source(str(photos), seed=4)
    shards.write(source, tmp_path / "shards", 3)
    return source, sources.open_source(str(tmp_path / "shards"))


def contents(split):
    return [split.encoded(tf.constant(index, tf.int64)).numpy() for index in range(len(split))]


def check_same(one, other):
    assert (one.name, one.labels, one.fingerprint) == (other.name, other.labels, other.fingerprint)
    assert one.splits.keys() == other.splits.keys()
    for name, split in one.splits.items():
        same = other.splits[name]
        assert (split.ids, split.hashes, split.part_names) == (same.ids, same.hashes, same.part_names)
        np.testing.assert_array_equal(split.labels, same.labels)
        np.testing.assert_array_equal(split.parts, same.parts)
        assert contents(split) == contents(same)


def batches(split, share=(0, 1), **settings):
    settings = {"mix": "both", "seed": 7, "epochs": 2, "cache": "off"} | settings
    built = pipeline.build_training(split, 3, 16, 8, share=share, **settings)
    return list(built.as_numpy_iterator())


def check_same_batches(one, other):
    assert len(one) == len(other) > 0
    for (images, labels), (same_images, same_labels) in zip(one, other, strict=True):
        np.testing.assert_array_equal(images, same_images)
        np.testing.assert_array_equal(labels, same_labels)


def test_all_is_that_of_the_folder(pair):
    folder, sharded = pair
    check_same(folder, sharded)
    assert audit.leaks(folder) == audit.leaks(sharded)


def test_files_are_as_many_as_wanted_and_in_order(pair, tmp_path):
    files = sorted(path.name for path in (tmp_path / "shards").iterdir())
    trained = [f"train-{number:05}-of-00003.tfrecord" for number in range(3)]
    others = ["test-00000-of-00001.tfrecord", "validation-00000-of-00001.tfrecord"]
    assert files == sorted([*trained, *others, shards.INDEX])
    # Any program that reads TFRecord files finds the examples in order.
    split = pair[0].splits["train"]
    features = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
        "id": tf.io.FixedLenFeature([], tf.string),
    }
    records = tf.data.TFRecordDataset([str(tmp_path / "shards" / file) for file in trained])
    found = [tf.io.parse_single_example(record, features) for record in records]
    assert [row["id"].numpy().decode() for row in found] == list(split.ids)
    assert [row["label"].numpy() for row in found] == list(split.labels)
    assert [row["image"].numpy() for row in found] == contents(split)


def test_opening_reads_no_image(pair, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_record", None)
    assert sources.open_source(str(tmp_path / "shards")).fingerprint == pair[0].fingerprint


@pytest.mark.parametrize("place", ["memory", "disk", "off"])
def test_batches_and_gradients_are_those_of_the_folder(pair, place):
    one, other = (batches(source.splits["train"], cache=place) for source in pair)
    check_same_batches(one, other)
    weights = tf.Variable(np.random.default_rng(0).normal(size=(16 * 16 * 3, 3)).astype(np.float32))
    for batch, same in zip(one, other, strict=True):
        np.testing.assert_array_equal(gradient(weights, *batch), gradient(weights, *same))


def gradient(weights, images, labels):
    with tf.GradientTape() as tape:
        logits = tf.reshape(images, (len(images), -1)) / 255 @ weights
        loss = tf.nn.softmax_cross_entropy_with_logits(labels, logits)
    return tape.gradient(loss, weights).numpy()


def test_a_later_step_has_the_batches_of_the_whole_run(pair):
    folder, sharded = (source.splits["train"] for source in pair)
    check_same_batches(batches(folder)[4:], batches(sharded, first_step=4))


def test_hosts_read_different_images_that_make_up_the_batch(pair):
    """Each reads the images of its part, and with mixing the one before them."""
    train, whole = pair[1].splits["train"], batches(pair[0].splits["train"], augment="none", mix="none")
    parts, read = [], []
    for host in range(2):
        seen = collections.Counter()

        def count(index, seen=seen):
            seen[int(index)] += 1
            return index

        counted = dataclasses.replace(
            train,
            encoded=lambda index, count=count: train.encoded(
                tf.ensure_shape(tf.numpy_function(count, [index], tf.int64), [])
            ),
        )
        parts.append(batches(counted, (host, 2), augment="none", mix="none", epochs=2))
        read.append(seen)
    assert len(parts[0]) == len(parts[1]) == len(whole) == 6
    for step, (images, labels) in enumerate(whole):
        np.testing.assert_array_equal(np.concatenate([part[step][0] for part in parts]), images)
        np.testing.assert_array_equal(np.concatenate([part[step][1] for part in parts]), labels)
    # 4 of a batch of 8, and one that the first is mixed with.
    assert [seen.total() for seen in read] == [6 * 5, 6 * 5]


@pytest.mark.slow
def test_a_run_on_shards_is_that_on_the_folder(photos, tmp_path):
    """To the bit, also when it is stopped and resumed."""
    source = sources.open_source(str(photos))
    shards.write(source, tmp_path / "shards", 2)
    for place, dataset in (("folder", photos), ("sharded", tmp_path / "shards")):
        line = (*tiny_training(dataset), "--deterministic", "--epochs=3", f"--run_dir={tmp_path / place}")
        if place == "sharded":
            with killed_at(5):
                run_main(train.main, *line, "--checkpoint_every=1steps")
        result = run_main(train.main, *line)
        assert result.returncode == 0, result.stderr
    models = [open_run(tmp_path / place).load_model().get_weights() for place in ("folder", "sharded")]
    for one, other in zip(*models, strict=True):
        np.testing.assert_array_equal(one, other)


def test_several_sources_in_shards_and_shards_as_one_of_several(photos, tmp_path):
    more = write_photos(tmp_path / "more", ("can", "jar"), count=6, seed=1)
    joined = sources.open_source(f"{photos}+{more}", seed=2)
    shards.write(joined, tmp_path / "shards")
    check_same(joined, sources.open_source(str(tmp_path / "shards")))
    third = write_photos(tmp_path / "third", ("can", "jar"), count=4, seed=2)
    both = sources.open_source(f"{tmp_path / 'shards'}+{third}", seed=2)
    assert both.splits["train"].part_names == ("shards", "third")
    # A run stores what it has left out: here, all but one image of the shards.
    rows = both.manifest()
    dropped = next(row for row in rows if row[4] == "shards" and row[2] == "train")
    splits.write_manifest(tmp_path / "split.csv", [row for row in rows if row != dropped])
    again = sources.open_source(f"{tmp_path / 'shards'}+{third}", manifest=tmp_path / "split.csv")
    assert again.num_examples == both.num_examples - 1
    assert dropped[0] not in {row[0] for row in again.manifest()}


def test_other_splits_of_evaluation(pair, tmp_path):
    source = sources.open_unsplit(str(tmp_path / "shards"))
    assert list(source.splits) == list(options.SPLITS)
    assert source.fingerprint == pair[0].fingerprint
    assert sources.class_names(str(tmp_path / "shards")) == ("can", "jar", "tube")


def test_shards_on_another_machine(pair, tmp_path):
    url = f"ram://{uuid.uuid4().hex}/shards"
    tf.io.gfile.makedirs(url)
    for file in (tmp_path / "shards").iterdir():
        with tf.io.gfile.GFile(f"{url}/{file.name}", "wb") as target:
            target.write(file.read_bytes())
    check_same(pair[0], sources.open_source(url))


# ---- writing


def test_shards_replace_shards_as_a_whole(pair, photos, tmp_path):
    shards.write(pair[0], tmp_path / "shards", 1)
    assert len(list((tmp_path / "shards").iterdir())) == 4
    before = {path.name: path.read_bytes() for path in (tmp_path / "shards").iterdir()}
    image = photos / pair[0].splits["test"].ids[-1]
    content = image.read_bytes()
    # The last image has changed, or has disappeared, since the dataset was opened.
    image.write_bytes(content + b"x")
    with pytest.raises(UserError, match=f"{image.name}: has changed"):
        shards.write(pair[0], tmp_path / "shards", 2)
    image.unlink()
    with pytest.raises(UserError, match=f"{image.name}: missing or damaged"):
        shards.write(pair[0], tmp_path / "shards", 2)
    assert {path.name: path.read_bytes() for path in (tmp_path / "shards").iterdir()} == before
    assert not list(tmp_path.glob(".partial-*"))


def test_a_folder_with_something_else_is_left_alone(pair, tmp_path):
    for place in (tmp_path / "full", tmp_path / "file"):
        place.mkdir() if place.name == "full" else place.write_text("mine")
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for place in (tmp_path / "full", tmp_path / "file"):
        with pytest.raises(UserError, match="`dir=.*holds no shards"):
            shards.write(pair[0], place)
    (tmp_path / "empty").mkdir()
    assert shards.write(pair[0], tmp_path / "empty").shards


def test_too_little_space_is_an_error_before_anything_is_written(pair, tmp_path, monkeypatch):
    needed = sum(shard.bytes for shard in shards.open_index(tmp_path / "shards").shards)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=needed * 0.9))
    with pytest.raises(UserError, match="`dir=.*GB are needed"):
        shards.write(pair[0], tmp_path / "more")
    assert not (tmp_path / "more").exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=needed * 1.1))
    assert shards.write(pair[0], tmp_path / "more").shards


def test_a_full_disk_is_one_line(pair, tmp_path, small_disk, monkeypatch):
    small_disk(tmp_path / "disk", "size=16k")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=10**9))
    with pytest.raises(UserError, match="`dir=.*cannot be written.*space"):
        shards.write(pair[0], tmp_path / "disk" / "shards")
    assert not list((tmp_path / "disk").iterdir())


# ---- damage


def test_a_damaged_image_is_named(pair, tmp_path):
    path = tmp_path / "shards" / "train-00000-of-00003.tfrecord"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    source = sources.open_source(str(tmp_path / "shards"))
    with pytest.raises(UserError, match=r"\.png: missing or damaged") as error:
        cache.decode_all(source.splits["train"], 16)
    name = str(error.value).partition(":")[0]
    assert name in source.splits["train"].ids[:8]
    # Without a cache, images are read during training.
    config = TrainConfig(batch_size=8, cache="off", image_size=32)
    built = Batches(source, config, 32, tf.distribute.get_strategy())
    with pytest.raises(UserError, match=re.escape(name)), built.naming_damaged_images():
        list(built.training_from(0))
    skipped = sources.open_source(str(tmp_path / "shards"), on_bad_image="skip")
    assert skipped.ignored[0].startswith(f"{name}: ")
    assert skipped.num_examples == 35
    reported = sources.open_source(str(tmp_path / "shards"), on_bad_image=sources.REPORT)
    assert [fault.file for fault in reported.faults if fault.kind in checks.UNUSABLE] == [name]


def test_an_audit_notices_an_exchanged_file(pair, tmp_path):
    """Its records have the same sizes, so that only the hashes tell."""
    index = shards.open_index(tmp_path / "shards")
    rows = pair[0].splits["test"]
    other = bytearray(contents(rows)[0])
    other[-20] ^= 1
    path = tmp_path / "shards" / "test-00000-of-00001.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number, content in enumerate(contents(rows)):
            content = bytes(other) if number == 0 else content
            writer.write(shards._example(content, rows.labels[number], rows.ids[number]))
    assert path.stat().st_size == index.shards[-1].bytes
    source = sources.open_source(str(tmp_path / "shards"), on_bad_image=sources.REPORT)
    assert ("changed", rows.ids[0]) in [(fault.kind, fault.file) for fault in source.faults]


@pytest.mark.parametrize("what", ["missing", "shorter"])
def test_a_file_of_another_size(pair, tmp_path, what):
    path = tmp_path / "shards" / "train-00001-of-00003.tfrecord"
    path.unlink() if what == "missing" else path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"{path}: .*write the shards again"):
        sources.open_source(str(tmp_path / "shards"))


def changed(content, place, value):
    *above, last = place
    for key in above:
        content = content[key]
    content[last] = value


@pytest.mark.parametrize(
    ("place", "value", "names"),
    [
        (("format",), 2, ("version 2",)),
        (("name",), "x/../../other", ("x/../../other",)),
        (("name",), "..", ("'..'",)),
        (("shards",), 3, ()),
        (("shards", 0, "file"), "../../other.tfrecord", ("other.tfrecord",)),
        (("shards", 0, "split"), "dev", ()),
        (("shards", 0, "labels", 0), 3, ()),
        (("shards", 0, "labels", 0), True, ()),
        (("shards", 0, "sizes", 0), -5, ()),
        (("shards", 0, "sizes", 0), "5", ()),
        (("shards", 0, "ids"), ["a"], ()),
        (("shards", 0, "ids", 0), "can/\n.png", ()),
        (("shards", 0, "ids", 0), 7, ()),
        (("shards", 0, "more"), 7, ()),
        (("labels", 0), "jar", ("twice",)),
        (("labels",), None, ()),
    ],
)
def test_a_damaged_index_is_one_line(pair, tmp_path, place, value, names):
    path = tmp_path / "shards" / shards.INDEX
    content = json.loads(path.read_text())
    changed(content, place, value)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError) as error:
        sources.open_source(str(tmp_path / "shards"))
    assert str(error.value).isprintable()
    for name in (str(path), *names):
        assert name in str(error.value)


def test_an_index_that_was_edited(pair, tmp_path):
    """Each image belongs to the class and has the hash that it was written with."""
    path = tmp_path / "shards" / shards.INDEX
    content = json.loads(path.read_text())
    changed(content, ("shards", 0, "labels", 0), 2)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"{path}: "):
        sources.open_source(str(tmp_path / "shards"))
    path.write_bytes(b"\xff")
    with pytest.raises(UserError, match=f"{path}: cannot be read"):
        sources.open_source(str(tmp_path / "shards"))


def test_settings_that_would_have_no_effect(pair, tmp_path):
    with pytest.raises(UserError, match="`split=grouped`"):
        sources.open_source(str(tmp_path / "shards"), split="grouped")
    (tmp_path / "map.yaml").write_text("jar: glass\n")
    with pytest.raises(UserError, match="`label_map=.*when they are written"):
        sources.open_source(str(tmp_path / "shards"), label_map=str(tmp_path / "map.yaml"))


@pytest.mark.parametrize("number", [1, 5, 10])
def test_the_training_split_has_as_many_files_as_wanted(photos, tmp_path, number):
    source = sources.open_source(str(photos))
    shards.write(source, tmp_path / "many", number)
    assert len(list((tmp_path / "many").glob("train-*.tfrecord"))) == number
    check_same(source, sources.open_source(str(tmp_path / "many")))


def test_files_of_others_are_never_replaced(pair, tmp_path):
    notes = tmp_path / "shards" / "notes.txt"
    notes.write_text("mine")
    with pytest.raises(UserError, match="notes.txt"):
        shards.write(pair[0], tmp_path / "shards")
    assert notes.read_text() == "mine"

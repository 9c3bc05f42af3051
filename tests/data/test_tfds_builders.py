"""Datasets of TFDS: cifar10 and others, with TFDS' own simulated data."""

import contextlib
import pathlib

import pytest
import requests
import tensorflow as tf
import tensorflow_datasets as tfds

import train
from recycle_tf import runs
from recycle_tf.data import sources, tfds_builders
from recycle_tf.errors import UserError
from tests.conftest import tiny_settings

CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@contextlib.contextmanager
def simulated(folder, name, parts, count, labels=None, **more):
    """Within this context TFDS has prepared a dataset: random images, in splits of these names."""
    builder = tfds.builder(name, data_dir=folder)
    if labels:  # TFDS reads them from the archive that it downloads.
        builder.info.features["label"].names = labels
    infos = [
        tfds.core.SplitInfo(name=part, shard_lengths=[count], num_bytes=0, filename_template=None)
        for part in parts
    ]
    builder.info.set_splits(tfds.core.splits.SplitDict(infos))
    place = pathlib.Path(builder.data_dir)
    place.mkdir(parents=True)
    builder.info.write_to_directory(place)
    policy = tfds.testing.MockPolicy.USE_FILES
    with tfds.testing.mock_data(num_examples=count, data_dir=folder, policy=policy, **more):
        yield


def sizes(source):
    return {split: len(part) for split, part in source.splits.items()}


@pytest.mark.parametrize(
    ("name", "count", "labels"),
    [
        ("cifar10", 120, CIFAR),
        pytest.param("oxford_iiit_pet", 400, None, marks=pytest.mark.slow),
    ],
)
def test_a_dataset_of_tfds_is_trained_on(tmp_path, name, count, labels):
    flags = [f"--{key}={value}" for key, value in tiny_settings(name).items()]
    with simulated(tmp_path, name, ("train", "test"), count, labels):
        assert not train.main([*flags, "--epochs=1", f"--run_dir={tmp_path / 'run'}"])
        source = sources.open_source(name)
        expected = labels or tfds.builder(name).info.features["label"].names
    run = runs.open_run(tmp_path / "run")
    assert run.complete
    assert run.labels == expected
    assert len(run.history_rows()) == 1
    assert run.fingerprint == source.fingerprint
    assert sizes(source)["test"] == count
    assert sizes(source)["train"] + sizes(source)["validation"] == count


@pytest.mark.parametrize(
    ("name", "parts", "drawn"),
    [
        ("mnist", ("train", "test"), {"validation"}),
        ("eurosat", ("train",), {"validation", "test"}),
        ("patch_camelyon", ("train", "validation", "test"), set()),
        ("svhn_cropped", ("train", "test", "extra"), {"validation"}),
    ],
)
def test_missing_splits_are_drawn_from_train(tmp_path, name, parts, drawn):
    count = 200
    with simulated(tmp_path, name, parts, count):
        source = sources.open_source(name, seed=1)
        again = sources.open_source(name, seed=2)
        names = tfds.builder(name).info.features["label"].names
    assert source.labels == tuple(names)
    assert again.fingerprint == source.fingerprint
    for split, part in source.splits.items():
        origins = {example.partition("/")[0] for example in part.ids}
        assert origins == {"train" if split in drawn else split}
        assert split in drawn or split == "train" or len(part) == count
    train_part = source.splits["train"]
    assert len(train_part) == count - sum(len(source.splits[split]) for split in drawn)
    for split in drawn:
        assert 0.1 < len(source.splits[split]) / count < 0.2
        assert set(source.splits[split].labels) == set(train_part.labels)


def test_a_split_without_labels_is_drawn(tmp_path):
    image = tf.io.encode_png(tf.zeros((20, 20, 3), tf.uint8)).numpy()

    def as_dataset(self, split, **_):
        labels = [-1] * 30 if split == "test" else [0, 1, 2] * 10
        return tf.data.Dataset.from_tensor_slices({"image": [image] * 30, "label": labels})

    with simulated(tmp_path, "beans", ("train", "test"), 30, as_dataset_fn=as_dataset):
        source = sources.open_source("beans")
    assert {example.partition("/")[0] for example in source.splits["test"].ids} == {"train"}
    assert sum(sizes(source).values()) == 30


def test_a_dataset_without_training_images(tmp_path):
    with (
        simulated(tmp_path, "beans", ("test",), 9),
        pytest.raises(UserError, match="`dataset=beans`: has no training images"),
    ):
        sources.open_source("beans")


def test_a_dataset_that_does_not_fit_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds.core.DatasetInfo, "dataset_size", property(lambda _: 10**18))
    with (
        simulated(tmp_path, "beans", ("train",), 9),
        pytest.raises(UserError, match="`dataset=beans`: 1,000,000,000,000,000,000 bytes, but"),
    ):
        sources.open_source("beans")


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("cifar1", "no dataset of that name; did you mean .*cifar10"),
        ("trashnett", r"no dataset of that name; did you mean trashnet\?"),
        ("qqqqqqqq", "no dataset of that name; choose from recyclables_synth, trashnet$"),
        ("no photos/here", "no such folder"),
        ("cifar10?x=1", "no such folder"),
        ("ag_news_subset", "not a dataset for image classification.*it has .*title"),
        ("voc/2007", "not a dataset for image classification"),
        ("cifar10_corrupted/nope", "BuilderConfig nope not found"),
        ("imagenet2012", "`manual_dir`: .*ILSVRC2012"),
    ],
)
def test_a_name_that_cannot_be_opened(tmp_path, name, named):
    with pytest.raises(UserError, match=named) as raised:
        tfds_builders.prepare(name, data_dir=tmp_path)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 1000


def test_without_a_network(tmp_path, monkeypatch):
    def download(*_, **__):
        raise requests.ConnectionError

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", download)
    with pytest.raises(UserError, match="could not be downloaded.*tfds build cifar10 .*`data_dir=FOLDER`"):
        tfds_builders.prepare("cifar10", data_dir=tmp_path)

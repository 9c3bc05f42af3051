"""Datasets on another file system: TensorFlow's `ram://` stands in for `gs://` and `s3://`."""

import os
import shutil
import types
import uuid

import numpy as np
import pytest
import tensorflow as tf

from recycle_tf import options, paths, remote
from recycle_tf.commands import audit as audit_command
from recycle_tf.commands import train
from recycle_tf.data import audit, fetched, joining, pipeline, sources, splits
from recycle_tf.errors import UserError
from tests.conftest import check_refused, run_main, run_python, tiny_training, write_photos


def copied(folder):
    """Copies a folder into memory; returns its address."""
    url = f"ram://{uuid.uuid4().hex}/photos"
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        place = f"{url}/{file.relative_to(folder).as_posix()}"
        tf.io.gfile.makedirs(os.path.dirname(place))
        with tf.io.gfile.GFile(place, "wb") as target:
            target.write(file.read_bytes())
    return url


def batches(source, cache):
    train = source.splits["train"]
    built = pipeline.build_training(train, len(source.labels), 16, 5, mix="both", seed=3, cache=cache)
    return list(built.as_numpy_iterator())


@pytest.mark.parametrize("split", ["stratified", "grouped"])
def test_all_is_that_of_the_local_folder(photos, split):
    (photos / "can" / "notes.txt").write_text("a note")
    (photos / "jar" / "more").mkdir()
    (photos / "jar" / "jar1.png").rename(photos / "jar" / "more" / "jar1.png")
    url = copied(photos)
    local, other = (sources.open_source(place, seed=1, split=split) for place in (str(photos), url))
    assert (other.name, other.labels) == (local.name, local.labels)
    assert other.manifest() == local.manifest()
    assert other.fingerprint == local.fingerprint
    assert [file.replace(url, str(photos)) for file in other.ignored] == list(local.ignored) != []
    assert other.thumbnails.keys() == local.thumbnails.keys()
    for digest, made in local.thumbnails.items():
        np.testing.assert_array_equal(other.thumbnails[digest], made)
    assert audit.leaks(other) == audit.leaks(local)


@pytest.mark.parametrize("cache", ["memory", "disk", "off"])
def test_batches_and_gradients_are_those_of_the_local_folder(photos, cache):
    """Bit for bit, wherever decoded images are kept."""
    url = copied(photos)
    local, other = (batches(sources.open_source(place, seed=1), cache) for place in (str(photos), url))
    assert len(local) == len(other) == 4
    weights = tf.Variable(np.random.default_rng(0).normal(size=(16 * 16 * 3, 3)).astype(np.float32))
    for (images, labels), (same_images, same_labels) in zip(local, other, strict=True):
        np.testing.assert_array_equal(images, same_images)
        np.testing.assert_array_equal(labels, same_labels)
        gradients = [gradient(weights, *batch) for batch in ((images, labels), (same_images, same_labels))]
        np.testing.assert_array_equal(*gradients)


def gradient(weights, images, labels):
    with tf.GradientTape() as tape:
        logits = tf.reshape(images, (len(images), -1)) / 255 @ weights
        loss = tf.nn.softmax_cross_entropy_with_logits(labels, logits)
    return tape.gradient(loss, weights).numpy()


def test_folders_of_splits_and_evaluation(tmp_path):
    for name in ("train", "val", "test"):
        write_photos(tmp_path / "set" / name, count=4)
    url = copied(tmp_path / "set")
    for opened in (sources.open_source, sources.open_unsplit):
        assert opened(url).manifest() == opened(tmp_path / "set").manifest()


def test_a_manifest_beside_the_images(photos):
    source = sources.open_source(str(photos), seed=2)
    splits.write_manifest(photos / "split.csv", source.manifest())
    url = copied(photos)
    assert sources.open_source(f"{url}/split.csv").fingerprint == source.fingerprint
    # A run keeps its split on this machine.
    again = sources.open_source(url, manifest=photos / "split.csv", seed=9)
    assert again.fingerprint == source.fingerprint


def write(url, text):
    with tf.io.gfile.GFile(url, "w") as file:
        file.write(text)
    return url


def test_errors_of_a_manifest_beside_the_images(photos):
    url = copied(photos)
    rows = [f"jar/jar{number}.png,jar,{name}" for number, name in enumerate(options.SPLITS)]
    gone = write(f"{url}/gone.csv", "\n".join(["image,label,split", "can/gone.png,can,train", *rows]))
    with pytest.raises(UserError, match=r"line 2: can/gone\.png: no such file"):
        sources.open_source(gone)
    for number, name in enumerate(("../x.png", "/x.png", "a/../../x.png")):
        outside = write(f"{url}/{number}.csv", f"image,label,split\n{name},can,train\n")
        with pytest.raises(UserError, match=r"line 2: .*outside"):
            sources.open_source(outside)


def test_a_remote_folder_is_one_of_several_sources(photos, tmp_path):
    url = copied(photos)
    more = write_photos(tmp_path / "more", count=4, seed=3)
    assert joining.names(f"{url}+{more}") == [url, str(more)]
    remote_, local = (sources.open_source(f"{place}+{more}", seed=1) for place in (url, photos))
    assert remote_.fingerprint == local.fingerprint
    assert remote_.splits["train"].part_names == ("photos", "more")


@pytest.mark.slow
def test_a_run_on_a_remote_folder_is_that_of_the_local_one(photos, tmp_path):
    """The whole command, resumed too: weights to the bit."""
    url = copied(photos)
    for place, dataset in (("local", photos), ("remote", url)):
        line = (*tiny_training(dataset), "--deterministic", "--epochs=2", f"--run_dir={tmp_path / place}")
        result = run_main(train.main, *line)
        assert result.returncode == 0, result.stderr
    assert (tmp_path / "local" / "split.csv").read_text() == (tmp_path / "remote" / "split.csv").read_text()
    local, other = (weights(tmp_path / place) for place in ("local", "remote"))
    for one, same in zip(local, other, strict=True):
        np.testing.assert_array_equal(one, same)


def weights(run):
    from recycle_tf import runs

    return runs.open_run(run).load_model().get_weights()


@pytest.mark.parametrize("room", [10**9, 3000, 0])
def test_every_file_is_fetched_once_while_the_disk_has_room(photos, monkeypatch, room):
    url, fetched = copied(photos), []
    original = tf.io.gfile.GFile.read
    monkeypatch.setattr(tf.io.gfile.GFile, "read", lambda file: fetched.append(file.name) or original(file))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=2 * room))
    source = sources.open_source(url)
    assert len(fetched) == len(set(fetched)) == 36
    split = source.splits["train"]
    contents = [split.encoded(tf.constant(index, tf.int64)).numpy() for index in range(len(split))]
    assert contents == [(photos / name).read_bytes() for name in split.ids]
    again = len(fetched) - 36
    assert again == 0 if room == 10**9 else again == len(split) if room == 0 else 0 < again < len(split)


def test_workers_of_a_service_fetch_the_images_themselves(photos):
    split = sources.open_source(copied(photos), keep=False).splits["train"]
    graph = tf.function(split.encoded).get_concrete_function(tf.TensorSpec([], tf.int64)).graph
    assert "ReadFile" in {operation.type for operation in graph.get_operations()}
    assert not {operation.type for operation in graph.get_operations()} & {"PyFunc", "EagerPyFunc"}


# ---- errors


@pytest.mark.parametrize(
    ("dataset", "names"),
    [
        ("ram://nothing/photos", ("no such folder", "bucket")),
        ("ram://", ("names no folder", "ram://BUCKET/photos")),
        ("gs://../x", ("names no folder",)),
        ("nowhere://bucket/photos", ("no file system for nowhere://", "gs://", "plugin")),
        ("nowhere://bucket/photos+trashnet", ("no file system for nowhere://",)),
    ],
)
def test_what_cannot_be_opened(dataset, names):
    with pytest.raises(UserError) as error:
        sources.open_source(dataset)
    assert str(error.value).isprintable()
    for name in names:
        assert name in str(error.value)


def test_access_that_is_refused_is_one_line(monkeypatch):
    def refuse(url):
        raise tf.errors.PermissionDeniedError(None, None, f"Anonymous caller\nhas no access to {url}")

    monkeypatch.setattr(tf.io.gfile, "stat", refuse)
    with pytest.raises(
        UserError, match=r"gs://private/photos: .*Anonymous caller has no access.*credentials"
    ):
        sources.open_source("gs://private/photos")


def test_access_that_ends_while_files_are_read(photos, monkeypatch):
    """It is not a damaged image, which could be skipped."""
    url = copied(photos)

    def fail(self, *_):
        raise tf.errors.UnavailableError(None, None, "connection lost")

    monkeypatch.setattr(tf.io.gfile.GFile, "read", fail)
    with pytest.raises(UserError, match="connection lost.*network"):
        sources.open_source(url, on_bad_image="skip")


def test_commands_say_it_in_one_line(tmp_path):
    for command in (
        ("train.py",),
        ("-m", "recycle_tf", "audit"),
        ("-m", "recycle_tf", "review", "--out=x.csv"),
    ):
        result = run_python(*command, "--dataset=s3://bucket/photos")
        check_refused(result, "s3://bucket/photos", "no file system for s3://")


def test_only_a_dataset_may_be_elsewhere(photos, tmp_path):
    with pytest.raises(UserError, match="`run_dir=gs://bucket/run`: on another machine"):
        paths.from_user("gs://bucket/run", "run_dir")
    result = run_main(audit_command.main, f"--dataset={copied(photos)}", f"--manifest={tmp_path / 'a.csv'}")
    check_refused(result, "--manifest=", "another machine")


def test_addresses():
    assert remote.path("gs://bucket/a/./b/../photos/") == remote.RemotePath("gs://bucket/a/photos")
    assert remote.path("gs://bucket").name == "bucket"
    assert (remote.path("gs://b/x.y.csv").stem, remote.path("gs://b/x.y.csv").suffix) == ("x.y", ".csv")
    assert not remote.is_remote("trashnet+gs://bucket/photos")
    assert not remote.is_remote("C://photos")


def test_a_folder_that_is_named_like_an_image(photos, monkeypatch):
    listdir = tf.io.gfile.listdir

    def marking_folders(url):
        """As Google's storage lists."""
        return [name + "/" * tf.io.gfile.isdir(f"{url}/{name}") for name in listdir(url)]

    monkeypatch.setattr(tf.io.gfile, "listdir", marking_folders)
    (photos / "jar" / "set.jpg").mkdir()
    (photos / "jar" / "jar1.png").rename(photos / "jar" / "set.jpg" / "jar1.png")
    local, other = (sources.open_source(place, seed=1) for place in (str(photos), copied(photos)))
    assert other.manifest() == local.manifest()


def test_a_disk_that_is_full_after_all_keeps_nothing_more(photos):
    kept = fetched.Fetched(remote.path(copied(photos)))
    kept._file.close()
    with open("/dev/full", "wb", buffering=0) as kept._file:
        for _ in range(2):
            assert kept.read("jar/jar1.png") == (photos / "jar" / "jar1.png").read_bytes()
    assert not kept._places

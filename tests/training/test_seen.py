"""What a network has been trained on is not what it is tested on when its run is trained further."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from recycle_tf import runs
from recycle_tf.config import resolve
from recycle_tf.data import joining, sources, splits
from recycle_tf.errors import UserError
from recycle_tf.evaluation import datasets
from recycle_tf.training import resume
from tests.conftest import write_photos

STRATEGY = tf.distribute.get_strategy()


@pytest.fixture
def earlier(finished_run, tmp_path):
    """A run, and the folder of its photographs beside it: both may be changed."""
    photos = shutil.copytree(finished_run.parent / "photos", tmp_path / "photos")
    return copied(finished_run, tmp_path / "run", dataset=str(photos))


def copied(path, target, **changes):
    """A copy of a run with other settings."""
    run = runs.Run(shutil.copytree(path, target))
    record = json.loads(run.config_file.read_text())
    record["config"] |= changes
    run.config_file.write_text(json.dumps(record))
    return run


def grow(photos, names, count, seed=5):
    """Adds new photographs of some classes to a folder."""
    for file in write_photos(photos.parent / f"more{seed}", names, count, seed).rglob("*.png"):
        (photos / file.parent.name).mkdir(exist_ok=True)
        shutil.copy(file, photos / file.parent.name / f"new_{file.name}")


def opened(run, **given):
    """The data of a run that is trained with `--from_run`."""
    config = resolve({"from_run": str(run.path), **given}, earlier=runs.settings_to_repeat(run.path))
    return resume.open_source(config, None, STRATEGY)


def hashes(run, *names):
    return splits.hashes(run.manifest, *names)


def held_out(source):
    return {digest for name in ("validation", "test") for digest in source.splits[name].hashes}


@pytest.mark.parametrize("seed", [0, 1])
def test_a_new_class_in_the_folder(earlier, tmp_path, seed):
    photos = tmp_path / "photos"
    grow(photos, ("lid", "can"), count=20)
    source = opened(earlier, seed=seed)
    assert source.labels == ("can", "jar", "lid", "tube")
    assert source.num_examples == 60 + 40
    assert not held_out(source) & hashes(earlier, "train")
    for name in ("validation", "test"):
        assert hashes(earlier, name) <= set(source.splits[name].hashes)
        assert source.counts[name]["lid"] == 3


def test_classes_that_a_map_makes_one(earlier, tmp_path):
    (tmp_path / "map.yaml").write_text("jar: vessel\ncan: vessel\n")
    source = opened(earlier, label_map=str(tmp_path / "map.yaml"))
    assert source.labels == ("tube", "vessel")
    assert not held_out(source) & hashes(earlier, "train")


@pytest.mark.parametrize("given", [{"recipe": "adapt", "source_weights": "size"}, {"quantize": "int8"}])
def test_new_photographs_are_used_when_the_network_is_trained_further(earlier, tmp_path, given):
    grow(tmp_path / "photos", ("lid", "can"), count=20)
    source = opened(earlier, seed=3, **given)
    assert source.labels == ("can", "jar", "lid", "tube")
    assert source.num_examples == 60 + 40
    assert hashes(earlier, "train") <= set(source.splits["train"].hashes)
    assert hashes(earlier, "test") <= set(source.splits["test"].hashes)


def test_a_photograph_that_is_moved_to_the_right_class_stays_in_train(earlier, tmp_path):
    photos = tmp_path / "photos"
    trained = [
        image for image in datasets.open_source(earlier).splits["train"].ids if image.startswith("can")
    ]
    for image in trained:
        (photos / image).rename(photos / "jar" / f"moved_{image.partition('/')[2]}")
    source = opened(earlier, recipe="adapt", source_weights="size", seed=2)
    train = source.splits["train"]
    assert {f"jar/moved_{image.partition('/')[2]}" for image in trained} <= set(train.ids)
    assert not held_out(source) & hashes(earlier, "train")
    # Every image still has its own bytes.
    for index, image in enumerate(train.ids):
        assert train.encoded(tf.constant(index, tf.int64)).numpy() == (photos / image).read_bytes()


@pytest.mark.parametrize("several", [False, True])
def test_a_resumed_run_reads_the_images_in_the_same_order(earlier, tmp_path, several):
    photos = tmp_path / "photos"
    grow(photos, ("lid", "can"), count=9)
    for image in datasets.open_source(earlier).splits["train"].ids[:6]:
        (photos / image).rename(photos / "lid" / image.replace("/", "_"))
    dataset = earlier.config["dataset"]
    if several:
        dataset += f"+{write_photos(tmp_path / 'more', ('jar', 'tube'), count=9, seed=8)}"
    started = opened(earlier, recipe="adapt", source_weights="size", dataset=dataset)
    assert len(started.splits["train"]) > 42 + 6
    manifest = tmp_path / "split.csv"
    splits.write_manifest(manifest, started.manifest())
    resumed = sources.open_source(dataset, manifest=manifest)
    assert resumed.fingerprint == started.fingerprint
    assert resumed.labels == started.labels
    for name, split in started.splits.items():
        again = resumed.splits[name]
        assert again.ids == split.ids
        assert again.hashes == split.hashes
        np.testing.assert_array_equal(again.labels, split.labels)
        for index in range(len(split)):
            index = tf.constant(index, tf.int64)
            assert again.encoded(index).numpy() == split.encoded(index).numpy()


def test_a_repetition_of_a_repetition_of_an_adapted_run(earlier, tmp_path):
    model = str(earlier.model_file)
    adapted = copied(
        earlier.path, tmp_path / "adapted", from_run=str(earlier.path), weights=model, recipe="adapt"
    )
    again = copied(adapted.path, tmp_path / "again", from_run=str(adapted.path))
    source = opened(again, seed=1)
    assert not held_out(source) & hashes(earlier, "train")
    assert set(source.splits["test"].hashes) == hashes(earlier, "test")


def test_weights_of_a_run_with_another_seed(earlier):
    source = opened(earlier, weights=str(earlier.model_file), learning_rate=1e-4, seed=4)
    assert not held_out(source) & hashes(earlier, "train")


def test_a_run_that_starts_from_scratch_draws_its_own_split(earlier):
    source = opened(earlier, seed=1)
    assert held_out(source) & hashes(earlier, "train")


def test_ancestors_count_too(earlier, tmp_path):
    """A is trained further on other photographs, and the result on A's again."""
    other = write_photos(tmp_path / "other", count=8, seed=21)
    middle = copied(
        earlier.path,
        tmp_path / "middle",
        dataset=str(other),
        from_run=str(earlier.path),
        weights=str(earlier.model_file),
    )
    splits.write_manifest(middle.manifest, sources.open_source(str(other)).manifest())
    source = opened(middle, recipe="adapt", dataset=str(tmp_path / "photos"), seed=1)
    assert not held_out(source) & hashes(earlier, "train")


def test_the_runs_of_an_average_count_too(earlier, tmp_path):
    other = write_photos(tmp_path / "other", count=8, seed=21)
    mean = copied(earlier.path, tmp_path / "mean", dataset=str(other))
    splits.write_manifest(mean.manifest, sources.open_source(str(other)).manifest())
    record = json.loads(mean.config_file.read_text())
    record["averaged"] = {str(tmp_path / "another"): 0.5, str(earlier.path): 0.5}
    copied(mean.path, tmp_path / "another")
    mean.config_file.write_text(json.dumps(record))
    source = opened(mean, recipe="adapt", dataset=str(tmp_path / "photos"), seed=1)
    assert not held_out(source) & hashes(earlier, "train")


def test_a_new_class_is_split_in_a_grouped_run_too(earlier, tmp_path):
    run = copied(earlier.path, tmp_path / "grouped", split="grouped")
    grow(tmp_path / "photos", ("lid",), count=20)
    source = opened(run)
    assert all(source.counts[name]["lid"] for name in ("train", "validation", "test"))
    assert not held_out(source) & hashes(earlier, "train")


def test_a_new_class_that_is_too_small(earlier, tmp_path):
    grow(tmp_path / "photos", ("lid",), count=2)
    with pytest.raises(UserError, match=r"lid.* 2 images"):
        opened(earlier, recipe="adapt", source_weights="size")


def test_a_missing_validation_split_stays_as_it_was_drawn(earlier, tmp_path):
    divided = tmp_path / "divided"
    for name, split in sources.open_source(str(tmp_path / "photos")).splits.items():
        for image in split.ids:
            place = divided / ("test" if name == "test" else "train") / image
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tmp_path / "photos" / image, place)
    first = sources.open_source(str(divided))
    run = copied(earlier.path, tmp_path / "divided_run", dataset=str(divided))
    splits.write_manifest(run.manifest, first.manifest())
    source = opened(run, recipe="adapt", source_weights="size", seed=1)
    assert source.fingerprint == first.fingerprint


def test_a_map_is_applied_once(earlier, tmp_path):
    """Also if it exchanges names, and a stored split of several sources is used."""
    label_map = tmp_path / "map.yaml"
    label_map.write_text("can: jar\njar: can\n")
    more = write_photos(tmp_path / "more", count=9, seed=8)
    dataset = f"{tmp_path / 'photos'}+{more}"
    first = sources.open_source(dataset, label_map=label_map)
    run = copied(earlier.path, tmp_path / "both", dataset=dataset, label_map=str(label_map))
    splits.write_manifest(run.manifest, first.manifest())
    assert opened(run, quantize="int8").fingerprint == first.fingerprint
    # A repetition needs no file: names are stored as they were mapped.
    record = json.loads(run.config_file.read_text())
    run.config_file.write_text(json.dumps({**record, "fingerprint": first.fingerprint}))
    label_map.unlink()
    assert opened(run).fingerprint == first.fingerprint


def test_a_grouped_split_stays_as_it_is(earlier, tmp_path):
    run = copied(earlier.path, tmp_path / "grouped", split="grouped")
    grow(tmp_path / "photos", ("can", "lid"), count=10)
    source = opened(run, recipe="adapt", source_weights="size")
    assert source.num_examples == 60 + 20
    for name in ("validation", "test"):
        assert set(source.splits[name].hashes) == hashes(earlier, name)


def test_a_csv_keeps_its_split_with_a_warning(earlier, tmp_path, capsys):
    table = tmp_path / "photos" / "list.csv"
    splits.write_manifest(table, sources.open_source(str(tmp_path / "photos"), seed=1).manifest())
    source = opened(earlier, recipe="adapt", source_weights="size", dataset=str(table))
    assert source.fingerprint == sources.open_source(str(table)).fingerprint
    seen = len(held_out(source) & hashes(earlier, "train"))
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "trained on" in line]
    assert f"{seen} of the 18" in line


def test_folders_of_splits_are_kept_with_a_warning(earlier, tmp_path, capsys):
    divided = tmp_path / "divided"
    for name, split in sources.open_source(str(tmp_path / "photos"), seed=1).splits.items():
        for image in split.ids:
            (divided / name / image).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tmp_path / "photos" / image, divided / name / image)
    source = opened(earlier, weights=str(earlier.model_file), dataset=str(divided))
    assert source.fingerprint == sources.open_source(str(divided)).fingerprint
    assert "the network was trained on" in capsys.readouterr().err


def test_a_csv_of_several_sources_alone_is_its_own_data(earlier, tmp_path):
    more = write_photos(tmp_path / "more", count=9, seed=8)
    table = more / "list.csv"
    splits.write_manifest(table, sources.open_source(str(more)).manifest())
    dataset = f"{tmp_path / 'photos'}+{table}"
    run = copied(earlier.path, tmp_path / "both", dataset=dataset)
    splits.write_manifest(run.manifest, sources.open_source(dataset).manifest())
    source = opened(run, recipe="adapt", source_weights="size", dataset=str(table))
    assert source.fingerprint == sources.open_source(str(table)).fingerprint


def test_classes_without_one_in_common_start_from_scratch(earlier, tmp_path, capsys):
    for name in ("can", "jar", "tube"):
        (tmp_path / "photos" / name).rename(tmp_path / "photos" / f"new {name}")
    source = opened(earlier, seed=1)
    assert {name: len(split) for name, split in source.splits.items()} == {
        "train": 42,
        "validation": 9,
        "test": 9,
    }
    assert "split" not in capsys.readouterr().out


def test_a_path_of_the_home_folder(earlier, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    photos = tmp_path / "photos"
    grow(photos, ("lid",), count=8)
    for image in datasets.open_source(earlier).splits["train"].ids[:9]:
        (photos / image).rename(photos / "lid" / image.replace("/", "_"))
    config = resolve({"from_run": "~/run"}, earlier=runs.settings_to_repeat(earlier.path))
    source = resume.open_source(config, None, STRATEGY)
    assert not held_out(source) & hashes(earlier, "train")


def test_an_ancestor_that_cannot_be_read_is_a_warning(earlier, tmp_path, capsys):
    middle = copied(earlier.path, tmp_path / "middle", weights="~nobody-here/run/model.keras")
    source = opened(middle, recipe="adapt", source_weights="size")
    assert source.num_examples == 60
    assert "cannot be read" in capsys.readouterr().err


def test_nothing_is_left_to_test(earlier, tmp_path):
    photos = tmp_path / "photos"
    trained = datasets.open_source(earlier).splits["train"].ids
    few = tmp_path / "few"
    for image in trained:
        (few / image).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photos / image, few / image)
    with pytest.raises(UserError, match="few: the network was trained on all of its validation images"):
        opened(earlier, recipe="adapt", source_weights="size", dataset=str(few))


def test_a_run_of_several_sources_keeps_what_it_left_out(earlier, tmp_path):
    more = write_photos(tmp_path / "more", count=12, seed=8)
    for image in datasets.open_source(earlier).splits["test"].ids[:4]:
        shutil.copy(tmp_path / "photos" / image, more / image.replace("/", "/again_"))
    dataset = f"{tmp_path / 'photos'}+{more}"
    source = sources.open_source(dataset)
    run = copied(earlier.path, tmp_path / "both", dataset=dataset)
    splits.write_manifest(run.manifest, source.manifest())
    assert any(joining.REPEATED in file for file in source.ignored)
    assert opened(run, quantize="int8").fingerprint == source.fingerprint


def test_weights_of_a_run_on_other_photographs_let_the_seed_decide(earlier, tmp_path):
    other = write_photos(tmp_path / "other", count=20, seed=21)
    run = copied(earlier.path, tmp_path / "transfer", dataset=str(other), weights=str(earlier.model_file))
    record = json.loads(run.config_file.read_text())
    source = sources.open_source(str(other))
    run.config_file.write_text(json.dumps({**record, "fingerprint": source.fingerprint}))
    splits.write_manifest(run.manifest, source.manifest())
    assert opened(run).fingerprint == source.fingerprint
    assert opened(run, seed=1).fingerprint == sources.open_source(str(other), seed=1).fingerprint

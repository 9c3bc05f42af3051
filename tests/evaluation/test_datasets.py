"""Other people's photographs: classes are matched by name."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from recycle_tf import runs
from recycle_tf.errors import UserError
from recycle_tf.evaluation import datasets
from tests.conftest import write_photos


@pytest.fixture
def run(finished_run):
    """Its classes are can, jar, tube."""
    return runs.open_run(finished_run)


def names(run, images):
    return [run.labels[index] for index in images.split.labels]


def test_the_runs_own_test_split(run):
    images = datasets.open_set(run)
    assert images.own
    assert images.split_name == "test"
    assert images.split.ids == datasets.open_source(run).splits["test"].ids
    assert datasets.open_set(run, run.config["dataset"]).split.ids == images.split.ids
    assert len(datasets.open_set(run, split="train").split) > len(images.split)


def test_a_folder_without_splits_is_evaluated_whole(run, tmp_path):
    photos = write_photos(tmp_path / "other", count=4)
    images = datasets.open_set(run, str(photos))
    assert (images.split_name, len(images.split), images.own) == ("all", 12, False)
    assert images.untested == images.left_out == ()


@pytest.mark.parametrize("part", ["test", "val"])
def test_a_folder_that_is_only_a_test_set(run, tmp_path, part):
    write_photos(tmp_path / "other" / part, count=4)
    images = datasets.open_set(run, str(tmp_path / "other"))
    assert images.split_name == {"test": "test", "val": "validation"}[part]
    assert len(images.split) == 12


def test_classes_in_another_order(run, tmp_path):
    """A folder's are alphabetical; a CSV's may come in any order."""
    photos = write_photos(tmp_path / "other", count=2)
    rows = [f"other/{label}/{label}{n}.png,{label},test" for label in ("tube", "can", "jar") for n in (0, 1)]
    manifest = tmp_path / "list.csv"
    manifest.write_text("\n".join(["image,label,split", *rows]) + "\n")
    images = datasets.open_set(run, str(manifest))
    assert [id.split("/")[1] for id in images.split.ids] == names(run, images)
    assert photos.name == "other"


def test_some_of_the_classes(run, tmp_path):
    photos = write_photos(tmp_path / "other", classes=("tube", "jar"), count=3)
    images = datasets.open_set(run, str(photos))
    assert images.untested == ("can",)
    assert set(names(run, images)) == {"tube", "jar"}
    assert [id.split("/")[0] for id in images.split.ids] == names(run, images)


def test_a_class_that_the_run_does_not_know(run, tmp_path):
    photos = write_photos(tmp_path / "other", classes=("can", "cup"), count=3)
    with pytest.raises(UserError) as caught:
        datasets.open_set(run, str(photos))
    for word in ("cup", "can, jar, tube", "`ignore_unknown`"):
        assert word in str(caught.value)
    images = datasets.open_set(run, str(photos), ignore_unknown=True)
    assert images.left_out == ("cup",)
    assert names(run, images) == ["can"] * 3
    shutil.rmtree(photos / "can")
    with pytest.raises(UserError, match="none of the run's classes.*cup"):
        datasets.open_set(run, str(photos), ignore_unknown=True)


def test_a_split_that_is_missing(run, tmp_path):
    photos = write_photos(tmp_path / "other", count=2)
    with pytest.raises(UserError, match="split=train.*other.*all"):
        datasets.open_set(run, str(photos), split="train")


def test_the_bytes_are_those_of_the_matched_class(run, tmp_path):
    photos = write_photos(tmp_path / "other", classes=("cup", "jar"), count=2)
    images = datasets.open_set(run, str(photos), ignore_unknown=True)
    found = [images.split.encoded(np.int64(index)).numpy() for index in range(2)]
    assert found == [(photos / "jar" / f"jar{n}.png").read_bytes() for n in range(2)]


def test_the_runs_own_data_under_another_spelling(run, monkeypatch):
    own = pathlib.Path(run.config["dataset"])
    monkeypatch.chdir(own.parent)
    for spelling in (f"{own}/", own.name, f"./{own.name}"):
        images = datasets.open_set(run, spelling)
        assert (images.own, images.split_name) == (True, "test")


def test_a_copy_keeps_the_split_of_the_run(run, tmp_path):
    copy = shutil.copytree(run.config["dataset"], tmp_path / "copy")
    shutil.copy(copy / "can" / "can0.png", copy / "can" / "later.png")
    expected = datasets.open_source(run).splits
    found = datasets.open_source(run, str(copy)).splits
    assert {name: split.ids for name, split in found.items()} == {
        name: split.ids for name, split in expected.items()
    }


def test_data_that_has_changed_is_not_tested_on(finished_run, tmp_path):
    run = runs.open_run(shutil.copytree(finished_run, tmp_path / "run"))
    record = json.loads(run.config_file.read_text())
    run.config_file.write_text(json.dumps({**record, "fingerprint": "0" * 16}))
    with pytest.raises(UserError, match="has changed since the run was trained"):
        datasets.open_set(runs.open_run(run.path))


def test_the_runs_own_data_at_another_place(run, tmp_path, capsys):
    """Also from a folder where the run's relative path leads nowhere."""
    copy = shutil.copytree(run.config["dataset"], tmp_path / "copy")
    images = datasets.open_set(run, str(copy))
    assert (images.own, images.split_name) == (False, "all")
    trained = len(datasets.open_set(run, split="train").split)
    assert f"trained on {trained} of these {len(images.split)} images" in capsys.readouterr().err


def test_some_images_that_the_run_was_trained_on(run, tmp_path, capsys):
    (tmp_path / "some" / "can").mkdir(parents=True)
    trained = datasets.open_set(run, split="train").split.ids
    can = next(one for one in trained if one.startswith("can/"))
    shutil.copy(pathlib.Path(run.config["dataset"]) / can, tmp_path / "some" / "can")
    write_photos(tmp_path / "some", classes=("jar",), count=3, seed=8)
    assert not datasets.open_set(run, str(tmp_path / "some")).own
    assert "trained on 1 of these 4 images" in capsys.readouterr().err


def test_a_copy_of_data_with_a_split_of_its_own(run, finished_run, tmp_path):
    """As a folder of TrashNet's images for a run on the builder: its split would be drawn anew."""
    copy = runs.Run(shutil.copytree(finished_run, tmp_path / "run"))
    copy.manifest.unlink()
    photos = shutil.copytree(finished_run.parent / "photos", tmp_path / "photos")
    assert datasets.open_source(copy, str(photos)).fingerprint == run.fingerprint
    record = json.loads(copy.config_file.read_text())
    record["config"]["seed"] += 1
    copy.config_file.write_text(json.dumps(record))
    with pytest.raises(UserError, match="not split as .*`data_dir`"):
        datasets.open_source(copy, str(photos))


def test_a_copy_of_a_csv_with_a_label_map(run, finished_run, tmp_path):
    rows = datasets.open_source(run).manifest()
    photos = shutil.copytree(finished_run.parent / "photos", tmp_path / "photos")
    (photos / "list.csv").write_text("\n".join(["image,label,split", *(",".join(row[:3]) for row in rows)]))
    copy = runs.Run(shutil.copytree(finished_run, tmp_path / "run"))
    record = json.loads(copy.config_file.read_text())
    record["config"] |= {"dataset": "gone.csv", "label_map": "gone.yaml"}
    copy.config_file.write_text(json.dumps(record))
    other = (photos / "list.csv").read_text().replace(",jar,", ",Jar,")
    (photos / "list.csv").write_text(other)
    assert datasets.open_source(copy, str(photos / "list.csv")).labels == tuple(run.labels)

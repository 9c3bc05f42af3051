"""A training run on several sources: its split, order, validation and report."""

import json
import shutil
import types

import numpy as np
import pytest
import tensorflow as tf

import train
from recycle_tf import runs
from recycle_tf.commands import evaluate
from recycle_tf.config import TrainConfig, resolve
from recycle_tf.data import sources
from recycle_tf.errors import UserError
from recycle_tf.evaluation import datasets
from recycle_tf.training import resume
from recycle_tf.training.batches import Batches
from recycle_tf.training.source_accuracy import SourceAccuracy
from tests.conftest import run_main, tiny_settings, write_photos
from tests.training.test_resume import as_flags


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("several")
    write_photos(place / "photos", count=20)
    own = write_photos(place / "own", ("Can", "jar", "leaf"), count=6, seed=1)
    shutil.move(own, place / "kitchen")
    (place / "map.yaml").write_text("Can: can\nleaf: -\n")
    return place


@pytest.fixture(scope="module")
def run(place):
    settings = {
        **tiny_settings(f"{place / 'photos'}+{place / 'kitchen'}"),
        "label_map": str(place / "map.yaml"),
        "source_weights": "1,2",
    }
    return train.train(TrainConfig(**settings, epochs="2", run_dir=str(place / "run")))


def test_validation_and_test_are_reported_per_source(run):
    rows = run.history_rows()
    assert len(rows) == 2
    source = datasets.open_source(run)
    counts = {name: len(rows) for name, rows in source.splits["validation"].by_part().items()}
    assert counts == {"photos": 9, "kitchen": 2}
    for row in rows:
        right = sum(count * row[f"val_accuracy_{name}"] for name, count in counts.items())
        assert right == pytest.approx(11 * row["val_accuracy"], abs=1e-4)
    summary = json.loads((run.report / "metrics.json").read_text())
    by_source = summary["sources"]
    assert {name: found["examples"] for name, found in by_source.items()} == {"photos": 9, "kitchen": 2}
    right = sum(found["examples"] * found["accuracy"] for found in by_source.values())
    assert right == pytest.approx(11 * summary["accuracy"])
    page = (run.report / "report.html").read_text(encoding="utf-8")
    assert "By source" in page
    assert "<td>kitchen</td>" in page


def test_evaluation_needs_neither_the_label_map_nor_the_same_photographs(run, place, tmp_path):
    before = datasets.open_source(run)
    shutil.copytree(place, tmp_path / "copy")
    (place / "map.yaml").rename(tmp_path / "map.yaml")
    added = place / "kitchen" / "jar" / "added.png"
    shutil.copy(place / "kitchen" / "jar" / "jar0.png", added)
    try:
        after = datasets.open_source(run)
        result = run_main(evaluate.main, f"--run={run.path}")
    finally:
        added.unlink()
        (tmp_path / "map.yaml").rename(place / "map.yaml")
    assert after.fingerprint == before.fingerprint == run.fingerprint
    assert result.returncode == 0, result.stderr


def test_a_later_run_keeps_the_split_of_the_sources_that_it_shares(run, place, tmp_path):
    """With another seed too: what the earlier run was tested on is not trained on."""
    third = write_photos(tmp_path / "third", ("can", "tube"), count=5, seed=3)
    flags = {
        "from_run": run.path,
        "dataset": f"{place / 'photos'}+{place / 'kitchen'}+{third}",
        "seed": 7,
        "recipe": "adapt",
        "epochs": 1,
        "warmup": 1,
        "image_size": 32,
        "run_dir": tmp_path / "run",
    }
    result = run_main(train.main, *as_flags(flags))
    assert result.returncode == 0, result.stderr
    adapted = runs.Run(tmp_path / "run")
    assert adapted.config["weights"] == str(run.model_file)
    before, after = datasets.open_source(run).splits, datasets.open_source(adapted).splits
    for name in before:
        assert set(before[name].ids) <= set(after[name].ids)
    assert set(after["test"].by_part()) == {"photos", "kitchen", "third"}


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"source_weights": "even"}, ("source_weights=even", "photos")),
        ({"source_weights": "1,2,3"}, ("source_weights=1,2,3", "photos, kitchen")),
    ],
)
def test_weights_that_fit_no_source(place, settings, names):
    single = settings["source_weights"] == "even"
    dataset = str(place / "photos") + ("" if single else f"+{place / 'kitchen'}")
    config = TrainConfig(**tiny_settings(dataset), **settings)
    source = sources.open_source(dataset, label_map=None if single else place / "map.yaml")
    with pytest.raises(UserError) as error:
        Batches(source, config, 32, tf.distribute.get_strategy())
    for name in names:
        assert name in str(error.value)


@pytest.mark.parametrize("value", ["odd", "0,1", "1.5,1", "-1", "1,,2"])
def test_weights_are_whole_numbers(value):
    with pytest.raises(UserError, match="source_weights="):
        TrainConfig(source_weights=value)


def test_weights_exclude_a_balance_of_classes():
    with pytest.raises(UserError, match="class_balance=sampler"):
        TrainConfig(source_weights="even", class_balance="sampler")


def test_batches_resume_at_any_step(run):
    config = TrainConfig(**run.config)
    source = datasets.open_source(run)
    whole, later = (
        [
            images
            for images, _ in Batches(source, config, 32, tf.distribute.get_strategy()).training_from(step)
        ]
        for step in (0, 3)
    )
    np.testing.assert_array_equal(np.stack(whole[3:]), np.stack(later))


def test_the_split_of_a_source_does_not_depend_on_how_its_path_is_written(run, place, tmp_path):
    third = write_photos(tmp_path / "third", ("can", "tube"), count=5, seed=3)
    before = datasets.open_source(run).splits
    for own in (f"{place / 'photos'}/", f"{place}/kitchen/../photos"):
        config = resolve(
            {"from_run": str(run.path), "dataset": f"{own}+{third}", "recipe": "adapt", "seed": 7},
            earlier=runs.settings_to_repeat(run.path),
        )
        after = resume.open_source(config, None, tf.distribute.get_strategy()).splits
        mine = {one.removeprefix("photos/") for one in before["test"].ids if one.startswith("photos/")}
        assert mine <= {one.removeprefix("photos/") for one in after["test"].ids}


def test_a_network_that_continues_is_not_tested_on_what_it_has_seen(run, place):
    """With another seed, and with one source of several."""
    before = datasets.open_source(run).splits
    for dataset in (run.config["dataset"], str(place / "photos")):
        given = {"from_run": str(run.path), "dataset": dataset, "recipe": "adapt", "seed": 7}
        given |= {"source_weights": "size", "label_map": None} if dataset != run.config["dataset"] else {}
        config = resolve(given, earlier=runs.settings_to_repeat(run.path))
        after = resume.open_source(config, None, tf.distribute.get_strategy()).splits
        seen = {one.removeprefix("photos/") for one in before["train"].ids if one.startswith("photos/")}
        assert not seen & {one.removeprefix("photos/") for one in after["test"].ids}


def test_a_source_that_devices_cannot_share_is_not_measured(photos, tmp_path, caplog):
    """Of three images, batches of two leave one for two devices."""
    other = write_photos(tmp_path / "kitchen", count=4, seed=4)
    source = sources.open_source(f"{photos}+{other}")
    config = TrainConfig(dataset=f"{photos}+{other}", batch_size=8)
    found = Batches(source, config, 32, types.SimpleNamespace(num_replicas_in_sync=2))
    parts = source.splits["validation"].by_part()
    assert [len(rows) for rows in parts.values()] == [6, 3]
    assert found.validation_by_source["photos"] is not None
    assert found.validation_by_source["kitchen"] is None
    assert "val_accuracy_kitchen" in caplog.text
    found.load()
    callback, logs = SourceAccuracy(found.validation_by_source), {}
    callback.set_model(types.SimpleNamespace(evaluate=lambda *_, **__: {"accuracy": 0.5}))
    callback.on_epoch_end(0, logs)
    assert list(logs) == ["val_accuracy_photos", "val_accuracy_kitchen"]
    assert logs["val_accuracy_photos"] == 0.5
    assert np.isnan(logs["val_accuracy_kitchen"])


def test_the_recipe_for_another_place_takes_one_source(photos):
    settings = {"weights": "model.keras", "dataset": str(photos), "batch_size": 8}
    source, strategy = sources.open_source(str(photos)), types.SimpleNamespace(num_replicas_in_sync=1)
    config = resolve({"recipe": "adapt", **settings})
    assert config.source_weights == "even"
    assert Batches(source, config, 32, strategy).steps_per_epoch > 0
    with pytest.raises(UserError, match="`source_weights=even`: only for several"):
        Batches(source, TrainConfig(source_weights="even", **settings), 32, strategy)

"""`--from_run` with other classes: what was learned about those that remain is kept, by name."""

import json
import shutil

import keras
import numpy as np
import pytest

import train
from recycle_tf import runs
from recycle_tf.config import TrainConfig, resolve
from recycle_tf.data import sources, splits
from recycle_tf.models import create_model
from recycle_tf.training import classes, loop
from tests.conftest import tiny_settings, write_photos


class Stop(BaseException):
    """Ends a training run before its first step."""


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """A run with the classes can, jar and tube."""
    place = tmp_path_factory.mktemp("earlier")
    photos = write_photos(place / "photos")
    return train.train(TrainConfig(**tiny_settings(photos), epochs="2", run_dir=str(place / "run")))


@pytest.fixture
def start(monkeypatch):
    """Starts a run that repeats `earlier`; returns its model before the first step, and its classes."""
    started = []

    def prepare(model, config, strategy, counts, *_):
        started.append(model)
        raise Stop

    monkeypatch.setattr(loop, "prepare", prepare)

    def start(run, **given):
        given = {"from_run": str(run.path), **given}
        config = resolve(given, earlier=runs.settings_to_repeat(run.path))
        with pytest.raises(Stop):
            train.train(config)
        return started[-1], config

    return start


def columns(model):
    kernel, bias = model.get_layer("logits").get_weights()
    return np.concatenate([kernel, bias[None]]).T


def others(model):
    return [value for layer in model.layers if layer.name != "logits" for value in layer.get_weights()]


# One class goes and one is new, so that the head has the same shape and all columns another place.
CHANGES = {
    "exchanged": ("box", "can", "tube"),
    "added": ("box", "can", "jar", "tube"),
    "removed": ("can", "tube"),
}


@pytest.mark.parametrize("names", CHANGES.values(), ids=CHANGES)
def test_columns_of_classes_that_remain_are_kept(earlier, start, tmp_path, names):
    photos = write_photos(tmp_path / "photos", classes=names)
    model, config = start(earlier, dataset=str(photos))
    before = dict(zip(earlier.labels, columns(earlier.load_model()), strict=True))
    after = dict(zip(names, columns(model), strict=True))
    keras.utils.set_random_seed(config.seed)
    settings = (config.arch, len(names), config.image_size)
    fresh = dict(zip(names, columns(create_model(*settings, **config.model_overrides())), strict=True))
    for name in names:
        np.testing.assert_array_equal(after[name], before[name] if name in before else fresh[name])
    for ours, theirs in zip(others(model), others(earlier.load_model()), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_class_that_was_added_to_the_same_folder(earlier, start, capsys):
    photos = write_photos(earlier.path.parent / "more", classes=("lid",), count=12, seed=5)
    folder = shutil.copytree(photos / "lid", earlier.path.parent / "photos" / "lid")
    try:
        model, _ = start(earlier)
        assert model.output_shape == (None, 4)
        np.testing.assert_array_equal(columns(model)[0], columns(earlier.load_model())[0])
    finally:
        shutil.rmtree(folder)
    model, _ = start(earlier)
    assert model.output_shape == (None, 3)
    assert not np.array_equal(columns(model)[0], columns(earlier.load_model())[0])  # a repetition


@pytest.mark.parametrize(
    "given", [{"overrides": "blocks_per_stage=(1,),filters=16"}, {"arch": "test_vgg", "overrides": ""}]
)
def test_another_network_starts_as_it_would_alone(earlier, start, tmp_path, given):
    model, config = start(earlier, dataset=str(write_photos(tmp_path / "photos", ("can", "cup"))), **given)
    assert classes.keep(model, config, ("can", "cup")) is None


def test_other_classes_altogether(earlier, start, tmp_path):
    model, config = start(earlier, dataset=str(write_photos(tmp_path / "photos", ("cat", "dog"))))
    assert classes.keep(model, config, ("cat", "dog")) is None


def test_it_is_said(earlier, tmp_path, capsys):
    photos = write_photos(tmp_path / "photos", classes=("box", "can", "tube"))
    given = {"from_run": str(earlier.path), "dataset": str(photos), "epochs": "1"}
    given["run_dir"] = str(tmp_path / "run")
    train.train(resolve(given, earlier=runs.settings_to_repeat(earlier.path)))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("classes")]
    for part in ("can, tube remain", "box are new", "jar are gone", str(earlier.path)):
        assert part in line


def test_a_run_that_continues_keeps_classes_in_another_order(earlier, start, tmp_path):
    """As the network of a builder that lists its classes in another order than a folder."""
    run = runs.Run(shutil.copytree(earlier.path, tmp_path / "run"))
    record = json.loads(run.config_file.read_text())
    run.config_file.write_text(json.dumps({**record, "labels": ["tube", "can", "jar"]}))
    more = write_photos(tmp_path / "more", seed=9)
    model, config = start(run, recipe="adapt", dataset=f"{earlier.config['dataset']}+{more}")
    assert config.continues
    before = dict(zip(run.labels, columns(run.load_model()), strict=True))
    for name, column in zip(("can", "jar", "tube"), columns(model), strict=True):
        np.testing.assert_array_equal(column, before[name])


def test_a_new_class_of_a_run_that_continues_has_no_column_of_another(earlier, start, tmp_path):
    more = write_photos(tmp_path / "more", ("box", "can", "tube"))
    other = write_photos(tmp_path / "other", ("box", "can", "tube"), seed=9)
    model, _ = start(earlier, recipe="adapt", dataset=f"{more}+{other}")
    before = dict(zip(earlier.labels, columns(earlier.load_model()), strict=True))
    box, can, tube = columns(model)
    np.testing.assert_array_equal([can, tube], [before["can"], before["tube"]])
    assert not any(np.allclose(box, column) for column in before.values())
    assert box[-1] == 0  # the bias


def test_a_repetition_starts_where_the_repeated_run_did(earlier, start, tmp_path):
    """That had been given another class: its network started from an earlier one's."""
    photos = write_photos(tmp_path / "photos", classes=CHANGES["added"])
    run = runs.Run(shutil.copytree(earlier.path, tmp_path / "run"))
    record = json.loads(run.config_file.read_text())
    source = sources.open_source(str(photos))
    splits.write_manifest(run.manifest, source.manifest())
    record |= {"labels": list(source.labels), "fingerprint": source.fingerprint}
    record["config"] |= {"from_run": str(earlier.path), "dataset": str(photos)}
    run.config_file.write_text(json.dumps(record))
    model, config = start(run)
    before = columns(earlier.load_model())
    np.testing.assert_array_equal(columns(model)[1:], before)
    assert classes.keep(model, config, CHANGES["added"]).path == earlier.path

"""`--from_run`: what a run folder says is enough to train the same network again."""

import json
import shutil

import numpy as np
import pytest

from recycle_tf import runs
from tests.conftest import run_python, tiny_training, write_photos
from tests.test_train import check_refused
from tests.training.test_survival import numbers, spoil


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A run with settings of its own, and pictures that have come since."""
    place = tmp_path_factory.mktemp("first")
    photos = write_photos(place / "photos", count=20)
    flags = ("--augment=basic", "--mix=both", "--overrides=drop_rate=0.2", "--deterministic", "--seed=3")
    run = runs.Run(place / "run")
    result = run_python("train.py", *tiny_training(photos), *flags, "--epochs=3", f"--run_dir={run.path}")
    assert result.returncode == 0, result.stderr
    shutil.copy(photos / "can" / "can0.png", photos / "can" / "new.png")
    return run


def test_the_repeated_run_ends_with_the_same_bits(first, tmp_path):
    shutil.copytree(first.path, tmp_path / "first")
    before = runs.Run(tmp_path / "first")
    spoil(before, lambda record: record["versions"].update(keras="3.14.0"))
    again = runs.Run(tmp_path / "again")
    result = run_python("train.py", f"--from_run={before.path}", f"--run_dir={again.path}")
    assert result.returncode == 0, result.stderr
    assert "warning: begun with keras 3.14.0: it may go on a little differently\n" in result.stderr
    assert numbers(again) == numbers(first)
    assert again.manifest.read_text() == first.manifest.read_text()
    weights = zip(first.load_model().weights, again.load_model().weights, strict=True)
    assert all(np.array_equal(a, b) for a, b in weights)
    differing = {name for name, value in again.config.items() if first.config[name] != value}
    assert differing == {"run_dir", "from_run"}


def test_data_that_has_changed_is_said(first, tmp_path):
    before = runs.Run(shutil.copytree(first.path, tmp_path / "first"))
    spoil(before, lambda record: record.update(fingerprint="0000"))
    command = ("train.py", f"--from_run={before.path}", f"--run_dir={tmp_path / 'run'}")
    message = f"has changed since this run began: its fingerprint was 0000, is {first.fingerprint}; begin"
    check_refused(run_python(*command), message)
    assert not (tmp_path / "run").exists()


def test_other_data_needs_not_be_the_same(first, photos, tmp_path):
    """The settings of a run, for another set of pictures; and some steps of it profiled."""
    run = runs.Run(tmp_path / "run")
    flags = (f"--dataset={photos}", "--epochs=1", f"--run_dir={run.path}", "--profile=2,3steps")
    result = run_python("train.py", f"--from_run={first.path}", *flags)
    assert result.returncode == 0, result.stderr
    assert json.loads(run.config_file.read_text())["config"]["seed"] == 3
    assert run.fingerprint != first.fingerprint
    assert list(run.tensorboard.glob("train/plugins/profile/*/*.xplane.pb"))

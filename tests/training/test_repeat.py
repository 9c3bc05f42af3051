"""`--from_run`: a run folder is enough to train the same network again."""

import shutil

import numpy as np
import pytest

import train
from recycle_tf import runs
from recycle_tf.config import TrainConfig
from tests.conftest import check_refused, run_main, tiny_settings, write_photos
from tests.training.test_resume import as_flags, numbers, spoil


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A run with settings of its own; an image was added to its dataset afterwards."""
    place = tmp_path_factory.mktemp("first")
    photos = write_photos(place / "photos", count=20)
    overrides = "blocks_per_stage=(1,),drop_rate=0.2"
    settings = {**tiny_settings(photos), "overrides": overrides, "augment": "basic", "mix": "both", "seed": 3}
    run = train.train(TrainConfig(**settings, epochs="3", run_dir=str(place / "run")))
    shutil.copy(photos / "can" / "can0.png", photos / "can" / "new.png")
    return run


def test_a_repeated_run_ends_with_the_same_bits(first, tmp_path):
    earlier = runs.Run(shutil.copytree(first.path, tmp_path / "first"))
    spoil(earlier, lambda record: record["versions"].update(keras="3.14.0"))
    repeated = runs.Run(tmp_path / "again")
    result = run_main(train.main, f"--from_run={earlier.path}", f"--run_dir={repeated.path}")
    assert result.returncode == 0, result.stderr
    assert "warning: " in result.stderr
    assert "keras 3.14.0" in result.stderr
    assert numbers(repeated) == numbers(first)
    assert repeated.manifest.read_text() == first.manifest.read_text()
    weights = zip(first.load_model().weights, repeated.load_model().weights, strict=True)
    assert all(np.array_equal(a, b) for a, b in weights)
    differing = {name for name, value in repeated.config.items() if first.config[name] != value}
    assert differing == {"run_dir", "from_run"}


def test_changed_data_is_rejected(first, tmp_path):
    earlier = runs.Run(shutil.copytree(first.path, tmp_path / "first"))
    spoil(earlier, lambda record: record.update(fingerprint="0000"))
    result = run_main(train.main, f"--from_run={earlier.path}", f"--run_dir={tmp_path / 'run'}")
    check_refused(result, str(earlier.path), "0000", first.fingerprint, "--from_run")
    assert not (tmp_path / "run").exists()


def test_another_dataset_and_a_profile(first, photos, tmp_path):
    run = runs.Run(tmp_path / "run")
    flags = {"dataset": photos, "epochs": 1, "run_dir": run.path, "profile": "2,3steps"}
    result = run_main(train.main, f"--from_run={first.path}", *as_flags(flags))
    assert result.returncode == 0, result.stderr
    assert run.config["seed"] == 3
    assert run.fingerprint != first.fingerprint
    assert list(run.tensorboard.glob("train/plugins/profile/*/*.xplane.pb"))

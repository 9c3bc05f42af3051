"""`train.py`: the command, and `train()` from Python."""

import csv
import json
import pathlib
import random
import re
import shutil
import zipfile

import keras
import numpy as np
import pytest

import train
from recycle_tf import runs
from recycle_tf.config import TrainConfig
from recycle_tf.training import loop, resume
from tests.conftest import (
    check_refused,
    run_main,
    run_python,
    tiny_settings,
    tiny_training,
    write_photos,
)


def test_files_of_a_run(finished_run):
    names = {path.name for path in finished_run.iterdir()}
    assert names == {
        "config.json",
        "labels.txt",
        "split.csv",
        "model.keras",
        "calibration.json",
        "components.npy",
        "history.csv",
        "tensorboard",
        "report",
    }
    record = json.loads((finished_run / "config.json").read_text())
    assert record["config"]["arch"] == "test_resnet"
    assert record["versions"]["keras"].startswith("3.15")
    assert (finished_run / "labels.txt").read_text() == "can\njar\ntube\n"
    report = {path.name for path in (finished_run / "report").iterdir()}
    assert {"metrics.json", "per_class.csv", "report.html", "worst_mistakes.png"} <= report


def test_it_learns(finished_run):
    metrics = json.loads((finished_run / "report" / "metrics.json").read_text())
    assert metrics["accuracy"] > 0.8  # three colors
    with open(finished_run / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert float(rows[0]["images_per_second"]) > 0


def test_the_installed_command_runs_this_file():
    from recycle_tf.commands import train as command

    for function in (command.train, command.main.__wrapped__):
        assert pathlib.Path(function.__code__.co_filename).samefile(train.__file__)


FROM_PYTHON = """
import sys
import matplotlib
from recycle_tf.config import TrainConfig
from train import train

matplotlib.use("svg")
matplotlib.rcParams["font.size"] = 7
before = dict(matplotlib.rcParams)
settings = {"arch": "test_efficientnet", "image_size": 32, "batch_size": 8, "epochs": "1"}
run = train(TrainConfig(**settings, dataset=sys.argv[1], run_dir=sys.argv[2]))
assert run.complete, run
changed = {name for name, value in matplotlib.rcParams.items() if before[name] != value}
print("changed:", matplotlib.get_backend(), sorted(changed))
"""

LOAD = """
import sys
import recycle_tf
import keras
model = keras.models.load_model(sys.argv[1])
assert not model.compiled
print(model.output_shape)
"""


@pytest.fixture(scope="module")
def python_run(tmp_path_factory):
    """`(run folder, output)` of a run that a fresh Python process trained with AdamW."""
    place = tmp_path_factory.mktemp("python")
    result = run_python("-c", FROM_PYTHON, write_photos(place / "photos"), place / "run")
    assert result.returncode == 0, result.stderr
    return runs.Run(place / "run"), result.stdout


def test_train_leaves_matplotlib_as_it_is(python_run):
    assert "changed: svg []" in python_run[1]


@pytest.mark.parametrize("first", ["", "import tensorflow", "importlib.util.find_spec('keras')"])
def test_a_saved_model_loads_in_a_fresh_process(python_run, first):
    run, _ = python_run
    assert run.config["optimizer"] == "adamw"
    # TensorFlow looks for Keras before it imports it.
    program = LOAD.replace("import keras", f"import importlib.util\n{first}\nimport keras")
    result = run_python("-W", "error::UserWarning", "-c", program, run.model_file)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "(None, 3)"


def test_a_saved_model_holds_no_optimizer(python_run, tmp_path):
    import h5py

    run, _ = python_run
    with zipfile.ZipFile(run.model_file) as archive:
        weights = archive.extract("model.weights.h5", tmp_path)
        assert not json.loads(archive.read("config.json")).get("compile_config")
    with h5py.File(weights) as file:
        groups = []
        file.visit(groups.append)
        values = sum(file[name].size for name in groups if isinstance(file[name], h5py.Dataset))
    assert not [name for name in groups if "optimizer" in name]
    assert values == run.load_model().count_params()


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (["--arch=resnet51"], ["--arch=resnet51", "resnet50"]),
        (["--dataset=/no/such/folder"], ["--dataset=/no/such/folder"]),
        (["--image_size=0"], ["--image_size=0", "32", "2048"]),
        (["--epochs=ten"], ["--epochs=ten", "30", "500steps"]),
        (["--epoch=10"], ["--epoch:", "epochs"]),
        (["epochs=10"], ["epochs=10", "--name=value"]),
        (["--overrides=width=2"], ["'width'"]),
        (["--overrides=filters=-1"], ["--overrides", "filters=-1", "above 0"]),
        (["--overrides=shortcut=q"], ["shortcut=q", "identity", "projection"]),
        (["--overrides=image_size=8"], ["--overrides=", "--image_size=8"]),
        (["--arch=alexnet"], ["alexnet", "32 px", "227 px"]),
        (["--augment=strong"], ["--augment=strong"]),
        (["--batch_size=500"], ["--batch_size=500"]),
        (["--accumulate=3"], ["--batch_size=8", "--accumulate=3"]),
        (["--weights=gone.keras"], ["--weights=gone.keras"]),
        (["--recipe=finetune"], ["--recipe=finetune", "--weights=imagenet"]),
        (["--jit=on", "--deterministic"], ["--jit=on", "--deterministic"]),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(photos, tmp_path, flags, names):
    run = tmp_path / "run"
    check_refused(run_main(train.main, *tiny_training(photos), f"--run_dir={run}", *flags), *names)
    assert not run.exists()


def truncate(path):
    """Leaves the first bytes of an image, which identify its format."""
    path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (lambda root: (root / "box").mkdir(), "photos/box"),
        (lambda root: (root / "can" / "x.jpg").write_text("I am a text"), "can/x.jpg"),
        (lambda root: truncate(root / "can" / "can0.png"), "can/can0.png"),
    ],
)
def test_a_bad_folder_is_one_line_and_leaves_nothing(photos, tmp_path, spoil, name):
    spoil(photos)
    check_refused(run_main(train.main, *tiny_training(photos), f"--run_dir={tmp_path / 'run'}"), name)
    assert not (tmp_path / "run").exists()


def test_a_damaged_image_is_skipped_and_listed(photos, tmp_path):
    root = shutil.copytree(photos, tmp_path / "others")
    damaged = next(root.glob("can/*"))
    truncate(damaged)
    name = damaged.relative_to(root).as_posix()
    settings = {**tiny_settings(root), "epochs": "1", "on_bad_image": "skip"}
    run = train.train(TrainConfig(**settings, run_dir=str(tmp_path / "run")))
    record = json.loads(run.config_file.read_text())
    assert record["ignored_files"][0].startswith(f"{name}: ")
    assert name not in run.manifest.read_text()


def test_ignored_files_and_near_duplicates_are_reported(photos, monkeypatch, capsys):
    class Stop(BaseException):
        pass

    def prepare(*_):
        raise Stop

    monkeypatch.setattr(loop, "prepare", prepare)
    for number in range(8):
        shutil.copy(photos / "can" / "can0.png", photos / "can" / f"again{number}.png")
    (photos / "can" / "notes.txt").write_text("mine")
    with pytest.raises(Stop):
        train.train(TrainConfig(**tiny_settings(photos)))
    output, errors = capsys.readouterr()
    assert re.search(r"1 file.*can/notes\.txt", output)
    assert re.search(r"^warning: \d of 7 test .*train", errors, re.MULTILINE)


def test_training_that_diverges_is_one_line(photos, tmp_path):
    settings = {"optimizer": "sgd", "learning_rate": 100, "overrides": "drop_path_rate=0.0"}
    flags = (f"--{name}={value}" for name, value in settings.items())
    result = run_main(train.main, *tiny_training(photos), *flags, f"--run_dir={tmp_path / 'run'}")
    check_refused(result, "the loss became", "epoch 1, step", "--learning_rate", "--run_dir")
    assert not list(tmp_path.glob("run/checkpoints/*"))


def test_the_seed_alone_decides_the_initial_weights(photos, monkeypatch):
    """Preparing a dataset may use the random generators of Python, NumPy, TensorFlow and Keras."""
    import tensorflow as tf

    open_source, initial = resume.open_source, []

    class Stop(BaseException):
        pass

    def prepare(model, *_):
        initial.append(model.get_weights())
        raise Stop

    def open_and_draw(*arguments):
        for draw in (random.random, np.random.rand, lambda: tf.random.uniform([1]), random.random):
            draw()
        keras.random.uniform([1])
        return open_source(*arguments)

    monkeypatch.setattr(loop, "prepare", prepare)
    for function in (open_source, open_and_draw):
        monkeypatch.setattr(resume, "open_source", function)
        with pytest.raises(Stop):
            train.train(TrainConfig(**tiny_settings(photos), seed=7))
    assert all(np.array_equal(a, b) for a, b in zip(*initial, strict=True))


def test_epochs_given_in_steps_end_within_an_epoch_which_is_validated(photos, tmp_path):
    settings = {**tiny_settings(photos), "epochs": "5steps", "run_dir": str(tmp_path / "run")}
    run = train.train(TrainConfig(**settings))
    # Three steps are an epoch.
    assert [row["epoch"] for row in run.history_rows()] == [0, 1]
    assert run.complete


def test_a_time_limit_ends_a_run_with_its_report(photos, tmp_path, capsys):
    settings = {**tiny_settings(photos), "epochs": "9999", "time_limit": "3s"}
    run = train.train(TrainConfig(**settings, run_dir=str(tmp_path / "run")))
    output = capsys.readouterr().out
    assert re.search(rf"3s .*epoch {len(run.history_rows())}\n", output)
    assert run.complete


def test_patience_ends_a_run_also_if_it_was_killed_then(photos, tmp_path, monkeypatch, capsys):
    """At a learning rate of almost 0, an epoch is better than the first one only by chance."""
    settings = {**tiny_settings(photos), "learning_rate": 1e-9, "epochs": "50", "patience": 2}
    config = TrainConfig(**settings, run_dir=str(tmp_path / "run"))
    with monkeypatch.context() as context:
        context.setattr(resume, "finish", lambda run: None)
        run = train.train(config)
    rows = run.history_rows()
    assert 3 <= len(rows) < 50
    assert f"epoch {len(rows)}\n" in capsys.readouterr().out
    assert not run.complete
    assert train.train(config).complete
    assert run.history_rows() == rows

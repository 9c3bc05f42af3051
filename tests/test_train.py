"""`python train.py`, as a user runs it."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from recycle_tf import create_model, runs
from recycle_tf.config import TrainConfig
from recycle_tf.training.callbacks import Checkpoint, Progress
from recycle_tf.training.optimizers import make_optimizer
from tests.conftest import ROOT, run_python, tiny_training, write_photos
from tests.training.test_tensorboard import read, steps


def test_a_run_is_as_designed(finished_run):
    names = {path.name for path in finished_run.iterdir()}
    assert names == {
        "config.json",
        "labels.txt",
        "split.csv",
        "model.keras",
        "history.csv",
        "tensorboard",
        "report",
    }
    record = json.loads((finished_run / "config.json").read_text())
    assert record["config"]["arch"] == "test_resnet"
    assert record["versions"]["keras"].startswith("3.15")
    assert (finished_run / "labels.txt").read_text() == "can\njar\ntube\n"
    report = {path.name for path in (finished_run / "report").iterdir()}
    assert report == {
        "metrics.json",
        "per_class.csv",
        "confusion_matrix.png",
        "reliability.png",
        "history.png",
        "worst_mistakes.png",
        "report.html",
    }


def test_it_learns(finished_run):
    metrics = json.loads((finished_run / "report" / "metrics.json").read_text())
    assert metrics["accuracy"] > 0.8  # three colours
    with open(finished_run / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert float(rows[0]["images_per_second"]) > 0


def test_tensorboard_scalars(finished_run):
    training, validation = (read(finished_run / "tensorboard" / name) for name in ("train", "validation"))
    for tag in ("epoch_loss", "epoch_accuracy", "epoch_learning_rate", "epoch_images_per_second"):
        assert steps(training, tag) == list(range(6)), tag
    assert steps(validation, "epoch_accuracy") == list(range(6))


def test_killed_between_epochs_it_goes_on(photos, tmp_path):
    """The weights of a run that was killed and went on are those of the run that was not."""
    command = [
        *tiny_training(photos),
        "--epochs=6",
        "--augment=basic",
        "--mix=both",
        "--overrides=drop_rate=0.2",
    ]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for number in range(8):
        shutil.copy(photos / "can" / "can0.png", photos / "can" / f"again{number}.png")
    result = run_python("train.py", *command, f"--run_dir={whole}")
    assert result.returncode == 0
    assert re.search(
        r"^warning: \d of 7 test pictures have? a near-twin in train", result.stderr, re.MULTILINE
    )
    process = subprocess.Popen(
        [sys.executable, "train.py", *command, f"--run_dir={killed}"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.time() + 240
    while not list(killed.glob("checkpoints/epoch000[2345].npz")):
        assert process.poll() is None, "ended before it could be killed"
        assert time.time() < deadline
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "report").exists()
    result = run_python("train.py", *command, f"--run_dir={killed}")
    assert result.returncode == 0, result.stderr
    assert "going on after epoch" in result.stdout
    assert "warning" not in result.stderr
    epochs = [int(row["epoch"]) for row in runs.Run(killed).history_rows()]
    assert epochs == list(range(6))
    written = steps(read(killed / "tensorboard"), "recall/can")
    assert written == sorted(written)
    assert set(written) == set(range(6))
    expected, found = runs.Run(whole).history_rows(), runs.Run(killed).history_rows()
    for before, after in zip(expected, found, strict=True):
        assert after["val_loss"] == pytest.approx(before["val_loss"], rel=1e-3)
    for a, b in zip(runs.Run(whole).load_model().weights, runs.Run(killed).load_model().weights, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-4)


def test_the_same_command_finds_its_run(photos, tmp_path):
    command = [ROOT / "train.py", *tiny_training(photos), "--epochs=9"]
    process = subprocess.Popen([sys.executable, *command], cwd=tmp_path, stdout=subprocess.DEVNULL)
    deadline = time.time() + 240
    while not list(tmp_path.glob("runs/*/checkpoints/epoch*.npz")):
        assert process.poll() is None
        assert time.time() < deadline
        time.sleep(0.002)
    process.kill()
    process.wait()
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "config.json").write_text("hello")
    result = run_python(*command, cwd=tmp_path)
    assert "going on after epoch" in result.stdout
    assert "passed over: runs/broken/config.json: damaged" in result.stderr
    shutil.rmtree(tmp_path / "runs" / "broken")
    assert len(list((tmp_path / "runs").iterdir())) == 1
    # A run that is complete is left alone, and the command begins another.
    assert "going on" not in run_python(*command, cwd=tmp_path).stdout
    assert len(list((tmp_path / "runs").iterdir())) == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--arch=resnet51"], "--arch=resnet51: no such architecture, did you mean resnet"),
        (["--dataset=/no/such/folder"], "--dataset=/no/such/folder: no such folder"),
        (["--image_size=0"], "--image_size=0: expected 32 to 2048"),
        (["--epochs=ten"], "--epochs=ten: expected a number and epochs or steps, such as 30 or 500steps"),
        (["--epoch=10"], "--epoch: no such flag, did you mean epochs"),
        (["epochs=10"], "epochs=10: not a flag; write --name=value"),
        (["--overrides=width=2"], "has no setting 'width'"),
        (["--overrides=filters=-1"], "test_resnet cannot be built at 32 px with filters=-1"),
        (["--overrides=shortcut=q"], "shortcut=q: choose from all_projection, identity, none, projection"),
        (["--overrides=image_size=8"], "give --image_size=8 instead"),
        (["--arch=alexnet"], "alexnet cannot be built at 32 px; its own size is 227 px"),
        (["--augment=strong"], "--augment=strong: no such policy"),
        (["--batch_size=500"], "--batch_size=500: more than the"),
        (["--batch_size=9", "--strategy=mirrored", "--logical_cpus=2"], "not a multiple of the 2 devices"),
        (["--weights=gone.keras"], "--weights=gone.keras: no such file"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(photos, tmp_path, flags, message):
    result = run_python("train.py", *tiny_training(photos), f"--run_dir={tmp_path / 'run'}", *flags)
    check_refused(result, message)
    assert not (tmp_path / "run").exists()


def cut(path):
    """Leaves the head of a picture, which says what it is, and little more."""
    path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "box").mkdir(), "no pictures in this class folder"),
        (lambda root: (root / "can" / "x.jpg").write_text("I am a text"), "can/x.jpg: not a picture"),
        (
            lambda root: cut(root / "can" / "can0.png"),
            "can/can0.png: missing or damaged",
        ),
    ],
)
def test_a_bad_folder_is_one_line_and_leaves_nothing(photos, tmp_path, spoil, message):
    spoil(photos)
    result = run_python("train.py", *tiny_training(photos), f"--run_dir={tmp_path / 'run'}")
    check_refused(result, message)
    assert not (tmp_path / "run").exists()


def test_run_folders_that_do_not_fit(finished_run, photos, tmp_path):
    command = tiny_training(photos)
    result = run_python("train.py", *command, f"--run_dir={finished_run}", "--epochs=6", "--seed=1")
    check_refused(result, "was begun with --")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("mine")
    check_refused(
        run_python("train.py", *command, f"--run_dir={tmp_path / 'other'}"), "exists and is not a run"
    )
    check_refused(run_python("train.py", *command, "--run_dir=/proc/none"), "cannot be written")


def test_a_set_that_changed_is_noticed(photos, tmp_path):
    run = begin_and_stop(photos, tmp_path)
    with open(photos / "can" / "can0.png", "ab") as file:
        file.write(b"x")
    check_refused(
        run_python("train.py", *tiny_training(photos), f"--run_dir={run}"),
        "can/can0.png has changed since this line was written",
    )


def test_a_damaged_checkpoint_is_named(photos, tmp_path):
    run = begin_and_stop(photos, tmp_path)
    (run / "checkpoints" / "epoch0001.npz").write_bytes(b"junk")
    check_refused(
        run_python("train.py", *tiny_training(photos), f"--run_dir={run}"), "epoch0001.npz: damaged"
    )


def test_evaluating_an_unfinished_run_leaves_it_unfinished(photos, tmp_path):
    run = begin_and_stop(photos, tmp_path)
    assert run_python("-m", "recycle_tf", "evaluate", f"--run={run}").returncode == 0
    assert not runs.Run(run).complete


def begin_and_stop(photos, tmp_path):
    """A run of which one epoch was run, as if it had been killed then."""
    run = tmp_path / "run"
    result = run_python("train.py", *tiny_training(photos), "--epochs=1", f"--run_dir={run}")
    assert result.returncode == 0, result.stderr
    record = json.loads((run / "config.json").read_text())
    record["config"]["epochs"] = TrainConfig.epochs
    (run / "config.json").write_text(json.dumps(record))
    shutil.rmtree(run / "report")
    model = create_model("test_resnet", 3)
    model.compile(make_optimizer("adamw", 0.1, 0.1))
    checkpoint = Checkpoint(run / "checkpoints", Progress(3, epoch=1), "5m")
    checkpoint.set_model(model)
    checkpoint.write()
    return run


def test_a_loss_that_diverges_is_said(photos, tmp_path):
    flags = ("--epochs=6", "--optimizer=sgd", "--learning_rate=100", "--overrides=drop_path_rate=0.0")
    result = run_python("train.py", *tiny_training(photos), *flags, f"--run_dir={tmp_path / 'run'}")
    check_refused(result, "try a lower --learning_rate in another --run_dir")
    assert re.search(
        r"the loss became \S.* in epoch 1, step \d of 3, at a learning rate of \d", result.stderr
    )
    assert not list(tmp_path.glob("run/checkpoints/*"))


KILLED_IN_THE_SECOND_EPOCH = (
    "import os, sys, train\n"
    "from recycle_tf.training.callbacks import Checkpoint\n"
    "write = Checkpoint.write\n"
    "def write_and_die(self):\n"
    "    write(self)\n"
    "    if self.progress.steps == 8:\n"
    "        os.kill(os.getpid(), 9)\n"
    "Checkpoint.write = write_and_die\n"
    "train.main(sys.argv[1:])"
)


def test_mirrored_goes_on_in_an_epoch_and_validates_an_odd_number(tmp_path):
    """Nine validation pictures and batches of eight: the second replica would get none of the last."""
    photos = write_photos(tmp_path / "photos", count=20)
    flags = (
        *tiny_training(photos),
        "--epochs=4",
        "--strategy=mirrored",
        "--logical_cpus=2",
        "--checkpoint_every=1steps",
    )
    whole, killed = runs.Run(tmp_path / "whole"), runs.Run(tmp_path / "killed")
    assert run_python("train.py", *flags, f"--run_dir={whole.path}").returncode == 0
    result = run_python("-c", KILLED_IN_THE_SECOND_EPOCH, *flags, f"--run_dir={killed.path}")
    assert result.returncode == -signal.SIGKILL
    result = run_python("train.py", *flags, f"--run_dir={killed.path}")
    assert result.returncode == 0, result.stderr
    assert "going on after epoch 2, step 3 of 5" in result.stdout
    for before, after in zip(whole.history_rows(), killed.history_rows(), strict=True):
        for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
            assert after[name] == pytest.approx(before[name], rel=1e-3), (name, after["epoch"])


def check_refused(result, message):
    assert result.returncode == 2, result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert message in lines[0]


def test_a_damaged_picture_is_skipped_and_listed(photos, tmp_path):
    root = shutil.copytree(photos, tmp_path / "others")
    victim = next(root.glob("can/*"))
    victim.write_bytes(victim.read_bytes()[:60])
    run = tmp_path / "run"
    result = run_python("train.py", *tiny_training(root), f"--run_dir={run}", "--on_bad_image=skip")
    assert result.returncode == 0, result.stderr
    name = victim.relative_to(root).as_posix()
    assert f"1 files were left out, such as {name}: damaged pictures" in result.stdout
    record = json.loads((run / "config.json").read_text())
    assert record["ignored_files"][0].startswith(f"{name}: damaged pictures")
    assert name not in (run / "split.csv").read_text()

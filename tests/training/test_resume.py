"""Starting and resuming a run: after a kill, Ctrl-C or a full disk, and from another version or process."""

import contextlib
import dataclasses
import errno
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest
import tensorflow as tf

import train
from recycle_tf import files, runs
from recycle_tf.config import TrainConfig
from recycle_tf.data import sources
from recycle_tf.errors import UserError
from recycle_tf.training import loop, resume
from recycle_tf.training.checkpoint import Checkpoint
from tests.conftest import (
    ROOT,
    check_refused,
    run_main,
    run_python,
    tiny_settings,
    tiny_training,
    write_photos,
)

STRATEGY = tf.distribute.get_strategy()
SETTINGS = {
    "augment": "basic",
    "mix": "both",
    "overrides": "blocks_per_stage=(1,),drop_rate=0.2,drop_path_rate=0.1",
    "ema": 0.9,
    "clip_norm": 1.0,
    "accumulate": 2,
    "deterministic": True,
}
"""Everything that has state or draws random numbers."""


@pytest.fixture
def _deterministic():
    """Undoes what `deterministic` does to this process."""
    from tensorflow.python.framework import config

    yield
    config.disable_op_determinism()


@pytest.fixture
def _retains_checkpoint(monkeypatch):
    """The last checkpoint remains, to be compared."""
    monkeypatch.setattr(resume, "finish", lambda run: None)


class Killed(BaseException):
    """Ends `train` like a kill: nothing more is written."""


@contextlib.contextmanager
def killed_at(step):
    """Within this context, training is killed after the checkpoint of a step of the whole run."""
    write = Checkpoint.write

    def write_and_die(self):
        write(self)
        if self.progress.steps == step:
            raise Killed

    with pytest.MonkeyPatch.context() as context:
        context.setattr(Checkpoint, "write", write_and_die)
        with pytest.raises(Killed):
            yield


def as_flags(settings):
    return [f"--{name}={value}" for name, value in settings.items()]


def numbers(run):
    """The rows of the history, except for speed."""
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in run.history_rows()]


def check_same_bits(one, other):
    """Checks that two runs have the same history, last checkpoint and best model, bit by bit."""
    assert numbers(other) == numbers(one)
    (name,) = [path.name for path in one.checkpoints.iterdir()]
    assert [path.name for path in other.checkpoints.iterdir()] == [name]
    with np.load(one.checkpoints / name) as a, np.load(other.checkpoints / name) as b:
        assert set(a) == set(b)
        for key in set(a) - {"seconds"}:
            np.testing.assert_array_equal(a[key], b[key])
    best = zip(one.load_model().weights, other.load_model().weights, strict=True)
    assert all(np.array_equal(a, b) for a, b in best)


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(process, condition):
    deadline = time.time() + 240
    while not condition():
        assert process.poll() is None, "ended before it could be stopped"
        assert time.time() < deadline
        time.sleep(0.001)


def kill_while_writing(process, folder):
    """Kills a process that has started to write a checkpoint and has not finished it."""
    while True:
        wait_for(process, lambda: list(folder.glob(".partial-*")))
        os.kill(process.pid, signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        if list(folder.glob(".partial-*")):
            return process.kill()
        os.kill(process.pid, signal.SIGCONT)


@pytest.mark.usefixtures("_deterministic", "_retains_checkpoint")
def test_killed_while_writing_a_checkpoint_it_resumes_to_the_same_bits(tmp_path, capsys):
    photos = write_photos(tmp_path / "photos", count=40)
    settings = {**tiny_settings(photos), **SETTINGS, "epochs": "6"}
    whole = train.train(TrainConfig(**settings, run_dir=str(tmp_path / "whole")))

    killed = runs.Run(tmp_path / "killed")
    flags = [*as_flags(settings), f"--run_dir={killed.path}", "--checkpoint_every=1steps"]
    process = start("train.py", *flags)
    wait_for(process, lambda: list(killed.checkpoints.glob("epoch*")))
    kill_while_writing(process, killed.checkpoints)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert list(killed.checkpoints.glob(".partial-*"))

    capsys.readouterr()
    train.train(TrainConfig(**settings, run_dir=str(killed.path)))
    assert "resuming after epoch" in capsys.readouterr().out
    check_same_bits(whole, killed)


@pytest.mark.usefixtures("_deterministic")
def test_killed_in_each_phase_fine_tuning_ends_with_the_same_bits(tmp_path, monkeypatch, capsys):
    from recycle_tf import create_model

    weights = tmp_path / "pretrained.weights.h5"
    create_model("test_resnet_a", 3, blocks_per_stage=(1,)).save_weights(weights)
    settings = {
        **tiny_settings(write_photos(tmp_path / "photos", count=20)),
        **SETTINGS,
        "recipe": "finetune",
        "weights": str(weights),
        "epochs": "4",
        "head_epochs": 2,
        "checkpoint_every": "1steps",
    }
    monkeypatch.setattr(resume, "finish", lambda run: None)
    whole = train.train(TrainConfig(**settings, run_dir=str(tmp_path / "whole")))
    # Five steps per epoch: within the first phase, at its end, and within the second.
    config = TrainConfig(**settings, run_dir=str(tmp_path / "killed"))
    for step in (7, 10, 13):
        with killed_at(step):
            train.train(config)
    capsys.readouterr()
    killed = train.train(config)
    assert "resuming after epoch 3, step 3 of 5" in capsys.readouterr().out
    check_same_bits(whole, killed)
    # Killed between the report and the end, it has nothing to train.
    monkeypatch.undo()
    rows = numbers(killed)
    assert not killed.complete
    assert train.train(config).complete
    assert numbers(killed) == rows


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_bits(tmp_path):
    code = (
        "import sys, train\n"
        "from recycle_tf.training import resume\n"
        "resume.finish = lambda run: None\n"
        "sys.exit(train.main(sys.argv[1:]))"
    )
    photos = write_photos(tmp_path / "photos", count=40)
    command = ["-c", code, *as_flags({**tiny_settings(photos), **SETTINGS, "epochs": "20"})]
    whole, killed = runs.Run(tmp_path / "whole"), runs.Run(tmp_path / "killed")
    result = run_python(*command, f"--run_dir={whole.path}")
    assert result.returncode == 0, result.stderr
    moments = random.Random(0)
    for _ in range(5):
        before = set(killed.checkpoints.glob("epoch*"))
        process = start(*command, f"--run_dir={killed.path}", "--checkpoint_every=1steps")
        wait_for(process, lambda before=before: set(killed.checkpoints.glob("epoch*")) - before)
        time.sleep(moments.uniform(0, 0.3))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    result = run_python(*command, f"--run_dir={killed.path}")
    assert result.returncode == 0, result.stderr
    assert "resuming after epoch" in result.stdout
    check_same_bits(whole, killed)


@pytest.mark.slow
def test_mirrored_resumes_within_an_epoch(tmp_path):
    """Nine validation images and batches of eight: the second device would get none of the last batch."""
    code = (
        "import os, sys, train\n"
        "from recycle_tf.training.checkpoint import Checkpoint\n"
        "write = Checkpoint.write\n"
        "def write_and_die(self):\n"
        "    write(self)\n"
        "    if self.progress.steps == 8:\n"
        "        os.kill(os.getpid(), 9)\n"
        "Checkpoint.write = write_and_die\n"
        "train.main(sys.argv[1:])"
    )
    flags = (
        *tiny_training(write_photos(tmp_path / "photos", count=20)),
        "--epochs=4",
        "--strategy=mirrored",
        "--logical_cpus=2",
        "--checkpoint_every=1steps",
    )
    whole, killed = runs.Run(tmp_path / "whole"), runs.Run(tmp_path / "killed")
    assert run_python("train.py", *flags, f"--run_dir={whole.path}").returncode == 0
    assert run_python("-c", code, *flags, f"--run_dir={killed.path}").returncode == -signal.SIGKILL
    result = run_python("train.py", *flags, f"--run_dir={killed.path}")
    assert result.returncode == 0, result.stderr
    assert "resuming after epoch 2, step 3 of 5" in result.stdout
    for before, after in zip(whole.history_rows(), killed.history_rows(), strict=True):
        for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
            assert after[name] == pytest.approx(before[name], rel=1e-3), (name, after["epoch"])


def test_the_same_command_finds_its_run(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    settings = {**tiny_settings(photos), "epochs": "2"}
    with killed_at(3):
        train.train(TrainConfig(**settings))
    for name, record in (("text", "hello"), ("number", '{"config": 3, "labels": [], "fingerprint": ""}')):
        (tmp_path / "runs" / name).mkdir()
        (tmp_path / "runs" / name / "config.json").write_text(record)
    capsys.readouterr()
    run = train.train(TrainConfig(**settings))
    said = capsys.readouterr()
    assert "resuming after epoch 1" in said.out
    for name in ("text", "number"):
        assert f"runs/{name}/config.json" in said.err
        shutil.rmtree(tmp_path / "runs" / name)
    assert run.complete
    assert os.listdir("runs") == [run.path.name]
    # A complete run is left alone; the same command starts a new one.
    assert resume.find(TrainConfig(**settings), STRATEGY, contextlib.ExitStack()) == (None, False)
    # Given by name, it is returned as it is.
    again = train.train(TrainConfig(**settings, run_dir=str(run.path)))
    assert again.path.samefile(run.path)
    assert "complete" in capsys.readouterr().out


def test_damaged_runs_do_not_stop_other_ones(tmp_path, capsys):
    records = ["", "3", "[]", "null", '{"config": 3}', '{"config": {"epochs": []}}', "\xff", "[" * 100_000]
    for number, record in enumerate(records):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "config.json").write_text(record, encoding="latin-1")
    (tmp_path / "folder" / "config.json").mkdir(parents=True)
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "config.json").symlink_to(tmp_path / "nowhere")
    assert resume.unfinished(TrainConfig(), root=tmp_path) is None
    assert str(tmp_path / "1" / "config.json") in capsys.readouterr().err


@pytest.mark.parametrize("named", [True, False])
def test_a_run_without_a_checkpoint_is_started_again(tmp_path, monkeypatch, named):
    """With `--cache=off`, a damaged training image is found in the first epoch, when the run exists."""
    monkeypatch.chdir(tmp_path)
    for seed, split in enumerate(("train", "validation", "test")):
        write_photos(tmp_path / "W" / split, count=8, seed=seed)
    damaged = tmp_path / "W" / "train" / "jar" / "damaged.jpg"
    write_truncated_jpeg(damaged)
    command = [*as_flags({**tiny_settings("W"), "cache": "off", "epochs": "1"})]
    command += ["--run_dir=mine"] if named else []
    check_refused(run_main(train.main, *command), "train/jar/damaged.jpg", "--on_bad_image=skip")
    (path,) = [tmp_path / "mine"] if named else list((tmp_path / "runs").iterdir())
    assert runs.Run(path).config_file.is_file()
    assert not list(runs.Run(path).checkpoints.iterdir())
    damaged.unlink()
    result = run_main(train.main, *command)
    assert result.returncode == 0, result.stderr
    assert runs.Run(path).complete
    assert named or list((tmp_path / "runs").iterdir()) == [path]
    assert "damaged.jpg" not in runs.Run(path).manifest.read_text()


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_damaged_evaluation_image_is_named_before_training(tmp_path, split):
    for seed, name in enumerate(("train", "validation", "test")):
        write_photos(tmp_path / "W" / name, count=8, seed=seed)
    write_truncated_jpeg(tmp_path / "W" / split / "jar" / "damaged.jpg")
    command = [*as_flags({**tiny_settings(tmp_path / "W"), "cache": "off"}), f"--run_dir={tmp_path / 'run'}"]
    check_refused(run_main(train.main, *command), f"{split}/jar/damaged.jpg")
    assert not (tmp_path / "run").exists()


def write_truncated_jpeg(path):
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """`(run, settings, errors)` of a run that Ctrl-C stopped, and what it printed to standard error."""
    place = tmp_path_factory.mktemp("interrupted")
    settings = {**tiny_settings(write_photos(place / "photos", count=40)), "epochs": "200"}
    run = runs.Run(place / "run")
    process = start("train.py", *as_flags(settings), f"--run_dir={run.path}", "--checkpoint_every=1h")
    wait_for(process, run.history_rows)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    return run, settings, errors


@pytest.fixture
def stopped(interrupted, tmp_path):
    """`(run, settings)`: a copy of the interrupted run, and the settings that resume it."""
    original, settings, _ = interrupted
    run = runs.Run(shutil.copytree(original.path, tmp_path / "run"))
    return run, {**settings, "run_dir": str(run.path)}


def test_ctrl_c_saves_a_checkpoint_and_says_how_to_resume(interrupted, stopped, monkeypatch, capsys):
    original, _, errors = interrupted
    first, last = errors.strip().splitlines()
    assert "Ctrl-C" in first
    where, epoch, step = re.search(r"stopped after (epoch (\d+)(?:, step (\d) of 10)?);", last).groups()
    name = f"epoch{int(epoch) - 1:04d}_step{int(step):06d}.npz" if step else f"epoch{int(epoch):04d}.npz"
    assert [path.name for path in original.checkpoints.iterdir()] == [name]

    def fit(*_):
        raise Killed

    monkeypatch.setattr(loop, "fit", fit)
    with pytest.raises(Killed):
        train.train(TrainConfig(**stopped[1]))
    assert f"resuming after {where}\n" in capsys.readouterr().out


def spoil(run, change):
    """Changes `config.json`."""
    record = json.loads(run.config_file.read_text())
    change(record)
    run.config_file.write_text(json.dumps(record))


def test_a_second_process_is_rejected_while_the_first_one_lives(stopped):
    run, settings = stopped
    config = TrainConfig(**settings)
    held = resume.unfinished(config)
    check_refused(run_python("train.py", *as_flags(settings)), str(run.path), "--run_dir")
    held.unlock()
    resume.unfinished(config).unlock()


def test_two_processes_that_start_the_same_run(photos, tmp_path):
    source = sources.open_source(str(photos), seed=0)
    config = TrainConfig(dataset=str(photos), run_dir=str(tmp_path / "run"))
    with contextlib.ExitStack() as locks, contextlib.ExitStack() as others:
        resume.create(config, source, STRATEGY, locks)
        with pytest.raises(UserError, match=str(tmp_path / "run")):
            resume.create(config, source, STRATEGY, others)
    # A process that has run and ended in the meantime.
    (tmp_path / "run" / "history.csv").write_text("epoch\n")
    with pytest.raises(UserError, match="`run_dir`"), contextlib.ExitStack() as locks:
        resume.create(config, source, STRATEGY, locks)


def check_unlocked(run):
    with open(run.labels_file, "a+b") as file:
        files.lock(file)


@pytest.mark.parametrize(
    ("module", "name"),
    [(files, "recover"), (resume, "open_source"), (loop, "prepare"), (loop, "fit")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_resumed_run_is_unlocked_wherever_training_fails(stopped, monkeypatch, module, name):
    """Also while the exception is kept, as a notebook does: it holds all variables of `train`."""
    run, settings = stopped
    monkeypatch.setattr(module, name, lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError) as kept:
        train.train(TrainConfig(**settings))
    check_unlocked(run)
    assert kept.traceback


@pytest.mark.parametrize(
    ("module", "name"),
    [(runs.Run, "write_record"), (train, "print_run"), (loop, "fit")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_new_run_is_unlocked_wherever_training_fails(photos, tmp_path, monkeypatch, module, name):
    monkeypatch.setattr(module, name, lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError) as kept:
        train.train(TrainConfig(**tiny_settings(photos), run_dir=str(tmp_path / "run")))
    check_unlocked(runs.Run(tmp_path / "run"))
    assert kept.traceback


def test_killed_while_the_run_folder_was_created(tmp_path):
    (tmp_path / "labels.txt").touch()
    assert resume.unfinished(TrainConfig(run_dir=str(tmp_path))) is None
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "labels.txt").write_text("can\n")
    (tmp_path / ".partial-1-config.json").write_text("{")
    assert resume.unfinished(TrainConfig(run_dir=str(tmp_path))) is None
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(UserError, match=f"`run_dir={tmp_path}`"):
        resume.unfinished(TrainConfig(run_dir=str(tmp_path)))


def test_a_folder_with_files_of_the_same_names(tmp_path):
    """Only a run that was created has a folder of checkpoints: these are the user's."""
    (tmp_path / "split.csv").write_text("mine")
    with pytest.raises(UserError, match=f"`run_dir={tmp_path}`: exists and is not a run"):
        resume.unfinished(TrainConfig(run_dir=str(tmp_path)))
    (tmp_path / "checkpoints").mkdir()
    assert resume.unfinished(TrainConfig(run_dir=str(tmp_path))) is None


def test_a_finished_run_without_a_report_is_not_trained_again(finished_run, tmp_path):
    """Its model would be overwritten by that of the first epoch."""
    folder = tmp_path / "runs" / "copy"
    shutil.copytree(finished_run, folder)
    shutil.rmtree(folder / "report")
    settings = runs.Run(folder).config
    with pytest.raises(UserError, match=f"`run_dir={folder}`: .*report is missing.*evaluate"):
        resume.unfinished(TrainConfig(**settings | {"run_dir": str(folder)}))
    anywhere = TrainConfig(**settings | {"run_dir": None})
    assert resume.unfinished(anywhere, tmp_path / "runs") is None


def test_killed_between_its_first_model_and_its_first_checkpoint(stopped, tmp_path):
    run, settings = stopped
    for path in (run.history, *run.checkpoints.iterdir()):
        path.unlink()
    found = resume.unfinished(TrainConfig(**settings | {"run_dir": None}), tmp_path)
    found.unlock()
    assert found.path == run.path


def test_zero_is_the_same_as_a_whole_or_a_decimal_number(stopped):
    run, settings = stopped
    record = json.loads(run.config_file.read_text())
    record["config"]["weight_decay"] = 0
    run.config_file.write_text(json.dumps(record))
    resume.unfinished(TrainConfig(**settings, weight_decay=0.0)).unlock()
    assert repr(TrainConfig(weight_decay=0).weight_decay) == "0.0"
    assert repr(TrainConfig(weight_decay=np.int64(0)).weight_decay) == "0.0"
    with pytest.raises(UserError, match="`learning_rate=10*`: expected"):
        TrainConfig(learning_rate=10**400)


def test_a_truncated_row_of_the_history_is_ignored(tmp_path):
    run = runs.Run(tmp_path)
    columns = "epoch,val_accuracy,val_loss"
    run.history.write_text(f"{columns}\n0,0.5,1.5\n1,0.6,0.2")
    assert run.history_rows() == [{"epoch": 0, "val_accuracy": 0.5, "val_loss": 1.5}]
    run.truncate_history(2)
    assert run.history.read_text().splitlines() == [columns, "0,0.5,1.5"]


def test_run_folders_that_do_not_fit(finished_run, photos, tmp_path):
    flags = tiny_training(photos)
    result = run_main(train.main, *flags, f"--run_dir={finished_run}", "--epochs=6", "--seed=1")
    check_refused(result, f"--run_dir={finished_run}", "--dataset=")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("mine")
    result = run_main(train.main, *flags, f"--run_dir={tmp_path / 'other'}")
    check_refused(result, f"--run_dir={tmp_path / 'other'}")
    check_refused(run_main(train.main, *flags, "--run_dir=/proc/none"), "--run_dir=/proc/none")


def test_a_dataset_that_changed_is_noticed(stopped):
    run, settings = stopped
    photos = shutil.copytree(settings["dataset"], run.path.parent / "changed")
    spoil(run, lambda record: record["config"].update(dataset=str(photos)))
    with open(photos / "can" / "can0.png", "ab") as file:
        file.write(b"x")
    result = run_main(train.main, *as_flags({**settings, "dataset": photos}))
    check_refused(result, "can/can0.png")


def test_a_run_of_an_older_version_is_resumed(stopped, monkeypatch, capsys):
    run, settings = stopped

    def older(record):
        del record["config"]["deterministic"], record["config"]["checkpoint_every"]
        record["versions"] |= {"keras": "3.14.0", "platform": "another kernel"}

    spoil(run, older)
    config = TrainConfig(**settings)
    found = resume.unfinished(config)
    resume.open_source(config, found, STRATEGY)
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: ")
    assert "keras 3.14.0" in warning
    assert "kernel" not in warning


def test_an_unknown_setting_is_rejected(stopped):
    run, settings = stopped
    spoil(run, lambda record: record["config"].update(momentum=0.5))
    result = run_main(train.main, *as_flags(settings))
    check_refused(result, f"--run_dir={run.path}", "--momentum=0.5")


def test_a_damaged_checkpoint_is_named(stopped):
    run, settings = stopped
    (path,) = run.checkpoints.iterdir()
    path.write_bytes(b"junk")
    check_refused(run_main(train.main, *as_flags(settings)), str(path))


def test_evaluating_an_unfinished_run_leaves_it_unfinished(stopped):
    from recycle_tf.commands import evaluate

    run, _ = stopped
    result = run_main(evaluate.main, f"--run={run.path}")
    assert result.returncode == 0, result.stderr
    assert not run.complete


def test_evaluating_a_run_before_its_first_checkpoint_leaves_it_unfinished(photos, tmp_path, monkeypatch):
    """The model of the first epoch is saved before its checkpoint."""
    from recycle_tf.commands import evaluate

    def die(self):
        raise Killed

    config = TrainConfig(**{**tiny_settings(photos), "epochs": "2"}, run_dir=str(tmp_path / "run"))
    with monkeypatch.context() as context:
        context.setattr(Checkpoint, "write", die)
        with pytest.raises(Killed):
            train.train(config)
    run = runs.Run(tmp_path / "run")
    assert run.model_file.is_file()
    result = run_main(evaluate.main, f"--run={run.path}")
    assert result.returncode == 0, result.stderr
    assert (run.report / "metrics.json").is_file()
    assert not run.complete
    assert train.train(config).complete
    assert len(run.history_rows()) == 2


def checkpoints(run):
    return {path.name: path.read_bytes() for path in run.checkpoints.iterdir()}


def check_retained(run, before):
    """Checks that the checkpoint is unchanged, and that no partial file remains."""
    assert checkpoints(run) == before
    assert not list(run.path.rglob(".partial-*"))


def test_a_checkpoint_that_does_not_fit_on_the_disk(stopped, monkeypatch):
    run, settings = stopped
    before = checkpoints(run)

    def savez(path, **values):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez", savez)
    result = run_main(train.main, *as_flags(settings), "--checkpoint_every=1steps")
    check_refused(result, str(run.path), os.strerror(errno.ENOSPC))
    check_retained(run, before)


def test_an_event_file_that_exceeds_a_quota(stopped):
    """TensorFlow writes the event files, and raises errors of its own."""
    run, settings = stopped
    before = checkpoints(run)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        result = run_main(train.main, *as_flags(settings))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    check_refused(result, str(run.path), os.strerror(errno.EFBIG))
    check_retained(run, before)


@pytest.mark.slow
def test_a_full_disk(interrupted, small_disk, tmp_path):
    original, settings, _ = interrupted
    size = sum(path.stat().st_size for path in original.path.rglob("*") if path.is_file())
    run = runs.Run(tmp_path / "disk" / "run")
    small_disk(run.path.parent, f"size={size + 300_000}")
    shutil.copytree(original.path, run.path)
    flags = (*as_flags(settings), f"--run_dir={run.path}", "--checkpoint_every=1steps")
    check_refused(run_python("train.py", *flags), str(run.path), "No space left")
    assert not list(run.path.rglob(".partial-*"))
    (path,) = run.checkpoints.iterdir()
    with np.load(path) as values:
        assert all(np.isfinite(values[key]).all() for key in values)


def test_a_read_only_folder(interrupted, small_disk, tmp_path):
    original, settings, _ = interrupted
    disk = tmp_path / "disk"
    small_disk(disk, "size=20m")
    shutil.copytree(original.path, disk / "run")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    for name in ("run", "new"):
        result = run_main(train.main, *as_flags(settings), f"--run_dir={disk / name}")
        check_refused(result, str(disk / name), "Read-only")


def test_an_empty_text_of_an_earlier_version_is_no_difference(tmp_path):
    config = TrainConfig(run_dir=str(tmp_path))
    earlier = types.SimpleNamespace(config={**dataclasses.asdict(config), "teacher": "", "epochs": 100})
    assert resume._differences(earlier, config) == []
    earlier.config["teacher"] = "runs/other"
    assert resume._differences(earlier, config) == ["teacher"]

"""Killed, interrupted, on a full disk, begun twice, begun by another version: it goes on or says why not."""

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

import keras
import numpy as np
import pytest
import tensorflow as tf

from recycle_tf import runs
from recycle_tf.config import TrainConfig, duration
from recycle_tf.data import sources
from recycle_tf.errors import UserError
from recycle_tf.training import callbacks, resume
from tests.conftest import ROOT, run_python, tiny_training, write_photos
from tests.test_train import check_refused

KEEPING_THE_LAST_CHECKPOINT = (
    "import sys, train\n"
    "from recycle_tf.training import loop\n"
    "loop.finish = lambda run: None\n"
    "sys.exit(train.main(sys.argv[1:]))"
)
"""`train.py`, but for the removal of the checkpoint of its last step."""


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
    """Kills it at a moment when it has begun a checkpoint and not ended it."""
    while True:
        wait_for(process, lambda: list(folder.glob(".partial-*")))
        os.kill(process.pid, signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        if list(folder.glob(".partial-*")):
            return process.kill()
        os.kill(process.pid, signal.SIGCONT)


def numbers(run):
    """What the history says, but for the clock."""
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in run.history_rows()]


def test_killed_at_any_moment_it_ends_with_the_same_bits(tmp_path):
    command = [
        "-c",
        KEEPING_THE_LAST_CHECKPOINT,
        *tiny_training(write_photos(tmp_path / "photos", count=40)),
        "--epochs=20",
        "--augment=basic",
        "--mix=both",
        "--overrides=drop_rate=0.2,drop_path_rate=0.1",
        "--ema=0.9",
        "--clip_norm=1",
        "--accumulate=2",
        "--deterministic",
    ]
    whole, killed = runs.Run(tmp_path / "whole"), runs.Run(tmp_path / "killed")
    result = run_python(*command, f"--run_dir={whole.path}")
    assert result.returncode == 0, result.stderr

    moments = random.Random(0)
    for number in range(5):
        before = set(killed.checkpoints.glob("epoch*"))
        process = start(*command, f"--run_dir={killed.path}", "--checkpoint_every=1steps")
        wait_for(process, lambda before=before: set(killed.checkpoints.glob("epoch*")) - before)
        if number == 2:
            kill_while_writing(process, killed.checkpoints)
        else:
            time.sleep(moments.uniform(0, 0.3))
            process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert list(killed.checkpoints.glob(".partial-*")) or number != 2
    result = run_python(*command, f"--run_dir={killed.path}")
    assert result.returncode == 0, result.stderr
    assert "going on after epoch" in result.stdout

    assert numbers(killed) == numbers(whole)
    assert [path.name for path in killed.checkpoints.iterdir()] == ["epoch0020.npz"]
    with (
        np.load(whole.checkpoints / "epoch0020.npz") as a,
        np.load(killed.checkpoints / "epoch0020.npz") as b,
    ):
        assert set(a) == set(b)
        for key in set(a) - {"seconds"}:
            np.testing.assert_array_equal(a[key], b[key])
    best = zip(whole.load_model().weights, killed.load_model().weights, strict=True)
    assert all(np.array_equal(a, b) for a, b in best)
    # Killed between the report and the end, it has nothing to train, and ends.
    result = run_python("train.py", *command[2:], f"--run_dir={killed.path}")
    assert result.returncode == 0, result.stderr
    assert numbers(killed) == numbers(whole)
    assert killed.complete


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """`(run, flags, message)`: a training that Ctrl-C stopped, what began it, and what it said."""
    place = tmp_path_factory.mktemp("interrupted")
    flags = [*tiny_training(write_photos(place / "photos", count=40)), "--epochs=200"]
    run = runs.Run(place / "run")
    process = start("train.py", *flags, f"--run_dir={run.path}", "--checkpoint_every=1h")
    wait_for(process, run.history_rows)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    return run, flags, errors


def test_ctrl_c_saves_and_says_how_to_go_on(interrupted, tmp_path):
    run, flags, errors = interrupted
    asked, said = errors.strip().splitlines()
    assert asked == "Ctrl-C: finishing what is being computed; again to stop at once"
    where, epoch, step = re.fullmatch(
        r"stopped after (epoch (\d+)(?:, step (\d) of 10)?); the same command goes on", said
    ).groups()
    name = f"epoch{int(epoch) - 1:04d}_step{int(step):06d}.npz" if step else f"epoch{int(epoch):04d}.npz"
    assert [path.name for path in run.checkpoints.iterdir()] == [name]
    process = start("train.py", *flags, f"--run_dir={shutil.copytree(run.path, tmp_path / 'run')}")
    said = next(line for line in process.stdout if line.startswith("run "))
    process.kill()
    process.communicate()
    assert said.strip().endswith(f"going on after {where}")


def spoil(run, change):
    """Changes `config.json`."""
    record = json.loads(run.config_file.read_text())
    change(record)
    run.config_file.write_text(json.dumps(record))


@pytest.fixture
def stopped(interrupted, tmp_path):
    """`(run, flags)` of a run of one's own that can be gone on with."""
    run, flags, _ = interrupted
    return runs.Run(shutil.copytree(run.path, tmp_path / "run")), flags


def test_two_processes_in_one_run(stopped):
    run, flags = stopped
    config = TrainConfig(**{**run.config, "run_dir": str(run.path)})
    held = resume.unfinished(config)
    check_refused(
        run_python("train.py", *flags, f"--run_dir={run.path}"),
        f"{run.path}: another process is training here; wait for it, or choose another --run_dir",
    )
    held.lock.close()
    resume.unfinished(config).lock.close()


def test_two_processes_that_begin_one_run(photos, tmp_path):
    source = sources.open_source(str(photos), seed=0)
    config = TrainConfig(dataset=str(photos), run_dir=str(tmp_path / "run"))
    first = resume.create(config, source)
    with pytest.raises(UserError, match="another process is training here"):
        resume.create(config, source)
    first.lock.close()
    with pytest.raises(UserError, match="another process has just begun a run here"):
        resume.create(config, source)


def test_killed_while_it_began(tmp_path):
    (tmp_path / "labels.txt").write_text("can\n")
    (tmp_path / ".partial-1-config.json").write_text("{")
    assert resume.unfinished(TrainConfig(run_dir=str(tmp_path))) is None
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(UserError, match="exists and is not a run"):
        resume.unfinished(TrainConfig(run_dir=str(tmp_path)))


def test_a_half_written_row_of_the_history_is_no_row(tmp_path):
    run = runs.Run(tmp_path)
    run.history.write_text("epoch,loss\n0,1.5\n1,0.2")
    assert run.history_rows() == [{"epoch": 0, "loss": 1.5}]
    run.truncate_history(2)
    assert run.history.read_text().splitlines() == ["epoch,loss", "0,1.5"]


def check_kept(run, before):
    """That the checkpoint is as it was, and nothing half-written beside it."""
    assert checkpoints(run) == before
    assert not list(run.path.rglob(".partial-*"))


def checkpoints(run):
    return {path.name: path.read_bytes() for path in run.checkpoints.iterdir()}


def test_a_full_disk(interrupted, small_disk, tmp_path):
    original, flags, _ = interrupted
    size = sum(path.stat().st_size for path in original.path.rglob("*") if path.is_file())
    run = runs.Run(tmp_path / "disk" / "run")
    small_disk(run.path.parent, f"size={size + 600_000}")
    shutil.copytree(original.path, run.path)
    before = checkpoints(run)
    result = run_python("train.py", *flags, f"--run_dir={run.path}", "--checkpoint_every=1steps")
    check_refused(result, f"{run.path}: cannot be written (No space left on device); mend that, and the same")
    check_kept(run, before)


def test_a_file_that_cannot_grow(stopped):
    """What a quota does; the checkpoint is the largest file."""
    run, flags = stopped
    before = checkpoints(run)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    result = run_python("train.py", *flags, f"--run_dir={run.path}", preexec_fn=limit)
    check_refused(result, f"{run.path}: cannot be written (File too large)")
    check_kept(run, before)


def test_a_read_only_folder(interrupted, small_disk, tmp_path):
    original, flags, _ = interrupted
    disk = tmp_path / "disk"
    small_disk(disk, "size=20m")
    shutil.copytree(original.path, disk / "run")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    for name in ("run", "new"):
        result = run_python("train.py", *flags, f"--run_dir={disk / name}")
        check_refused(result, f"{disk / name}: cannot be written (Read-only file system)")


def test_a_run_of_an_older_version_goes_on(stopped):
    run, flags = stopped

    def older(record):
        del record["config"]["deterministic"], record["config"]["checkpoint_every"]
        record["versions"] |= {"keras": "3.14.0", "platform": "another kernel"}

    spoil(run, older)
    process = start("train.py", *flags, f"--run_dir={run.path}")
    rows = len(run.history_rows())
    wait_for(process, lambda: len(run.history_rows()) > rows)
    process.kill()
    _, errors = process.communicate()
    assert errors.startswith("warning: begun with keras 3.14.0: it may go on a little differently")


def test_a_setting_that_this_version_does_not_know_is_refused(stopped):
    run, flags = stopped
    spoil(run, lambda record: record["config"].update(momentum=0.5))
    check_refused(
        run_python("train.py", *flags, f"--run_dir={run.path}"),
        f"--run_dir={run.path}: was begun with --momentum=0.5, which this version does not know",
    )


def test_a_checkpoint_with_other_variables_is_refused(tmp_path):
    model = compiled(1)
    callback = callbacks.Checkpoint(tmp_path, callbacks.Progress(4, epoch=1), "1h")
    callback.set_model(model)
    callback.write()
    with np.load(tmp_path / "epoch0001.npz") as values:
        more = {**values, "model99999": np.zeros(3)}
    np.savez(tmp_path / "epoch0001.npz", **more)
    with pytest.raises(UserError, match="epoch0001.npz: damaged, or written by another version; remove"):
        callbacks.restore(compiled(1), tmp_path, 4)


def compiled(seed):
    """A small network with all that a checkpoint must hold."""
    keras.utils.set_random_seed(seed)
    parts = [keras.layers.Dense(16), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)]
    model = keras.Sequential([keras.Input([8]), *parts, keras.layers.Dense(3)])
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(1e-2), loss, metrics=["accuracy"])
    return model


class CtrlC(keras.callbacks.Callback):
    """Comes `times` after so many steps."""

    def __init__(self, steps, times=1):
        super().__init__()
        self.steps = steps
        self.times = times

    def on_train_batch_end(self, batch, logs=None):
        self.steps -= 1
        for _ in range(0 if self.steps else self.times):
            signal.raise_signal(signal.SIGINT)


def fit(model, folder, progress, every, ctrl_c=None):
    """Three epochs of four steps."""
    rng = np.random.default_rng(0)
    examples = rng.normal(size=(96, 8)).astype(np.float32)
    dataset = tf.data.Dataset.from_tensor_slices((examples, np.eye(3, dtype=np.float32)[np.arange(96) % 3]))
    checkpoint = callbacks.Checkpoint(folder, progress, every)
    interruption = callbacks.Interruption(checkpoint)
    with interruption.listening():
        return model.fit(
            dataset.batch(8).skip(progress.steps),
            epochs=3,
            initial_epoch=progress.epoch,
            steps_per_epoch=4,
            shuffle=False,
            verbose=0,
            callbacks=[progress, *filter(None, [ctrl_c]), checkpoint, interruption],
        ).history


@pytest.fixture
def listens():
    """As in a terminal; a process that a shell started in the background ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    model = compiled(1)
    return model, fit(model, tmp_path_factory.mktemp("whole"), callbacks.Progress(4), "1h")


@pytest.mark.parametrize(
    ("every", "ctrl_c", "said", "name"),
    [
        (
            "1h",
            CtrlC(3),
            "stopped after epoch 1, step 3 of 4; the same command goes on",
            "epoch0000_step000003",
        ),
        ("1h", CtrlC(4), "stopped after epoch 1; the same command goes on", "epoch0001"),
        (
            "1h",
            CtrlC(6),
            "stopped after epoch 2, step 2 of 4; the same command goes on",
            "epoch0001_step000002",
        ),
        ("1h", CtrlC(7, times=2), "", "epoch0001"),
        ("2steps", CtrlC(7, times=2), "", "epoch0001_step000002"),
        ("0s", CtrlC(7, times=2), "", "epoch0001_step000002"),
    ],
)
@pytest.mark.usefixtures("listens")
def test_an_epoch_goes_on_in_its_middle_with_its_metrics(whole, tmp_path, every, ctrl_c, said, name):
    with pytest.raises(KeyboardInterrupt) as caught:
        fit(compiled(1), tmp_path, callbacks.Progress(4), every, ctrl_c)
    assert "".join(caught.value.args) == said
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.npz"]
    model = compiled(99)
    found = fit(model, tmp_path, callbacks.restore(model, tmp_path, 4), "1h")
    expected, history = whole
    assert len(found["loss"]) == 3 - int(name[5:9])
    for key, values in found.items():
        np.testing.assert_allclose(values, history[key][-len(values) :], rtol=1e-5)
    for a, b in zip(expected.variables, model.variables, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5, err_msg=a.path)


def test_a_loss_far_above_guessing_has_diverged():
    progress = callbacks.Progress(10, epoch=2, step=7)
    watch = callbacks.Diverged(progress, highest=100.0)
    watch.set_model(compiled(1))
    watch.on_train_batch_end(7, {"loss": 99.0})
    for loss, said in ((101.0, "101"), (np.nan, "infinite or no number"), (np.inf, "infinite or no number")):
        with pytest.raises(UserError) as caught:
            watch.on_train_batch_end(7, {"loss": loss})
        assert str(caught.value) == (
            f"the loss became {said} in epoch 3, step 7 of 10, at a learning rate of 0.01; "
            "what was good before is kept, try a lower --learning_rate in another --run_dir"
        )


def test_weights_that_are_no_numbers_replace_no_checkpoint(tmp_path):
    model = compiled(1)
    callback = callbacks.Checkpoint(tmp_path, callbacks.Progress(4, epoch=1), "1h")
    callback.set_model(model)
    callback.write()
    model.trainable_variables[3].assign(keras.ops.full_like(model.trainable_variables[3], np.nan))
    callback.progress.epoch = 2
    with pytest.raises(
        UserError, match="a weight became infinite or no number in epoch 2, at a learning rate"
    ):
        callback.write()
    assert [path.name for path in tmp_path.iterdir()] == ["epoch0001.npz"]


def test_patience_ends_a_training_also_if_it_was_killed_then(photos, tmp_path):
    """At a rate of nothing no epoch is better than the first but by chance."""
    run = runs.Run(tmp_path / "run")
    flags = [*tiny_training(photos), "--learning_rate=1e-9", "--epochs=50", "--patience=2"]
    result = run_python("-c", KEEPING_THE_LAST_CHECKPOINT, *flags, f"--run_dir={run.path}")
    assert result.returncode == 0, result.stderr
    rows = run.history_rows()
    assert 3 <= len(rows) < 50
    assert f"no better model for 2 epochs: training ends after epoch {len(rows)}\n" in result.stdout
    assert not run.complete
    result = run_python("train.py", *flags, f"--run_dir={run.path}")
    assert result.returncode == 0, result.stderr
    assert run.history_rows() == rows
    assert run.complete


def test_durations():
    assert duration("5m") == (300, "seconds")
    assert duration("1.5h") == (5400, "seconds")
    assert duration("30s") == (30, "seconds")
    assert duration("500steps") == (500, "steps")
    for text in ("5", "m", "-1m", "5 m", "3epochs"):
        with pytest.raises(UserError, match=f"--checkpoint_every={text}: expected a number and m or h or s"):
            TrainConfig(checkpoint_every=text)

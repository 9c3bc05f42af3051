"""An export is one transaction: after a failure, an interrupt or a kill, everything is as before."""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys

import pytest

from export import staging, tflite
from recycle_tf import files, runs
from recycle_tf.errors import UserError
from tests.conftest import ROOT
from tests.export.conftest import check_error, check_whole, content_of, export, succeed

KILLED_AT = """
import functools, itertools, os, pathlib, shutil, signal, sys
from export import staging
from recycle_tf import files, runs

run, fatal = runs.Run(pathlib.Path(sys.argv[1])), int(sys.argv[2])
calls = itertools.count()


def counted(function):
    @functools.wraps(function)
    def call(*arguments, **options):
        if next(calls) == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)

    return call


for owner, name in ((os, "link"), (os, "mkdir"), (os, "rename"), (os, "unlink"), (os, "rmdir")):
    setattr(owner, name, counted(getattr(owner, name)))
with staging.locked(run), files.replacing_folder(run.export) as folder:
    staging.copy(run.export, folder, ["spec.json"])
    (folder / "one").unlink()
    (folder / "one").write_text("new")
    os.mkdir(folder / "three")
    (folder / "three" / "file").write_text("new")
    (folder / "spec.json").write_text("new")
"""
"""Replaces an export folder; is killed when it changes the disk for the given time."""


@pytest.fixture
def run(tmp_path):
    """A run folder whose export folder has some files."""
    (tmp_path / "run" / "export" / "two").mkdir(parents=True)
    (tmp_path / "run" / "config.json").write_text("{}")
    for name in ("one", "two/file", "spec.json"):
        (tmp_path / "run" / "export" / name).write_text("old")
    return runs.Run(tmp_path / "run")


@contextlib.contextmanager
def replacing(run, without=()):
    """As an export does it."""
    with files.replacing_folder(run.export) as folder:
        staging.copy(run.export, folder, without)
        yield folder


def read(run):
    folder = run.export
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()}


OLD = {"one": "old", "two/file": "old", "spec.json": "old"}
NEW = {"one": "new", "two/file": "old", "three/file": "new", "spec.json": "new"}


def test_a_process_killed_at_any_point_leaves_the_old_or_the_new_folder(run):
    found = []
    for fatal in itertools.count():
        process = subprocess.run(
            [sys.executable, "-c", KILLED_AT, run.path, str(fatal)], cwd=ROOT, capture_output=True, text=True
        )
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, process.stderr
        assert read(run) in (OLD, NEW)
        with staging.locked(run):  # as the next export does
            found.append(read(run))
        assert found[-1] in (OLD, NEW)
        assert {path.name for path in run.path.iterdir()} == {"config.json", "export"}
        shutil.rmtree(run.export)
        for name, text in OLD.items():
            (run.export / name).parent.mkdir(parents=True, exist_ok=True)
            (run.export / name).write_text(text)
    assert read(run) == NEW
    assert {path.name for path in run.path.iterdir()} == {"config.json", "export"}
    # Killed before the folder was complete, and while the old one was deleted.
    assert found.count(OLD) > 5
    assert found.count(NEW) > 3


def test_an_error_changes_nothing(run):
    def broken():
        with staging.locked(run), replacing(run) as folder:
            shutil.rmtree(folder / "two")
            (folder / "missing").unlink()

    with pytest.raises(FileNotFoundError):
        broken()
    assert read(run) == OLD
    assert {path.name for path in run.path.iterdir()} == {"config.json", "export"}


def test_the_first_export(run):
    shutil.rmtree(run.export)
    with staging.locked(run), replacing(run) as folder:
        (folder / "one").write_text("new")
    assert read(run) == {"one": "new"}


def test_without_hard_links(run, monkeypatch):
    def link(source, target, **options):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    with staging.locked(run), replacing(run) as folder:
        (folder / "one").write_text("new")
    assert read(run) == OLD | {"one": "new"}


def test_an_export_folder_that_is_a_link(run, tmp_path):
    run.export.rename(tmp_path / "elsewhere")
    run.export.symlink_to(tmp_path / "elsewhere")
    with staging.locked(run), replacing(run) as folder:
        (folder / "one").unlink()
    assert run.export.is_symlink()
    assert "one" not in read(run)


def test_one_export_of_a_run_at_a_time(run):
    code = (
        "import pathlib, sys; from export import staging; from recycle_tf import runs\n"
        f"with staging.locked(runs.Run(pathlib.Path({str(run.path)!r}))):\n"
        "    print('locked', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(UserError, match=f"{run.path}: another process"), staging.locked(run):
            pass
        process.kill()
    with staging.locked(run):
        assert read(run) == OLD


def start(run, *flags):
    """Starts the command in another process, with Ctrl-C as in a terminal."""
    return subprocess.Popen(
        [sys.executable, "-m", "export", f"--run={run}", "--max_drop=100", *flags],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A process that a shell started in the background ignores Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def read_until(process, words):
    for line in process.stdout:
        if line.startswith(words):
            return
    pytest.fail(process.stderr.read())


def interrupt(run, stop, words):
    """Interrupts an export of two formats once it has printed some words; another one runs beside it."""
    before = content_of(run / "export")
    process = start(run, "--formats=tflite_float32,tflite_float16", "--author=Another")
    read_until(process, words)
    check_error(export(run, "--formats=tflite_float32"), run, "another process")
    process.send_signal(stop)
    _, errors = process.communicate(timeout=240)
    assert content_of(run / "export") == before
    if stop == signal.SIGINT:
        assert process.returncode == 130
        assert errors.strip().splitlines()[-1] == "interrupted"
        check_whole(run)
    succeed(run, "--formats=tflite_float16", "--author=Another")
    check_whole(run)
    return before


def test_a_kill_after_the_first_of_two_formats_changes_nothing(copy):
    succeed(copy, "--formats=tflite_float32")
    before = interrupt(copy, signal.SIGKILL, "tflite_float32")
    after = content_of(copy / "export")
    assert after["model_float32.tflite"] == before["model_float32.tflite"]
    assert "model_float16.tflite" in after


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("words", ["tflite_float32", "tflite_float16"])
@pytest.mark.parametrize("earlier", [True, False])
def test_interrupted_at_several_points(copy, stop, words, earlier):
    if earlier:
        succeed(copy, "--formats=tflite_float32,tflite_dynamic", "--max_drop=100")
    interrupt(copy, stop, words)


@pytest.mark.slow
def test_two_exports_at_once(copy):
    processes = [start(copy, "--formats=tflite_float32") for _ in range(2)]
    errors = [process.communicate(timeout=240)[1] for process in processes]
    statuses = [process.returncode for process in processes]
    # The second is refused, unless the first has finished before it begins.
    assert 0 in statuses
    for status, text in zip(statuses, errors, strict=True):
        assert status == 0 or "another process" in text
    check_whole(copy)


def test_an_error_while_exporting_changes_nothing(copy, monkeypatch):
    succeed(copy, "--formats=tflite_float32")
    before = content_of(copy / "export")

    def broken(*arguments, **options):
        raise RuntimeError("broken")

    monkeypatch.setattr(tflite, "write", broken)
    with pytest.raises(RuntimeError, match="broken"):
        export(copy, "--formats=tflite_float32", "--author=Another")
    assert content_of(copy / "export") == before
    check_whole(copy)

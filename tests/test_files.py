"""A file or folder under its final name is complete."""

import errno
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from recycle_tf import files
from recycle_tf.errors import UserError
from tests.conftest import ROOT


@pytest.fixture(params=["at once", "two renames"])
def exchange(request, monkeypatch):
    """Both ways to exchange folders."""
    if request.param == "two renames":
        monkeypatch.setattr(files, "_exchange_at_once", lambda one, other: False)
    return request.param


@pytest.fixture
def dead():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def make(folder, text):
    folder.mkdir()
    (folder / "file").write_text(text)
    return folder


def test_a_file_is_replaced_when_the_block_succeeds(tmp_path):
    path = tmp_path / "model.keras"
    path.write_text("before")
    with files.replacing(path) as temporary:
        temporary.write_text("after")
        assert path.read_text() == "before"
        assert temporary.suffix == path.suffix
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "model.keras"
    path.write_text("before")
    with pytest.raises(ZeroDivisionError), files.replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        1 / 0  # noqa: B018
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("before", ["before", None])
def test_a_folder_is_replaced_when_the_block_succeeds(tmp_path, exchange, before):
    path = tmp_path / "report"
    if before:
        make(path, before)
        (path / "more").write_text("more")
    with files.replacing_folder(path) as new:
        assert not list(new.iterdir())
        (new / "file").write_text("after")
        assert not before or (path / "file").read_text() == before
    assert (path / "file").read_text() == "after"
    assert names(path) == ["file"]
    assert names(tmp_path) == ["report"]


def test_a_failure_leaves_the_earlier_folder(tmp_path, exchange):
    path = make(tmp_path / "report", "before")
    with pytest.raises(ZeroDivisionError), files.replacing_folder(path) as new:  # noqa: PT012
        (new / "file").write_text("half")
        1 / 0  # noqa: B018
    assert (path / "file").read_text() == "before"
    assert names(tmp_path) == ["report"]


def test_a_failure_between_two_renames_is_undone(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_exchange_at_once", lambda one, other: False)
    path, rename = make(tmp_path / "report", "before"), os.rename

    def failing(source, target):
        if pathlib.Path(target) == path and files.PARTIAL in str(source):
            raise OSError("disk")
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OSError, match="disk"), files.replacing_folder(path):
        pass
    assert (path / "file").read_text() == "before"
    assert names(tmp_path) == ["report"]


def test_a_link_to_a_folder_stays_a_link(tmp_path, exchange):
    make(tmp_path / "elsewhere", "before")
    path = tmp_path / "report"
    path.symlink_to(tmp_path / "elsewhere")
    with files.replacing_folder(path) as new:
        (new / "file").write_text("after")
    assert path.is_symlink()
    assert (path / "file").read_text() == "after"
    assert names(tmp_path) == ["elsewhere", "report"]


@pytest.mark.skipif(sys.platform != "linux", reason="another system call elsewhere")
def test_a_file_system_that_cannot_exchange(tmp_path, monkeypatch):
    path = make(tmp_path / "report", "before")
    monkeypatch.setattr(files, "_RENAME_EXCHANGE", 1 << 20)  # no such flag
    with files.replacing_folder(path) as new:
        (new / "file").write_text("after")
    assert (path / "file").read_text() == "after"
    assert names(tmp_path) == ["report"]


@pytest.mark.skipif(sys.platform != "linux", reason="another system call elsewhere")
def test_an_exchange_that_fails(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        files._exchange_at_once(tmp_path / "one", tmp_path / "other")
    assert caught.value.errno == errno.ENOENT
    assert caught.value.filename == str(tmp_path / "other")


KILLED = """
import os, pathlib, shutil, signal, sys
from recycle_tf import files

path, owner, name, fatal = pathlib.Path(sys.argv[1]), *sys.argv[2:4], int(sys.argv[4])
owner = {"os": os, "shutil": shutil}[owner]
function, calls = getattr(owner, name), []

def counted(*arguments, **options):
    calls.append(name)
    if len(calls) == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
    return function(*arguments, **options)

if sys.argv[5] == "two renames":
    files._exchange_at_once = lambda one, other: False
setattr(owner, name, counted)
with files.replacing_folder(path) as new:
    (new / "file").write_text("after")
"""


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
@pytest.mark.parametrize(
    ("how", "place", "expected"),
    [
        ("at once", "shutil rmtree 1", "after"),
        ("two renames", "os rename 1", "before"),
        ("two renames", "os rename 2", "before"),
        ("two renames", "os rename 3", "after"),
        ("two renames", "shutil rmtree 1", "after"),
    ],
)
def test_a_killed_process_leaves_the_old_or_the_new_folder(tmp_path, how, place, expected):
    path = make(tmp_path / "report", "before")
    process = subprocess.run([sys.executable, "-c", KILLED, path, *place.split(), how], cwd=ROOT, check=False)
    assert process.returncode == -signal.SIGKILL
    assert path.exists() or how == "two renames"
    assert len(names(tmp_path)) == 2 - (place == "os rename 1" and how == "at once")
    files.recover(tmp_path, "report")
    assert (path / "file").read_text() == expected
    assert names(tmp_path) == ["report"]


def test_what_dead_processes_were_writing_is_removed(tmp_path, dead):
    for name in (
        f".partial-{dead}-table.csv",
        f".partial-{os.getpid()}-table.csv",
        f".partial-{dead}-a-table.csv",
    ):
        (tmp_path / name).write_text("half")
    alive = make(tmp_path / f".partial-{os.getppid()}-table.csv", "half")
    make(tmp_path / f".partial-{dead}-report", "half")
    others = make(tmp_path / ".partial-mine", "not ours")
    with files.replacing(tmp_path / "table.csv") as temporary:
        temporary.write_text("whole")
    assert names(tmp_path) == sorted(
        ["table.csv", alive.name, others.name, f".partial-{dead}-a-table.csv", f".partial-{dead}-report"]
    )
    files.recover(tmp_path)
    assert names(tmp_path) == sorted(["table.csv", alive.name, others.name])


def test_nothing_to_recover(tmp_path):
    files.recover(tmp_path / "missing")
    files.recover(tmp_path, "report")


def test_a_folder_is_removed(tmp_path):
    path = make(tmp_path / "checkpoints", "x")
    files.remove_folder(path)
    files.remove_folder(path)
    assert not list(tmp_path.iterdir())


def test_errors_of_the_file_system_are_one_line(tmp_path):
    with pytest.raises(UserError) as caught, files.writing(f"`csv={tmp_path}`"):
        tmp_path.write_text("a folder")
    assert str(caught.value) == f"`csv={tmp_path}`: cannot be written ({os.strerror(errno.EISDIR)})"


@pytest.mark.parametrize("error", [OSError("a\nb"), MemoryError(), KeyError("layers"), Exception("x" * 1000)])
def test_whatever_a_file_causes_is_one_line(error):
    with pytest.raises(UserError) as caught, files.reading("`weights=x.h5`", "convert it"):
        raise error
    assert str(caught.value).startswith("`weights=x.h5`: cannot be read")
    assert type(error).__name__ in str(caught.value)
    assert str(caught.value).endswith("; convert it")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert caught.value.__cause__ is error


def test_what_is_said_already_is_not_said_again():
    with pytest.raises(UserError, match="^mine$"), files.reading("x"):
        raise UserError("mine")
    with pytest.raises(KeyboardInterrupt), files.reading("x"):
        raise KeyboardInterrupt

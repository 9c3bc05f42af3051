"""The states that a kill can leave on disk, and what must hold in each of them."""

import csv
import dataclasses
import functools
import hashlib
import json
import pathlib
import zipfile

import numpy as np
from PIL import Image

from recycle_tf import runs
from recycle_tf.data import splits
from recycle_tf.evaluation import litert
from recycle_tf.files import PARTIAL
from tests.crash import server


@dataclasses.dataclass(frozen=True)
class State:
    """A copy of a folder as a kill leaves it.

    Attributes:
        name: number of the file operation before which the process was killed, `end`, or, for a kill within
            a write, the file that is torn.
        folder: the copy.
    """

    name: str
    folder: pathlib.Path


def record(fork_server, command, watch, place):
    """Runs a command and records the states that a kill could leave.

    Args:
        fork_server: a `server.ForkServer`.
        command: the command line.
        watch: the folder it writes.
        place: empty folder for the copies.

    Returns:
        A list of different `State`s, in order, the last after the command has ended; and the number of file
        operations.
    """
    snapshots = place / "snapshots"
    snapshots.mkdir(parents=True)
    status = fork_server.run(command, watch=watch, snapshots=snapshots)
    assert status == 0, fork_server.last_lines
    server.copy(watch, snapshots / "end")
    *folders, end = sorted(snapshots.iterdir())
    found, contents = [], []
    for folder in [*folders, end]:
        now = server.content(folder)
        # The end may be what it started from, where a command writes the same files again.
        if now in contents and folder is not end:
            continue
        if contents:
            found += torn(found[-1].folder, contents[-1], folder, now, place / "torn")
        found.append(State(folder.name, folder))
        contents.append(now)
    return found, len(folders)


def torn(before, content_before, after, content_after, place):
    """States within a write: each file under a final name that was written, with half of what was added.

    The audit hook sees when a file is opened, not when it is written, and sees nothing of files that C++ code
    writes. Between two of its snapshots a write can have been cut off anywhere; half of it stands for that.
    """
    found = []
    for name, digest in content_after.items():
        unchanged = content_before.get(name) == digest
        renamed = digest in content_before.values()
        if digest is None or unchanged or renamed or PARTIAL in name:
            continue
        new = (after / name).read_bytes()
        old = (before / name).read_bytes() if content_before.get(name) else b""
        kept = len(old) if new.startswith(old) else 0
        if len(new) - kept < 2:
            continue
        folder = place / f"{after.name}-{len(found)}"
        server.copy(after, folder)
        (folder / name).write_bytes(new[: (kept + len(new)) // 2])
        found.append(State(f"{after.name}, half of {name} written", folder))
    return found


def problems(folder):
    """What is not whole under a final name, a list of texts; empty if all is well."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_dir() or PARTIAL in str(path.relative_to(folder)):
            continue
        try:
            _check_file(path)
        except Exception as error:
            found.append(f"{path.relative_to(folder)}: {type(error).__name__}: {error}")
    for run in (path.parent for path in folder.rglob("config.json")):
        found += _run_problems(runs.Run(run))
    return found


def leftovers(folder):
    """Temporary files and folders."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(f"{PARTIAL}*"))


def names(folder):
    """Relative names of all files, without the times in the names of TensorBoard's files."""
    files = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted({name.partition("events.out.tfevents")[0] for name in files})


def _check_file(path):
    check = {
        ".json": lambda path: json.loads(path.read_text(encoding="utf-8")),
        ".jsonl": lambda path: [json.loads(line) for line in path.read_bytes().splitlines()],
        ".npz": _check_npz,
        ".png": _check_png,
        ".csv": _check_csv,
        ".html": _check_html,
        ".tflite": _check_tflite,
        ".keras": lambda path: _check_keras(path, hashlib.sha256(path.read_bytes()).hexdigest()),
    }.get(path.suffix)
    if check:
        check(path)


def _check_npz(path):
    with np.load(path, allow_pickle=False) as values:
        for key in values:
            values[key]


def _check_png(path):
    with Image.open(path) as image:
        image.load()


def _check_csv(path):
    if path.name == "history.csv":
        # Its last line may be cut off; whoever reads it leaves that line out.
        runs.Run(path.parent).history_rows()
    elif path.name == "split.csv" and not path.with_name("config.json").is_file():
        # Not a run yet: the file is written again.
        pass
    elif path.name in ("split.csv", "manifest.csv"):
        splits.read_manifest(path)
    else:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        assert len({len(row) for row in rows}) == 1, "a row is cut off"


def _check_html(path):
    text = path.read_text(encoding="utf-8").rstrip()
    assert text.startswith("<!doctype html>"), "no page"
    assert text.endswith(">"), "cut off"


def _check_tflite(path):
    litert.open_interpreter(path)
    with zipfile.ZipFile(path) as associated:
        assert associated.testzip() is None


@functools.cache
def _check_keras(path, digest):
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
    runs.Run(path.parent).load_model()


def _run_problems(run):
    found = []
    if run.labels_file.read_text(encoding="utf-8").split("\n") != [*run.labels, ""]:
        found.append("labels.txt is not that of config.json")
    if not isinstance(run.config["epochs"], str) or not run.fingerprint:
        found.append("config.json is incomplete")
    if run.calibration_file.exists() and not run.calibration["temperature"] > 0:
        found.append("calibration.json is incomplete")
    report = run.report
    if report.exists():
        there = {path.name for path in report.iterdir()}
        missing = {"metrics.json", "report.html", "per_class.csv", "worst_mistakes.png"} - there
        if missing:
            found.append(f"report/ is incomplete: no {', '.join(sorted(missing))}")
    spec = run.export / "spec.json"
    if spec.is_file():
        found += _export_problems(run.export, json.loads(spec.read_text(encoding="utf-8")))
    return found


def _export_problems(export, spec):
    """Artifacts that are not those that spec.json, which an app trusts, describes."""
    found = []
    for name, digest in spec["files"].items():
        path = export / name
        if not path.is_file():
            found.append(f"export/{name} is in spec.json and not there")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            found.append(f"export/{name} has another digest than in spec.json")
    return found

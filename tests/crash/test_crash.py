"""Commands are killed at their file operations: what stands under a final name is whole, and a rerun works.

One run of a command, in a forked child, records the folder before every file operation: exactly what SIGKILL
leaves there. Every such state is checked. From some of them, in the short form, or from all (`make crash`)
the command is run again. That a recorded state is what a kill leaves is tested with a real kill.

`CRASH_RERUNS`: number of states of each command from which it is rerun, or `all`.
"""

import functools
import os
import re
import shutil
import sys

import numpy as np
import pytest

from recycle_tf import runs
from recycle_tf.files import PARTIAL
from tests.conftest import tiny_training, write_photos
from tests.crash import server, states

RERUNS = os.environ.get("CRASH_RERUNS", "2")

OTHERS = ("shifts", "predict", "audit", "export")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(scope="module")
def fork_server(tmp_path_factory):
    with server.ForkServer(tmp_path_factory.mktemp("output") / "log.txt") as running:
        yield running


class Recorded:
    """A command, what it started from, and the states that a kill could leave."""

    def __init__(self, fork_server, command, watch, place):
        self.fork_server, self.command, self.watch = fork_server, command, watch
        self.start = place / "start"
        server.copy(watch, self.start)
        self.states, self.operations = states.record(fork_server, command, watch, place)
        torn = sum("half" in state.name for state in self.states)
        print(
            f"\n{command[0]}: {self.operations} file operations, {len(self.states) - torn} different states, "
            f"{torn} torn writes"
        )

    @property
    def end(self):
        """The state that was not interrupted."""
        return self.states[-1].folder

    def problems(self):
        """`{state: problems}` of states that are not whole."""
        found = {state.name: states.problems(state.folder) for state in self.states}
        return {name: problems for name, problems in found.items() if problems}

    def put(self, folder):
        """Makes the watched folder a copy of another."""
        shutil.rmtree(self.watch)
        server.copy(folder, self.watch)

    def rerun(self, found, differs=lambda state, end, now: []):
        """Runs the command again from each of some states.

        Args:
            found: the states.
            differs: compares the state, the uninterrupted end and the present folder; gives a list of
                differences.

        Returns:
            `{state: what is wrong}`, and `{state: temporary files that are still there}`.
        """
        wrong, leftovers = {}, {}
        for state in found:
            self.put(state.folder)
            status = self.fork_server.run(self.command)
            problems = [f"status {status}: {self.fork_server.last_lines}"] if status else []
            problems += states.problems(self.watch)
            expected, names = (
                [name for name in states.names(folder) if PARTIAL not in name]
                for folder in (self.end, self.watch)
            )
            if names != expected:
                problems.append(f"files are {names}, not {expected}")
            problems += differs(state.folder, self.end, self.watch) if not problems else []
            if problems:
                wrong[state.name] = problems
            if states.leftovers(self.watch):
                leftovers[state.name] = states.leftovers(self.watch)
        return wrong, leftovers


def chosen(found):
    """Evenly spread ones of a list of states."""
    if RERUNS == "all":
        return found
    places = np.linspace(0, len(found) - 1, int(RERUNS) + 2)[1:-1]
    return [found[round(place)] for place in places]


def in_report(state):
    """Whether a state is within the writing of a report."""
    return any((state.folder / "run").glob(f"{PARTIAL}*-report"))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder `watched` for what is written; photographs are in it, since a manifest must lie above them."""
    place = tmp_path_factory.mktemp("crash")
    write_photos(place / "watched" / "photos", count=8)
    return place


@pytest.fixture(scope="module")
def training(fork_server, place):
    """Two epochs with checkpoints in between, averaged weights and TensorBoard, in `watched/run`."""
    command = [
        "train",
        *tiny_training(place / "watched" / "photos"),
        "--overrides=filters=4",
        "--batch_size=4",
        "--epochs=2",
        "--ema=0.9",
        "--checkpoint_every=2steps",
        f"--run_dir={place / 'watched' / 'run'}",
    ]
    return Recorded(fork_server, command, place / "watched", place / "train")


@pytest.fixture(scope="module")
def recorded(training, fork_server, place):
    """Records another command on a finished run that holds what the same command wrote before."""

    @functools.cache
    def make(name):
        training.put(training.end)
        run = f"--run={place / 'watched' / 'run'}"
        command = {
            "evaluate": ["evaluate", run],
            "shifts": ["evaluate", run, "--shift=dim,noise"],
            "export": ["export", run, "--formats=tflite_float32"],
            "predict": [
                "predict",
                f"--model={place / 'watched' / 'run'}",
                f"--sheet={place / 'watched' / 'sheet.png'}",
                f"--csv={place / 'watched' / 'answers.csv'}",
                f"--json={place / 'watched' / 'answers.json'}",
                f"--jsonl={place / 'watched' / 'answers.jsonl'}",
                place / "watched" / "photos",
            ],
            "audit": [
                "audit",
                f"--dataset={place / 'watched' / 'photos'}",
                f"--out={place / 'watched' / 'audit'}",
                f"--manifest={place / 'watched' / 'manifest.csv'}",
            ],
        }[name]
        # An export of the same model writes the same bytes; its author stands in the files.
        before = ["--author=before"] if name == "export" else []
        assert fork_server.run([*command, *before]) == 0, fork_server.last_lines
        return Recorded(fork_server, command, place / "watched", place / name)

    return make


def history_differences(state, end, now):
    """Differences of a rerun from the run that was not interrupted; figures may differ by rounding."""
    if (state / "run" / "report" / "metrics.json").is_file():
        # Training had ended: the times in this file are those of that training.
        first, second = ((folder / "run" / "history.csv").read_text() for folder in (state, now))
        return [] if first == second else ["trained again although it had ended"]
    before, after = (runs.Run(folder / "run").history_rows() for folder in (end, now))
    if len(before) != len(after):
        return [f"{len(after)} epochs instead of {len(before)}"]
    pairs = [(a["val_loss"], b["val_loss"]) for a, b in zip(before, after, strict=True)]
    return [f"val_loss {b} instead of {a}" for a, b in pairs if abs(a - b) > 1e-3 * abs(a)]


def test_training_leaves_whole_files(training):
    assert not training.problems()


def test_training_is_resumed(training):
    found = [state for state in training.states if not in_report(state)]
    wrong, leftovers = training.rerun(chosen(found), history_differences)
    assert not wrong
    assert not leftovers


def test_training_that_had_ended_is_not_repeated(training):
    found = [state for state in training.states[:-1] if not in_report(state)]
    (ended,) = [state for state in found if (state.folder / "run" / "report" / "metrics.json").is_file()][-1:]
    wrong, _ = training.rerun([ended], history_differences)
    assert not wrong


def test_training_killed_in_its_report_is_resumed(training):
    found = [state for state in training.states if in_report(state)]
    wrong, leftovers = training.rerun(found if RERUNS == "all" else found[1:2], history_differences)
    assert not wrong
    assert not leftovers


def without_process(name):
    return re.sub(r"\.partial-\d+-", ".partial-", name)


def test_a_recorded_state_is_what_a_kill_leaves(training):
    operation = training.operations // 2
    training.put(training.start)
    assert training.fork_server.run(training.command, watch=training.watch, kill_at=operation) == -9
    recorded = training.start.parent / "snapshots" / f"{operation:05d}"
    # The name of a file that is being written has the number of its process.
    assert [*map(without_process, states.names(training.watch))] == [
        *map(without_process, states.names(recorded))
    ]
    # Other files have times in them.
    for name in ("run/labels.txt", "run/split.csv"):
        assert server.content(training.watch)[name] == server.content(recorded)[name]
    assert not states.problems(training.watch)


COMMANDS = ["evaluate", *(pytest.param(n, marks=pytest.mark.slow) for n in OTHERS)]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_leaves_whole_files(recorded, name):
    assert not recorded(name).problems()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_rerun(recorded, name):
    command = recorded(name)
    wrong, leftovers = command.rerun(chosen(command.states))
    assert not wrong
    assert not leftovers


@pytest.mark.parametrize("name", COMMANDS)
def test_a_rerun_removes_what_a_killed_command_left(recorded, name):
    command = recorded(name)
    (found, *_) = [state for state in command.states if states.leftovers(state.folder)]
    _, leftovers = command.rerun([found])
    assert not leftovers


@pytest.mark.skipif(sys.platform != "linux", reason="needs an exchange of two folders in one step")
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("evaluate", "report/metrics.json"),
        pytest.param("export", "export/spec.json", marks=pytest.mark.slow),
        pytest.param("shifts", "report-shifts/shifts.json", marks=pytest.mark.slow),
    ],
)
def test_what_was_there_before_is_there_until_the_new_one_is(recorded, name, file):
    missing = [state.name for state in recorded(name).states if not (state.folder / "run" / file).is_file()]
    assert not missing

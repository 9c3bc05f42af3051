"""Memory and open files over a long training run and over many predictions: neither grows.

The process that does the work is measured from outside. Warm-up is what it allocates once and keeps:
TensorFlow compiles its functions in the first epoch, allocators grow to their working size in the next ones,
and the first images of `predict` fill its queues. So the first tenth of the work is left out: the median of
the second tenth is compared with that of the last. What the first epoch ended with is printed beside them.

`SOAK_EPOCHS`: epochs of the training run, default 200. `SOAK_FILES`: files to predict, default 100,000.
"""

import dataclasses
import os
import statistics
import subprocess
import sys
import time

import psutil
import pytest

from tests.conftest import ROOT, tiny_training, write_photos

EPOCHS = int(os.environ.get("SOAK_EPOCHS", "200"))
FILES = int(os.environ.get("SOAK_FILES", "100000"))

GROWTH = 0.05
"""Part by which memory may differ between the second tenth and the last."""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]


@dataclasses.dataclass(frozen=True)
class Sample:
    """A process at a moment.

    Attributes:
        done: epochs or files that were done by then.
        memory: resident bytes.
        files: number of open file descriptors.
    """

    done: int
    memory: int
    files: int


def watch(command, progress, output):
    """Samples a command twice a second until it ends.

    Args:
        command: arguments of Python.
        progress: gives the number of epochs or files that are done.
        output: file for what it prints.

    Returns:
        A list of `Sample`.
    """
    samples = []
    with open(output, "w") as file:
        process = subprocess.Popen([sys.executable, *map(str, command)], cwd=ROOT, stdout=file, stderr=file)
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                samples.append(Sample(progress(), watched.memory_info().rss, watched.num_fds()))
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                break
            time.sleep(0.5)
    assert process.wait() == 0, output.read_text()[-2000:]
    return samples


def check(samples, total, unit):
    """Compares the second tenth of the work with the last, and prints both."""

    def median(name, low, high):
        found = [getattr(s, name) for s in samples if s.done and low * total <= s.done <= high * total]
        assert found, f"no sample between {low} and {high} of {total} {unit}: give it more work"
        return statistics.median(found)

    first = next(sample for sample in samples if sample.done)
    early, late = (median("memory", low, high) for low, high in ((0.1, 0.2), (0.9, 0.999)))
    files = [median("files", low, high) for low, high in ((0.1, 0.2), (0.9, 0.999))]
    print(
        f"\n{total} {unit}: {first.memory / 1e6:.0f} MB after the first, {early / 1e6:.0f} MB in the second "
        f"tenth, {late / 1e6:.0f} MB in the last ({late / early - 1:+.1%}); "
        f"open files {files[0]:.0f} and {files[1]:.0f}"
    )
    assert late < early * (1 + GROWTH)
    assert files[1] <= files[0]


def lines(path):
    """Lines of a file that may not exist yet."""
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def test_training(tmp_path):
    """With checkpoints every 5 seconds, averaged weights and TensorBoard."""
    write_photos(tmp_path / "photos")
    run = tmp_path / "run"
    command = [
        "train.py",
        *tiny_training(tmp_path / "photos"),
        "--overrides=filters=4",
        f"--epochs={EPOCHS}",
        "--checkpoint_every=5s",
        "--ema=0.99",
        f"--run_dir={run}",
    ]
    # A line of the history is its header.
    samples = watch(command, lambda: max(lines(run / "history.csv") - 1, 0), tmp_path / "log.txt")
    training = [sample for sample in samples if sample.done < EPOCHS]
    check(training, EPOCHS, "epochs")


def test_predict(finished_run, tmp_path):
    """Many files: hard links to a few images."""
    photos = sorted((write_photos(tmp_path / "photos")).rglob("*.png"))
    for number in range(FILES):
        folder = tmp_path / "many" / f"{number // 1000:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        os.link(photos[number % len(photos)], folder / f"{number:06d}.png")
    output = tmp_path / "answers.txt"
    command = ["-m", "recycle_tf", "predict", f"--model={finished_run}", tmp_path / "many"]
    samples = watch(command, lambda: lines(output), output)
    assert lines(output) == FILES
    check(samples, FILES, "files")

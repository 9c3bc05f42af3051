"""Seconds and memory from the command to the first training step, part by part.

    python benchmarks/startup.py --dataset=cifar10
    python benchmarks/startup.py --entries=1000000

The first command starts a training on a dataset, the second on a CSV manifest of that many rows. Its files
are hard links to small JPEGs that the program makes, 1,000 links each: to this package every row is a file of
its own, while the disk holds few. `train.py` itself runs, its functions are timed, and it is stopped after
one step.

Seconds of a part are without those of parts inside it. Memory is the highest of the process in that part.
"""

import argparse
import contextlib
import functools
import gc
import os
import pathlib
import tempfile
import threading
import time

import numpy as np
import psutil
from PIL import Image
from tqdm import tqdm

LINKS = 1000
"""Entries for each file that the program makes; file systems limit the links to one."""


class Parts:
    """Seconds and peak memory by part; what no part claims is `rest`.

    Attributes:
        seconds: `{part: seconds}`, in the order in which the parts began.
        peak: `{part: largest memory of the process in bytes}`.
    """

    def __init__(self):
        self.seconds, self.peak = {}, {}
        self._stack, self._since = ["rest"], time.perf_counter()
        threading.Thread(target=self._sample, daemon=True).start()

    def _sample(self):
        process = psutil.Process()
        while True:
            part = self._stack[-1]
            self.peak[part] = max(self.peak.get(part, 0), process.memory_info().rss)
            time.sleep(0.02)

    def _turn(self):
        now, part = time.perf_counter(), self._stack[-1]
        self.seconds[part] = self.seconds.get(part, 0) + now - self._since
        self._since = now

    @contextlib.contextmanager
    def part(self, name):
        """Within this context, time counts for a part."""
        self._turn()
        self._stack.append(name)
        self.seconds.setdefault(name, 0.0)
        try:
            yield
        finally:
            self._turn()
            self._stack.pop()

    def time(self, owner, name, part):
        """Lets the calls of a function of a module or class count for a part."""
        function = getattr(owner, name)

        @functools.wraps(function)
        def timed(*arguments, **settings):
            with self.part(part):
                return function(*arguments, **settings)

        setattr(owner, name, timed)

    def table(self):
        """The parts as a table; memory in GB."""
        lines = ["| part | seconds | peak memory, GB |", "| --- | --- | --- |"]
        for part in sorted(self.seconds, key=lambda part: part == "rest"):
            lines.append(f"| {part} | {self.seconds[part]:.1f} | {self.peak.get(part, 0) / 1e9:.2f} |")
        total, peak = sum(self.seconds.values()), max(self.peak.values())
        return "\n".join([*lines, f"| all | {total:.1f} | {peak / 1e9:.2f} |"])


class Stepped(Exception):  # noqa: N818  (not an error)
    """The first training step has been done."""


def write_manifest(folder, entries):
    """Writes a CSV manifest of `entries` hard links in ten classes; returns its path."""
    rng = np.random.default_rng(0)
    names = [f"class{number}" for number in range(10)]
    for name in names:
        (folder / name).mkdir()
    splits = np.array(["train", "validation", "test"])[rng.choice(3, entries, p=(0.7, 0.15, 0.15))]
    with open(folder / "images.csv", "w", encoding="utf-8") as file:
        file.write("image,label,split\n")
        for number in tqdm(range(entries), "links", disable=None, leave=False):
            place = f"{names[number % 10]}/{number:09}.jpg"
            if number < -(-entries // LINKS):
                Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(folder / place)
            else:
                first = number % -(-entries // LINKS)
                os.link(folder / f"{names[first % 10]}/{first:09}.jpg", folder / place)
            file.write(f"{place},{names[number % 10]},{splits[number]}\n")
    return folder / "images.csv"


def time_parts(parts):
    """Lets the functions that a start consists of count for their parts."""
    from recycle_tf.data import audit, checks, listing, opening, pipeline, shards
    from recycle_tf.training import resume
    from recycle_tf.training.batches import Batches

    parts.time(listing, "from_folder", "listing")
    parts.time(listing, "from_manifest", "listing")
    parts.time(shards, "open_index", "listing")
    parts.time(checks, "check_all", "reading: hash, header, thumbnail")
    parts.time(opening, "_draw", "drawing the split")
    parts.time(opening, "from_listing", "examples by split")
    parts.time(audit, "leaks", "near-duplicates across splits")
    parts.time(Batches, "load", "reading and decoding: validation, test")
    parts.time(pipeline, "training_batches", "reading and decoding: train")
    parts.time(resume, "create", "run folder: split.csv, fingerprint")
    parts.time(resume, "open_source", "fingerprint, other work of opening")


def start(parts, settings, opening):
    """Runs `train.py` up to the first training step; with `opening`, without reading images after opening."""
    with parts.part("imports"):
        from recycle_tf import quiet

        quiet.import_tensorflow()
        from recycle_tf.commands import train
        from recycle_tf.training import loop, resume
        from recycle_tf.training.batches import Batches

    def first_step(training, run, batches, *_):
        if opening:
            raise Stepped
        with parts.part("first step, with compilation"):
            images, labels = next(iter(batches.training_from(0)))
            training.model.train_on_batch(images, labels)
        raise Stepped

    time_parts(parts)
    opened = resume.open_source

    def weighed(*arguments):
        gc.collect()
        before = psutil.Process().memory_info().rss
        source = opened(*arguments)
        gc.collect()
        kept = psutil.Process().memory_info().rss - before
        print(f"kept      {kept / source.num_examples:.0f} bytes per image when the dataset is open")
        return source

    resume.open_source = weighed
    loop.fit = first_step
    if opening:
        Batches.load = lambda self: None
    with contextlib.suppress(Stepped):
        train.train(train.resolve(settings))


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", help="what to train on, as for train.py")
    parser.add_argument("--entries", type=int, help="instead: rows of a manifest that is made")
    parser.add_argument("--split", default="stratified", help="as for train.py")
    parser.add_argument("--cache", default="auto", help="as for train.py")
    parser.add_argument("--opening", action="store_true", help="stop before images are decoded")
    parser.add_argument("--size", type=int, default=32, help="image size")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        dataset = flags.dataset or write_manifest(folder, flags.entries)
        settings = {
            "dataset": str(dataset),
            "split": flags.split,
            "cache": flags.cache,
            "arch": "resnet20",
            "image_size": flags.size,
            "run_dir": str(folder / "run"),
        }
        parts = Parts()
        start(parts, settings, flags.opening)
        print(parts.table())


if __name__ == "__main__":
    main()

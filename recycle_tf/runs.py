"""The run folder: what a training leaves, and everything else reads."""

import contextlib
import csv
import dataclasses
import datetime
import importlib.metadata
import itertools
import json
import os
import pathlib
import platform
import subprocess
import sys
import typing
import zipfile

from recycle_tf.config import TrainConfig
from recycle_tf.errors import UserError
from recycle_tf.files import PARTIAL, replacing

FREE_SETTINGS = ("run_dir", "data_dir", "manual_dir", "checkpoint_every", "profile")
"""Settings that change nothing of what is computed: they may differ when a run goes on."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A folder with the files that DESIGN names; properties are their paths."""

    path: pathlib.Path
    # What keeps other processes from training here, for as long as this object lives.
    lock: typing.IO | None = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def config_file(self):
        """Flags, versions, seed, git commit, labels and the data set's fingerprint."""
        return self.path / "config.json"

    @property
    def labels_file(self):
        """One label a line, in index order."""
        return self.path / "labels.txt"

    @property
    def manifest(self):
        """The split of a folder, as CSV; absent where the source has its own."""
        return self.path / "split.csv"

    @property
    def model_file(self):
        """The best model so far."""
        return self.path / "model.keras"

    @property
    def checkpoints(self):
        """What resuming needs; gone when the run is complete."""
        return self.path / "checkpoints"

    @property
    def history(self):
        """One row an epoch."""
        return self.path / "history.csv"

    @property
    def tensorboard(self):
        """Event files."""
        return self.path / "tensorboard"

    @property
    def report(self):
        """Figures and pictures of the evaluation."""
        return self.path / "report"

    @property
    def export(self):
        """Artifacts."""
        return self.path / "export"

    @property
    def complete(self):
        """Whether the training has ended and was evaluated; until then there are checkpoints."""
        return (self.report / "metrics.json").is_file() and not self.checkpoints.exists()

    @property
    def labels(self):
        """Names of the classes, in index order."""
        return self._record()["labels"]

    @property
    def config(self):
        """The training's settings, as a dict; a setting that came after the run has its default."""
        return {**dataclasses.asdict(TrainConfig()), **self._record()["config"]}

    @property
    def changed_versions(self):
        """What it was begun with and is not installed now, such as `["keras 3.14.0"]`."""
        now = _versions()
        return [
            f"{name} {version}"
            for name, version in self._record().get("versions", {}).items()
            # Another kernel is no other software.
            if name != "platform" and version != now.get(name)
        ]

    @property
    def fingerprint(self):
        """Of the data set it was trained on."""
        return self._record()["fingerprint"]

    def _record(self):
        try:
            record = json.loads(self.config_file.read_text(encoding="utf-8"))
            complete = {"config", "labels", "fingerprint"} <= set(record)
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{self.config_file}: damaged, cannot be read") from error
        if not complete:
            raise UserError(f"{self.config_file}: damaged, config, labels or fingerprint is missing")
        return record

    def load_model(self):
        """The best model, not compiled, computing in float32 whatever precision it was trained in.

        Raises:
            UserError: there is none yet, or it is damaged.
        """
        import keras

        from recycle_tf import layers  # noqa: F401  (registers the layers that a file may hold)

        if not self.model_file.is_file():
            raise UserError(f"{self.path}: no model yet; run its training until the first epoch has ended")
        try:
            model = keras.saving.load_model(self.model_file, compile=False, safe_mode=True)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(f"{self.model_file}: damaged, cannot be loaded") from error
        if all(layer.compute_dtype == "float32" for layer in model.layers):
            return model
        # Neither TFLite nor a phone's CPU computes in bfloat16.
        full = keras.models.clone_model(
            model,
            clone_function=lambda layer: layer.__class__.from_config(
                {**layer.get_config(), "dtype": "float32"}
            ),
        )
        full.set_weights(model.get_weights())
        return full

    def history_rows(self):
        """The rows of `history.csv` as dicts of numbers; `[]` before the first epoch has ended."""
        if not self.history.is_file():
            return []
        with open(self.history, newline="", encoding="utf-8") as file:
            # A full disk may have cut the last one.
            lines = [line for line in file if line.endswith("\n")]
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(lines)]

    def keep_history(self, epochs):
        """Drops the rows of `history.csv` from epoch number `epochs` on, which will be run again."""
        rows = [row for row in self.history_rows() if row["epoch"] < epochs]
        if not rows:
            self.history.unlink(missing_ok=True)
            return
        with replacing(self.history) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows({**row, "epoch": int(row["epoch"])} for row in rows)


def open_run(path, flag="--run"):
    """The run in a folder.

    Args:
        path: the folder.
        flag: what named it, for the message.

    Raises:
        UserError: no folder, or not a run.
    """
    run = Run(pathlib.Path(path).expanduser())
    if not run.path.is_dir():
        raise UserError(f"{flag}={path}: no such folder")
    if not run.config_file.is_file():
        raise UserError(f"{flag}={path}: not a run, it has no config.json; give a folder that train.py wrote")
    return run


def open_source(run, dataset=None, manual_dir=None, data_dir=None):
    """The data that a run learned from, with the split it learned from; or another set with its classes.

    Args:
        run: a `Run`.
        dataset: as in `train.py`, instead of the run's own.
        manual_dir: instead of the run's own.
        data_dir: instead of the run's own.

    Raises:
        UserError: the data is gone or has other classes.
    """
    from recycle_tf.data import audit

    own = dataset is None
    source = audit.open_source(
        run.config["dataset"] if own else dataset,
        run.config["on_bad_image"],
        manual_dir=manual_dir or run.config["manual_dir"],
        data_dir=data_dir or run.config["data_dir"],
        seed=run.config["seed"],
        manifest=run.manifest if own and run.manifest.is_file() else None,
    )
    if list(source.labels) != run.labels:
        raise UserError(
            f"--dataset={dataset}: its classes are {', '.join(source.labels)}, "
            f"the run's {', '.join(run.labels)}"
        )
    return source


def open_training_source(config, run=None):
    """The data that a training learns from, split as it was if it goes on or repeats another.

    Args:
        config: a `TrainConfig`.
        run: the `Run` that goes on, or None.

    Raises:
        UserError: there is no such data, or it is not what the earlier run learned from.
    """
    from recycle_tf.data import audit

    earlier = run or _repeated(config)
    source = audit.open_source(
        config.dataset,
        config.on_bad_image,
        manual_dir=config.manual_dir,
        data_dir=config.data_dir,
        seed=config.seed,
        split=config.split,
        manifest=earlier.manifest if earlier and earlier.manifest.is_file() else None,
    )
    if earlier and earlier.fingerprint != source.fingerprint:
        raise UserError(
            f"{earlier.path}: {config.dataset} has changed since this run began: its fingerprint was "
            f"{earlier.fingerprint}, is {source.fingerprint}; begin another --run_dir, without --from_run"
        )
    if earlier and earlier.changed_versions:
        begun = ", ".join(earlier.changed_versions)
        print(f"warning: begun with {begun}: it may go on a little differently", file=sys.stderr)
    return source


def _repeated(config):
    """The run that `--from_run` names where its data is to be used too; else None."""
    if config.from_run is None:
        return None
    run = open_run(config.from_run, "--from_run")
    data = ("dataset", "split", "seed", "on_bad_image")
    return run if all(run.config[name] == getattr(config, name) for name in data) else None


def unfinished(config, root="runs"):
    """The run that this configuration should go on with, locked unless it is complete, or None.

    That is the one in `--run_dir`, or else the newest unfinished run in `root` with the same settings.

    Raises:
        UserError: `--run_dir` holds a run with other settings, something that is no run, or a run that
            another process is training.
    """
    if config.run_dir is None:
        for path in sorted(pathlib.Path(root).glob("*/config.json"), key=os.path.getmtime, reverse=True):
            run = Run(path.parent)
            try:
                fits = not run.complete and not _differences(run, config)
            except UserError as error:
                print(f"passed over: {error}", file=sys.stderr)
            else:
                if fits:
                    return Run(run.path, _lock(run))
        return None
    run = Run(pathlib.Path(config.run_dir).expanduser())
    if not run.path.exists() or (run.path.is_dir() and _only_begun(run)):
        return None
    if not run.config_file.is_file():
        raise UserError(f"--run_dir={config.run_dir}: exists and is not a run; choose another folder")
    different = _differences(run, config)
    if different:
        name = different[0]
        begun = f"--run_dir={config.run_dir}: was begun with --{name}={run.config[name]}"
        if not hasattr(config, name):
            raise UserError(f"{begun}, which this version does not know; choose another folder")
        raise UserError(
            f"{begun}, not {getattr(config, name)}; choose another folder, or give the same settings to go on"
        )
    return run if run.complete else Run(run.path, _lock(run))


def create(config, source, root="runs"):
    """Begins a run: its folder with configuration, labels and, for a folder of pictures, the split.

    Args:
        config: a `TrainConfig`.
        source: the `Source` it learns from.
        root: where runs lie, if the configuration names no folder.

    Returns:
        The `Run`, locked.

    Raises:
        UserError: the folder cannot be written, or another process has begun a run in it meanwhile.
    """
    from recycle_tf.data import splits

    if config.run_dir is None:
        now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        path = _unused(pathlib.Path(root) / f"{config.arch}-{source.name}-{now}")
    else:
        path = pathlib.Path(config.run_dir).expanduser()
    record = {
        "config": dataclasses.asdict(config),
        "labels": list(source.labels),
        "fingerprint": source.fingerprint,
        "ignored_files": list(source.ignored),
        "versions": _versions(),
        "git_commit": _git_commit(),
    }
    try:
        path.mkdir(parents=True, exist_ok=True)
        run = Run(path, _lock(Run(path)))
        if run.config_file.exists():
            raise UserError(f"{path}: another process has just begun a run here; choose another --run_dir")
        run.labels_file.write_text("\n".join(source.labels) + "\n", encoding="utf-8")
        if pathlib.Path(config.dataset).expanduser().exists():
            splits.write_manifest(run.manifest, source.manifest())
        # Last, because it is what makes the folder a run.
        with replacing(run.config_file) as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"--run_dir={path}: cannot be written ({error.strerror})") from error
    return run


@contextlib.contextmanager
def writing(run):
    """Makes one line of what happens where the run's folder lies on a full or failing disk.

    Raises:
        UserError: something could not be written; what was written before is whole.
    """
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{run.path}: cannot be written ({error.strerror or error}); "
            f"mend that, and the same command goes on from the last checkpoint"
        ) from error


def _lock(run):
    """Keeps other processes from training in a run until this one ends, however it ends.

    What a killed one was writing is removed.

    Returns:
        The open file that bears the lock.

    Raises:
        UserError: another process has it, or the folder cannot be written.
    """
    try:
        # Of all files this one is never replaced, and the lock clings to the file, not to its name.
        file = open(run.labels_file, "a+b")  # noqa: SIM115  (closing it would release the lock)
        try:
            if os.name == "nt":
                import msvcrt

                file.seek(2**30)  # Others must be able to read what the file holds.
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise UserError(
                f"{run.path}: another process is training here; wait for it, or choose another --run_dir"
            ) from error
        for leftover in [*run.path.glob(f"{PARTIAL}*"), *run.checkpoints.glob(f"{PARTIAL}*")]:
            leftover.unlink()
    except OSError as error:
        raise UserError(f"{run.path}: cannot be written ({error.strerror})") from error
    return file


def _only_begun(run):
    """Whether a folder holds nothing, or no more than what `create` leaves if it is killed."""
    begun = {run.labels_file, run.manifest}
    return all(path in begun or path.name.startswith(PARTIAL) for path in run.path.iterdir())


def _unused(path):
    """The path, or the first of `path-2`, `path-3`, … that nothing has taken."""
    names = itertools.chain([path], (path.with_name(f"{path.name}-{n}") for n in itertools.count(2)))
    return next(name for name in names if not name.exists())


def _differences(run, config):
    """Names of the settings in which a run and a configuration differ."""
    before, now = run.config, dataclasses.asdict(config)
    names = [name for name in {**before, **now} if name not in FREE_SETTINGS]
    # As text: older versions wrote 30 epochs as a number.
    return [name for name in names if name not in now or str(before[name]) != str(now[name])]


def _versions():
    packages = ("tensorflow", "keras", "numpy", "tensorflow-datasets", "keras-cv")
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {"python": platform.python_version(), "platform": platform.platform(), **versions}


def _git_commit():
    """The commit of the checkout this package runs from; None outside one."""
    here = pathlib.Path(__file__).resolve().parents[1]
    if not (here / "train.py").is_file():
        return None
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return found.stdout.strip() or None

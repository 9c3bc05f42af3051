"""The run folder: what a training run leaves behind and everything else reads."""

import csv
import dataclasses
import importlib.metadata
import json
import pathlib
import platform
import subprocess
import typing
import zipfile

from recycle_tf.config import TrainConfig
from recycle_tf.errors import UserError
from recycle_tf.files import replacing, user_path

RENAMED_SETTINGS = {"rates": "lr_multipliers"}
"""Settings that runs of earlier versions have under another name."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A run folder; properties are the paths of its files and what they hold."""

    path: pathlib.Path
    # Keeps other processes from training here as long as this object lives; see `training.resume`.
    lock: typing.IO | None = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def config_file(self):
        """Settings, versions, seed, git commit, labels and the dataset's fingerprint."""
        return self.path / "config.json"

    @property
    def labels_file(self):
        """One label per line, in index order."""
        return self.path / "labels.txt"

    @property
    def manifest(self):
        """The split of a folder, as CSV; absent if the dataset has its own split."""
        return self.path / "split.csv"

    @property
    def model_file(self):
        """The best model so far, without optimizer."""
        return self.path / "model.keras"

    @property
    def calibration_file(self):
        """Temperature and confidence threshold; see `evaluation.temperature`."""
        return self.path / "calibration.json"

    @property
    def checkpoints(self):
        """Folder of the state that resuming needs; deleted when the run is complete."""
        return self.path / "checkpoints"

    @property
    def history(self):
        """CSV with one row per epoch."""
        return self.path / "history.csv"

    @property
    def tensorboard(self):
        """Folder of event files."""
        return self.path / "tensorboard"

    @property
    def report(self):
        """Folder of the evaluation's figures and plots."""
        return self.path / "report"

    @property
    def export(self):
        """Folder of the artifacts."""
        return self.path / "export"

    @property
    def complete(self):
        """Whether training has ended and was evaluated; until then there are checkpoints."""
        return (self.report / "metrics.json").is_file() and not self.checkpoints.exists()

    @property
    def labels(self):
        """Names of the classes, in index order."""
        return self._record()["labels"]

    @property
    def config(self):
        """The run's settings as a dict; settings that are newer than the run have their default."""
        stored = self._record()["config"]
        return {
            **dataclasses.asdict(TrainConfig()),
            **{RENAMED_SETTINGS.get(name, name): value for name, value in stored.items()},
        }

    @property
    def fingerprint(self):
        """Fingerprint of the dataset it was trained on."""
        return self._record()["fingerprint"]

    @property
    def changed_versions(self):
        """Versions it was started with that are not installed now, such as `["keras 3.14.0"]`."""
        now = _versions()
        return [
            f"{name} {version}"
            for name, version in self._record().get("versions", {}).items()
            # A different kernel does not change results.
            if name != "platform" and version != now.get(name)
        ]

    @property
    def calibration(self):
        """The contents of `calibration.json` as a dict; None before training has ended.

        Raises:
            UserError: the file is damaged.
        """
        if not self.calibration_file.is_file():
            return None
        try:
            found = json.loads(self.calibration_file.read_text(encoding="utf-8"))
            float(found["temperature"]), float(found["threshold"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"{self.calibration_file}: damaged, cannot be read") from error
        return found

    def _record(self):
        try:
            record = json.loads(self.config_file.read_text(encoding="utf-8"))
            complete = {"config", "labels", "fingerprint"} <= set(record) and isinstance(
                record["config"], dict
            )
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise UserError(f"{self.config_file}: damaged, cannot be read") from error
        if not complete:
            raise UserError(f"{self.config_file}: damaged, config, labels or fingerprint is missing")
        return record

    def load_model(self):
        """The best model, not compiled, in float32 whatever precision it was trained in.

        Raises:
            UserError: there is no model yet, or the file is damaged.
        """
        import keras

        import recycle_tf.models  # noqa: F401  (registers the custom layers of a saved model)

        if not self.model_file.is_file():
            raise UserError(f"{self.path}: no model yet; it is saved at the end of the first epoch")
        try:
            model = keras.saving.load_model(self.model_file, compile=False, safe_mode=True)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
            raise UserError(f"{self.model_file}: damaged or not a model of this package") from error
        if all(layer.compute_dtype == "float32" for layer in model.layers):
            return model
        # Neither TFLite nor a phone's CPU computes in bfloat16.

        def in_float32(layer):
            # Operations that are not layers, for example padding, have no precision of their own.
            precision = {"dtype": "float32"} if isinstance(layer, keras.Layer) else {}
            return layer.__class__.from_config({**layer.get_config(), **precision})

        full = keras.models.clone_model(model, clone_function=in_float32)
        full.set_weights(model.get_weights())
        return full

    def history_rows(self):
        """The rows of `history.csv` as dicts of numbers; `[]` before the end of the first epoch."""
        if not self.history.is_file():
            return []
        with open(self.history, newline="", encoding="utf-8") as file:
            # A full disk may have truncated the last line.
            lines = [line for line in file if line.endswith("\n")]
        try:
            return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(lines)]
        except (ValueError, TypeError) as error:
            raise UserError(f"{self.history}: damaged, a row is not made of numbers") from error

    def truncate_history(self, epochs):
        """Removes the rows of `history.csv` from epoch `epochs` on, which will be trained again."""
        rows = [row for row in self.history_rows() if row["epoch"] < epochs]
        if not rows:
            self.history.unlink(missing_ok=True)
            return
        with replacing(self.history) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows({**row, "epoch": int(row["epoch"])} for row in rows)

    def write_record(self, config, source):
        """Writes `config.json`, which makes the folder a run.

        Args:
            config: a `TrainConfig`.
            source: the `data.sources.Source` it trains on.
        """
        record = {
            "config": dataclasses.asdict(config),
            "labels": list(source.labels),
            "fingerprint": source.fingerprint,
            "ignored_files": list(source.ignored),
            "versions": _versions(),
            "git_commit": _git_commit(),
        }
        with replacing(self.config_file) as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def open_run(path, parameter="run"):
    """Opens a run folder.

    Args:
        path: the folder.
        parameter: name of the parameter that gave the path, for the message.

    Raises:
        UserError: no such folder, or not a run.
    """
    run = Run(user_path(path))
    if not run.path.is_dir():
        raise UserError(f"`{parameter}={path}`: no such folder")
    if not run.config_file.is_file():
        raise UserError(f"`{parameter}={path}`: not a run, it has no config.json; give a folder of train.py")
    return run


def settings_to_repeat(path):
    """The settings of an earlier run, for `config.resolve(earlier=…)`, without its folder.

    Raises:
        UserError: not a run, or it has a setting that this version does not know.
    """
    settings = open_run(path, "from_run").config
    unknown = sorted(settings.keys() - {field.name for field in dataclasses.fields(TrainConfig)})
    if unknown:
        raise UserError(
            f"`from_run={path}`: has the setting {unknown[0]}={settings[unknown[0]]}, which this version "
            "does not know"
        )
    return {**settings, "run_dir": None}


def _versions():
    packages = ("tensorflow", "keras", "numpy", "tensorflow-datasets", "keras-cv")
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {"python": platform.python_version(), "platform": platform.platform(), **versions}


def _git_commit():
    """The commit of the checkout that this package runs from; None outside one."""
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

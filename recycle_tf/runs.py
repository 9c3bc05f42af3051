"""The run folder: what a training run leaves behind and everything else reads."""

import csv
import dataclasses
import importlib.metadata
import json
import math
import pathlib
import platform
import subprocess
import types
import typing

from recycle_tf import files, options
from recycle_tf.config import TrainConfig, model_of
from recycle_tf.errors import UserError
from recycle_tf.paths import from_user

RENAMED_SETTINGS = {"rates": "lr_multipliers"}
"""Settings that runs of earlier versions have under another name."""

_SETTINGS_OF_COMMANDS = ("resize", "image_size", "batch_size", "seed", "on_bad_image")
"""Settings that evaluation and export use."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A run folder; properties are the paths of its files and what they hold."""

    path: pathlib.Path
    # Keeps other processes from training here until `unlock`; see `training.resume`.
    lock: typing.IO | None = dataclasses.field(default=None, repr=False, compare=False)

    def unlock(self):
        """Lets other processes train here."""
        if self.lock:
            self.lock.close()

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
        """The split as CSV; absent if it is that of a builder."""
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
    def quantization_file(self):
        """Ranges of the feature maps; only of a run that was trained with integers."""
        return self.path / "quantization.json"

    @property
    def components_file(self):
        """Principal components of the training images' features; see `evaluation.familiarity`."""
        return self.path / "components.npy"

    @property
    def checkpoints(self):
        """Folder of the state that resuming needs: there from the start until the run is complete."""
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
        """Whether training has ended and was evaluated; until then there is a folder of checkpoints."""
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
    def settings(self):
        """The run's settings as attributes, like a `TrainConfig`, which may no longer take all of them."""
        return types.SimpleNamespace(**self.config, continues=self.continued)

    @property
    def fingerprint(self):
        """Fingerprint of the dataset it was trained on."""
        return self._record()["fingerprint"]

    @property
    def averaged(self):
        """Of an average of runs: `{path: proportion}`; else empty."""
        return self._record().get("averaged", {})

    @property
    def continued(self):
        """Whether its training started from the network of the run in its `from_run`."""
        config = self.config
        return config["from_run"] is not None and config["weights"] == model_of(config["from_run"])

    @property
    def inputs(self):
        """The models of other runs that it is computed from: `{path: SHA-256}`."""
        return self._record().get("inputs", {})

    @property
    def precision(self):
        """One of `options.MIXED_PRECISION` but `auto`; None of an average and of runs of earlier versions."""
        return self._record().get("precision")

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
        found = _read_json(self.calibration_file)
        for name in ("temperature", "threshold"):
            value = found.get(name) if isinstance(found, dict) else None
            # Neither NaN, infinity nor a boolean; a temperature of 0 divides by it.
            valid = type(value) in (int, float) and 0 <= value <= 1e6
            if not valid or (name, value) == ("temperature", 0):
                raise UserError(f"{self.calibration_file}: damaged, {name} is missing or invalid")
        if "unlike" in found and not _is_unlike(found["unlike"]):
            raise UserError(f"{self.calibration_file}: damaged, unlike is invalid")
        return found

    @property
    def trained_ranges(self):
        """The ranges of its feature maps, `{name: (low, high)}`; None without `quantization.json`.

        Raises:
            UserError: the file is damaged.
        """
        if not self.quantization_file.is_file():
            return None
        found = _read_json(self.quantization_file)
        try:
            ranges = {name: (float(low), float(high)) for name, (low, high) in found["ranges"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{self.quantization_file}: damaged, the ranges are missing or invalid"
            ) from error
        if not all(math.isfinite(low) and low <= high < math.inf for low, high in ranges.values()):
            raise UserError(f"{self.quantization_file}: damaged, a range is not two increasing numbers")
        return ranges

    def write_ranges(self, ranges):
        """Writes `quantization.json`."""
        with files.replacing(self.quantization_file) as temporary:
            temporary.write_text(json.dumps({"bits": 8, "ranges": ranges}, indent=1) + "\n", encoding="utf-8")

    def _record(self):
        record = _read_json(self.config_file)
        record = record if isinstance(record, dict) else {}
        config, labels = record.get("config"), record.get("labels")
        valid = {
            "config": isinstance(config, dict),
            # As in `data.sources.Source`.
            "labels": isinstance(labels, list)
            and all(isinstance(label, str) and label.strip() and label.isprintable() for label in labels)
            and len(set(labels)) == len(labels) >= 2,
            "fingerprint": isinstance(record.get("fingerprint"), str),
            "precision": record.get("precision") in (None, *options.MIXED_PRECISION),
            "averaged": isinstance(record.get("averaged", {}), dict),
            "versions": isinstance(record.get("versions", {}), dict),
            "inputs": isinstance(record.get("inputs", {}), dict)
            and all(isinstance(digest, str) for digest in record.get("inputs", {}).values()),
        }
        for name, fine in valid.items():
            if not fine:
                raise UserError(f"{self.config_file}: damaged, {name} is missing or invalid")
        _check_settings(self.config_file, config)
        return record

    def load_model(self):
        """The best model, not compiled, in float32 whatever precision it was trained in.

        Raises:
            UserError: there is no model yet, or the file is damaged.
        """
        from recycle_tf.models import inference, weights

        if not self.model_file.is_file():
            raise UserError(f"{self.path}: no model yet; it is saved at the end of the first epoch")
        with files.reading(self.model_file):
            return inference.without_xla(_in_float32(weights.open_model(self.model_file)))

    def history_rows(self):
        """The rows of `history.csv` as dicts of numbers; `[]` before the end of the first epoch."""
        if not self.history.is_file():
            return []
        try:
            with open(self.history, newline="", encoding="utf-8") as file:
                # A full disk may have truncated the last line.
                lines = [line for line in file if line.endswith("\n")]
            rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(lines)]
        except (ValueError, TypeError, csv.Error) as error:
            raise UserError(f"{self.history}: damaged, a row is not made of numbers") from error
        for row in rows:
            if not {"epoch", "val_accuracy", "val_loss"} <= row.keys() or not 0 <= row["epoch"] <= 1e9:
                raise UserError(f"{self.history}: damaged, a column or an epoch is missing")
        return rows

    def truncate_history(self, epochs):
        """Removes the rows of `history.csv` from epoch `epochs` on, which will be trained again."""
        rows = [row for row in self.history_rows() if row["epoch"] < epochs]
        if not rows:
            self.history.unlink(missing_ok=True)
            return
        with (
            files.replacing(self.history) as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows({**row, "epoch": int(row["epoch"])} for row in rows)

    def write_record(self, config, source, inputs=None, averaged=None, precision=None):
        """Writes `config.json`, which makes the folder a run.

        Args:
            config: a `TrainConfig`.
            source: the `data.sources.Source` it trains on.
            inputs: see the property.
            averaged: of an average of runs: `{path: proportion}`.
            precision: what `training.precision.choose` returned.
        """
        record = {
            "config": dataclasses.asdict(config),
            "labels": list(source.labels),
            "fingerprint": source.fingerprint,
            "inputs": inputs or {},
            "precision": precision,
            "ignored_files": list(source.ignored),
            "versions": _versions(),
            "git_commit": _git_commit(),
        }
        if averaged:
            record["averaged"] = averaged
        with files.replacing(self.config_file) as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def open_run(path, parameter="run"):
    """Opens a run folder.

    Args:
        path: the folder.
        parameter: name of the parameter that gave the path, for the message.

    Raises:
        UserError: no such folder, or not a run.
    """
    run = Run(from_user(path, parameter))
    if not run.path.is_dir():
        raise UserError(f"`{parameter}={path}`: no such folder")
    if not run.config_file.is_file():
        raise UserError(f"`{parameter}={path}`: not a run, it has no config.json; give a folder of train.py")
    return run


def _in_float32(model):
    """The model, computing in float32: neither TFLite nor a phone's CPU computes in bfloat16."""
    import keras

    if all(layer.compute_dtype == "float32" for layer in model.layers):
        return model

    def in_float32(layer):
        # Operations that are not layers, for example padding, have no precision of their own.
        precision = {"dtype": "float32"} if isinstance(layer, keras.Layer) else {}
        return layer.__class__.from_config({**layer.get_config(), **precision})

    full = keras.models.clone_model(model, clone_function=in_float32)
    full.set_weights(model.get_weights())
    return full


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


def _read_json(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged, cannot be read") from error


def _is_unlike(record):
    """Whether it is what `evaluation.familiarity` stores: three numbers of 0..1, the width not 0."""
    if not isinstance(record, dict):
        return False
    values = [record.get(name) for name in ("threshold", "limit", "width")]
    return all(type(value) in (int, float) and 0 <= value <= 1 for value in values) and values[2] > 0


def _check_settings(path, stored):
    """Raises where a stored setting has another type than `TrainConfig` says, or a value that commands need.

    Other values are validated when the settings are repeated; those of another version may be invalid now.
    """
    hints = typing.get_type_hints(TrainConfig)
    for name, value in stored.items():
        name = RENAMED_SETTINGS.get(name, name)
        kinds = typing.get_args(hints.get(name)) or (hints.get(name),)
        # Earlier versions stored 30 epochs as a number.
        also = (int, float) if str in kinds else (int,) if float in kinds else ()
        if name in hints and type(value) not in kinds + also:
            raise UserError(f"{path}: damaged, {name} is {value!r:.40}")
    try:
        TrainConfig(**{name: stored[name] for name in _SETTINGS_OF_COMMANDS if name in stored})
    except UserError as error:
        raise UserError(f"{path}: damaged, {str(error).replace('`', '')}") from error


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

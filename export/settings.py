"""The settings of an export: one dataclass, pure data. The command line makes a flag from every field."""

import dataclasses
import math
import re

from recycle_tf import config
from recycle_tf.errors import UserError, did_you_mean
from recycle_tf.paths import is_utf8

from .formats import FORMATS

ALL = "all"
"""Name that stands for every format."""

DYNAMIC = "dynamic"
"""Batch size of an artifact that takes any number of images at once."""

MAX_BATCH = 1024
"""Largest fixed batch size: 1024 images of 224 pixels are 0.6 GB as float32, before the first layer."""


def _setting(default, help):
    return dataclasses.field(default=default, metadata={"help": help})


@dataclasses.dataclass(frozen=True)
class ExportSettings:
    """Every setting of an export; the help text of a field describes it.

    Raises:
        UserError: an invalid value; names the setting, the value and what is valid.
    """

    run: str | None = _setting(None, "Run folder written by train.py.")
    formats: str | None = _setting(
        None,
        f"Comma-separated list of formats: {', '.join(FORMATS)}; or all. Default: all that the network "
        f"supports, without {', '.join(name for name, one in FORMATS.items() if not one.default)}.",
    )
    max_drop: float = _setting(1.0, "Largest accepted loss of accuracy by quantization, in points.")
    batch: str = _setting(
        "1", f"Batch size of .tflite and ONNX files: 1 to {MAX_BATCH}, or dynamic (any number of images)."
    )
    choose: bool = _setting(
        False, "Export the .tflite formats that can meet the limits, and recommend which file to ship."
    )
    max_mb: float | None = _setting(None, "With --choose: maximum file size in megabytes.")
    max_ms: float | None = _setting(
        None, "With --choose: maximum milliseconds per image on one thread of this machine."
    )
    dataset: str | None = _setting(
        None, "Where a copy of the run's dataset is, to verify on. Default: where it was in training."
    )
    manual_dir: str | None = _setting(None, "As for train.py. Default: the run's own.")
    data_dir: str | None = _setting(None, "As for train.py. Default: the run's own.")
    translations: str | None = _setting(
        None,
        "Translated class names: LOCALE:FILE,…, for example ko:korean.txt; a file has one name per line, in "
        "the order of the classes. Default: the built-in Korean names, if they cover all classes.",
    )
    rules: str | None = _setting(
        None,
        "Which bin, for the web page and the app: a .yaml file, or built-in rules: england, korea.",
    )
    author: str | None = _setting(None, "Author of the model, for its metadata and model card.")
    license: str | None = _setting(None, "License of the model, for its metadata and model card.")
    web_runtime: str | None = _setting(
        None, "Folder with the npm archives of LiteRT.js, for the format web. Default: npm downloads them."
    )
    unverified: bool = _setting(
        False, "Export without the dataset, and verify nothing. For a run whose dataset is not available."
    )

    def __post_init__(self):
        self._validate_types()
        if not self.run:
            raise UserError("`run`: missing; give a folder that train.py wrote")
        for name in self.format_names or ():
            if name not in (*FORMATS, ALL):
                raise UserError(f"`formats={name}`: no such format, {did_you_mean(name, FORMATS)}")
        if self.formats is not None and not self.format_names:
            raise UserError(f"`formats`: empty; choose from {', '.join(FORMATS)}")
        if math.isnan(self.max_drop):
            raise UserError("`max_drop=nan`: expected points of accuracy, for example 1")
        if self.choose and self.unverified:
            raise UserError("`choose`: compares accuracies, which `unverified` leaves unknown; remove one")
        self._validate_unverified()
        self._validate_limits()
        self.batch_size  # noqa: B018  (raises if invalid)
        self.translation_files  # noqa: B018

    def _validate_types(self):
        for name in self.__dataclass_fields__:
            types = config.kinds(type(self), name)
            value = config.plain(getattr(self, name), types)
            config.validate_type(name, value, types, (str, int) if name == "batch" else str)
            object.__setattr__(self, name, value)
            if isinstance(value, str) and not is_utf8(value):
                raise UserError(f"`{name}={value}`: not UTF-8")

    def _validate_unverified(self):
        for name in ("dataset", "manual_dir", "data_dir"):
            if self.unverified and getattr(self, name):
                raise UserError(f"`{name}`: says where to verify, which `unverified` leaves out; remove one")

    def _validate_limits(self):
        for name, limit in (("max_mb", self.max_mb), ("max_ms", self.max_ms)):
            if limit is not None and not self.choose:
                raise UserError(f"`{name}={limit:g}`: only valid with `choose`")
            if limit is not None and not limit > 0:
                raise UserError(f"`{name}={limit:g}`: expected a number above 0")

    @property
    def format_names(self):
        """The given formats without repetitions; None if none were given."""
        if self.formats is None:
            return None
        return list(dict.fromkeys(filter(None, (name.strip() for name in self.formats.split(",")))))

    @property
    def batch_size(self):
        """Batch size of `.tflite` and ONNX files: a number, or `"dynamic"`."""
        if self.batch == DYNAMIC:
            return DYNAMIC
        if not re.fullmatch("[1-9][0-9]{0,3}", str(self.batch)) or int(self.batch) > MAX_BATCH:
            raise UserError(
                f"`batch={self.batch}`: expected a number of images from 1 to {MAX_BATCH}, or {DYNAMIC}"
            )
        return int(self.batch)

    @property
    def translation_files(self):
        """`{locale: path of the file}`."""
        files = {}
        for pair in filter(None, (self.translations or "").split(",")):
            locale, _, path = pair.partition(":")
            if not re.fullmatch("[a-z]{2,3}(-[A-Za-z0-9]{2,8})*", locale) or not path or locale in files:
                raise UserError(
                    f"`translations={pair}`: expected LOCALE:FILE, each locale once, e.g. ko:korean.txt"
                )
            files[locale] = path
        return files

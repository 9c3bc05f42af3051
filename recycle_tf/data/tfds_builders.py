"""TFDS builders, those that come with this package and TFDS' own: finding, importing and preparing them."""

import difflib
import importlib
import os
import pathlib
import re
import sys

import psutil
import requests

from recycle_tf import options, paths, quiet
from recycle_tf.data import splits
from recycle_tf.errors import UserError, did_you_mean

MANUAL_DIR_VARIABLE = "RECYCLE_TF_MANUAL_DIR"
"""Environment variable with the default of `manual_dir`."""

_PACKAGE = pathlib.Path(__file__).resolve().parents[1]


DRAW_SEED = 0
"""Seed of the splits that a dataset of TFDS does not have: they belong to the dataset, whatever the run."""


def names():
    """Names of the builders that come with this package, sorted."""
    return sorted(path.parent.name for path in _folder().glob("*/*_dataset_builder.py"))


def prepare(dataset, manual_dir=None, data_dir=None):
    """Imports a builder and prepares its data, if that has not been done.

    Args:
        dataset: name of the builder, with its variant if it has several: `trashnet`, `trashnet/clean`, or
            any dataset of TFDS for image classification, such as `cifar10`.
        manual_dir: folder with files that the user downloaded; default: `$RECYCLE_TF_MANUAL_DIR`.
        data_dir: folder of prepared datasets; default: that of TFDS.

    Returns:
        A prepared `tfds.core.DatasetBuilder`.

    Raises:
        UserError: no such builder, one that is not for image classification, or its data cannot be prepared;
            says how to do that without a network.
    """
    name, _, config = dataset.partition("/")
    if data_dir is not None:
        paths.from_user(data_dir, "data_dir")
    if name in names():
        builder = _own_builder(dataset, name, config, data_dir)
    else:
        builder = _builder_of_tfds(dataset, name, data_dir)
    manual_dir = manual_dir if manual_dir is not None else os.environ.get(MANUAL_DIR_VARIABLE) or None
    if manual_dir is not None:
        given, manual_dir = manual_dir, paths.from_user(manual_dir, "manual_dir")
        if not manual_dir.is_dir():
            raise UserError(f"`manual_dir={given}`: no such folder")
    if not builder.is_prepared():
        _download_and_prepare(builder, name, manual_dir, data_dir)
    return builder


def records(builder):
    """Reads a prepared builder's examples; images stay encoded.

    A split that a dataset of TFDS does not have, or has without labels, is drawn from its training images:
    15 % of every class, always the same ones.

    Returns:
        `{split: list of {"id": bytes, "image": bytes, "label": int}}`.

    Raises:
        UserError: it has no training images, is too large for memory, or a class is too small to be split.
    """
    import tensorflow_datasets as tfds

    own, free = builder.name in names(), psutil.virtual_memory().available
    if builder.info.dataset_size > free:
        raise UserError(
            f"`dataset={builder.name}`: {builder.info.dataset_size:,} bytes, but {free:,} of memory free; "
            "write its images into a folder with one subfolder per class, which is read as it is needed"
        )
    wanted = {"image": True, "label": True} | ({"id": True} if own else {})
    decoders = tfds.decode.PartialDecoding(wanted, decoders={"image": tfds.decode.SkipDecoding()})
    found = {}
    for split in options.SPLITS:
        if not own and split not in builder.info.splits:
            continue
        # TFDS warns that it uses a deprecated property of its own.
        with quiet.only_errors("absl"):
            data = builder.as_dataset(split=split, decoders=decoders, shuffle_files=False)
        rows = list(data.as_numpy_iterator())
        if all(row["label"] >= 0 for row in rows):
            # Some datasets have no ids, and some the same ids in two splits.
            found[split] = [{"id": f"{split}/{index}".encode(), **row} for index, row in enumerate(rows)]
    return _with_all_splits(builder, found)


def _with_all_splits(builder, found):
    if not found.get("train"):
        raise UserError(f"`dataset={builder.name}`: has no training images with labels")
    missing = [split for split in splits.SHARES if split not in found]
    names = builder.info.features["label"].names
    train = found["train"]
    drawn = splits.stratified([names[row["label"]] for row in train], DRAW_SEED, missing) if missing else ()
    for split in ("train", *missing) if missing else ():
        found[split] = [row for row, part in zip(train, drawn, strict=True) if part == split]
    return {split: found[split] for split in options.SPLITS}


def _own_builder(dataset, name, config, data_dir):
    builder_class = _import(name)
    configs = {config.name for config in builder_class.BUILDER_CONFIGS}
    if config and config not in configs:
        raise UserError(f"`dataset={dataset}`: {name} has no such variant, {did_you_mean(config, configs)}")
    return builder_class(config=config or None, data_dir=data_dir)


def _builder_of_tfds(dataset, name, data_dir):
    """A builder of TFDS, not prepared, whose examples are images with one label each."""
    import tensorflow_datasets as tfds

    shown = f"`dataset={paths.printable(dataset)}`"
    try:
        # Of other texts TFDS would make a query.
        if not re.fullmatch(r"\w+(/[\w.-]+)?(:[\d.*]+)?", dataset, re.ASCII):
            raise tfds.core.DatasetNotFoundError
        builder = tfds.builder(dataset, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError:
        close = difflib.get_close_matches(name, tfds.list_builders(with_community_datasets=False))
        meant = did_you_mean(name, sorted({*names(), *close}))
        raise UserError(f"{shown}: no such folder, and no dataset of that name; {meant}") from None
    except (ValueError, AssertionError, ImportError) as error:
        raise UserError(f"{shown}: {' '.join(str(error).split()):.300}") from error
    features = builder.info.features
    found = dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}
    kinds = {"image": tfds.features.Image, "label": tfds.features.ClassLabel}
    if not all(isinstance(found.get(key), kind) for key, kind in kinds.items()):
        raise UserError(
            f"{shown}: not a dataset for image classification, whose features are an image and a label; it "
            f"has {', '.join(found) or type(features).__name__}"
        )
    return builder


def _download_and_prepare(builder, name, manual_dir, data_dir):
    import tensorflow_datasets as tfds

    download = tfds.download.DownloadConfig(manual_dir=manual_dir and str(manual_dir))
    own = name in names()
    if not own and builder.MANUAL_DOWNLOAD_INSTRUCTIONS and not manual_dir:
        instructions = " ".join(builder.MANUAL_DOWNLOAD_INSTRUCTIONS.split())
        raise UserError(
            f"`dataset={name}`: download its files into a folder, and give it as `manual_dir`: "
            f"{instructions:.500}"
        )
    try:
        empty = not manual_dir or not any(manual_dir.iterdir())
        if builder.MANUAL_DOWNLOAD_INSTRUCTIONS and empty:
            # TFDS would retry for minutes; one request shows at once whether there is a network.
            requests.head(builder.info.homepage, timeout=10)
        builder.download_and_prepare(download_config=download)
    except ValueError as error:
        raise UserError(f"`dataset={name}`: {error}") from error
    except (requests.RequestException, tfds.download.DownloadError) as error:
        files = (
            f"put the files of {builder.info.homepage} into a folder and give `manual_dir=FOLDER` or set "
            f"{MANUAL_DIR_VARIABLE}"
        )
        prepared = (
            f"run tfds build {name} on another machine, copy ~/tensorflow_datasets and give `data_dir=FOLDER`"
        )
        raise UserError(
            f"`dataset={name}`: could not be downloaded ({type(error).__name__}). Offline: "
            f"{files if own else prepared}; or use `dataset=recyclables_synth`, whose images are drawn"
        ) from error
    except OSError as error:
        raise UserError(f"`data_dir={data_dir}`: cannot be written ({error})") from error


def _folder():
    """`datasets/` of the checkout, or the package that the wheel installs it as."""
    installed = _PACKAGE / "datasets"
    return installed if installed.is_dir() else _PACKAGE.parent / "datasets"


def _import(name):
    # As `tfds build datasets/NAME` does: a builder takes its name and its texts from its module.
    folder = str(_folder())
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(f"{name}.{name}_dataset_builder").Builder

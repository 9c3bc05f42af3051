"""The TFDS builders that come with this package: finding, importing and preparing them."""

import importlib
import os
import pathlib
import sys

import requests

from recycle_tf import options, paths
from recycle_tf.errors import UserError, did_you_mean

MANUAL_DIR_VARIABLE = "RECYCLE_TF_MANUAL_DIR"
"""Environment variable with the default of `manual_dir`."""

_PACKAGE = pathlib.Path(__file__).resolve().parents[1]


def names():
    """Names of the builders, sorted."""
    return sorted(path.parent.name for path in _folder().glob("*/*_dataset_builder.py"))


def prepare(dataset, manual_dir=None, data_dir=None):
    """Imports a builder and prepares its data, if that has not been done.

    Args:
        dataset: name of the builder, with its variant if it has several: `trashnet` or `trashnet/clean`.
        manual_dir: folder with files that the user downloaded; default: `$RECYCLE_TF_MANUAL_DIR`.
        data_dir: folder of prepared datasets; default: that of TFDS.

    Returns:
        A prepared `tfds.core.DatasetBuilder`.

    Raises:
        UserError: no such builder, or its data cannot be prepared; says how to do that without a network.
    """
    name, _, config = dataset.partition("/")
    if name not in names():
        raise UserError(
            f"`dataset={paths.printable(dataset)}`: no such folder, and no dataset of that name; "
            f"{did_you_mean(name, names())}"
        )
    builder_class = _import(name)
    configs = {config.name for config in builder_class.BUILDER_CONFIGS}
    if config and config not in configs:
        raise UserError(f"`dataset={dataset}`: {name} has no such variant, {did_you_mean(config, configs)}")
    manual_dir = manual_dir if manual_dir is not None else os.environ.get(MANUAL_DIR_VARIABLE) or None
    if manual_dir is not None:
        given, manual_dir = manual_dir, paths.from_user(manual_dir, "manual_dir")
        if not manual_dir.is_dir():
            raise UserError(f"`manual_dir={given}`: no such folder")
    if data_dir is not None:
        paths.from_user(data_dir, "data_dir")
    builder = builder_class(config=config or None, data_dir=data_dir)
    if not builder.is_prepared():
        _download_and_prepare(builder, name, manual_dir, data_dir)
    return builder


def records(builder):
    """Reads a prepared builder's examples; images stay encoded.

    Returns:
        `{split: list of {"id": bytes, "image": bytes, "label": int}}`.
    """
    import tensorflow_datasets as tfds

    undecoded = {"image": tfds.decode.SkipDecoding()}
    return {
        split: list(
            builder.as_dataset(split=split, decoders=undecoded, shuffle_files=False).as_numpy_iterator()
        )
        for split in options.SPLITS
    }


def _download_and_prepare(builder, name, manual_dir, data_dir):
    import tensorflow_datasets as tfds

    download = tfds.download.DownloadConfig(manual_dir=manual_dir and str(manual_dir))
    try:
        empty = not manual_dir or not any(manual_dir.iterdir())
        if builder.MANUAL_DOWNLOAD_INSTRUCTIONS and empty:
            # TFDS would retry for minutes; one request shows at once whether there is a network.
            requests.head(builder.info.homepage, timeout=10)
        builder.download_and_prepare(download_config=download)
    except ValueError as error:
        raise UserError(f"`dataset={name}`: {error}") from error
    except (requests.RequestException, tfds.download.DownloadError) as error:
        raise UserError(
            f"`dataset={name}`: could not be downloaded ({type(error).__name__}). Offline: put the files of "
            f"{builder.info.homepage} into a folder and give `manual_dir=FOLDER` or set "
            f"{MANUAL_DIR_VARIABLE}; or use `dataset=recyclables_synth`, whose images are drawn"
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

"""Where examples come from: a TFDS builder, a folder with one sub-folder a class, or a CSV manifest."""

import dataclasses
import functools
import hashlib
import importlib
import os
import pathlib
import sys
from collections.abc import Callable

import numpy as np
import requests
import tensorflow as tf

from recycle_tf.data import decode, splits
from recycle_tf.errors import UserError, did_you_mean

MANUAL_DIR_VARIABLE = "RECYCLE_TF_MANUAL_DIR"

PACKAGE = pathlib.Path(__file__).resolve().parents[1]


@dataclasses.dataclass(frozen=True)
class Split:
    """The examples of one split, by index.

    Attributes:
        ids: name of each example, unique in its source.
        labels: index of each example's class, int64.
        encoded: the bytes of the example at an int64 tensor's index, as a scalar string tensor.
    """

    ids: tuple
    labels: np.ndarray
    encoded: Callable[[tf.Tensor], tf.Tensor]

    def __len__(self):
        return len(self.ids)


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set.

    Attributes:
        name: for people and run folders, such as `trashnet` or the folder's name.
        labels: names of the classes, in index order.
        splits: `{"train": Split, "validation": Split, "test": Split}`.
        fingerprint: changes when an example comes, goes, moves to another class or changes its bytes' number.
        ignored: files that were left out because they are no pictures.
    """

    name: str
    labels: tuple
    splits: dict
    fingerprint: str
    ignored: tuple = ()

    def __post_init__(self):
        """Refuses names that would not survive a file of one label a line."""
        if len(self.labels) < 2:
            raise UserError(f"{self.name}: only one class, {self.labels[0]}; at least two are needed")
        for label in self.labels:
            if not label.strip() or not label.isprintable():
                raise UserError(f"{self.name}: class name {label!r} is empty or has a line break in it")

    @property
    def num_examples(self):
        """Examples of all splits."""
        return sum(len(split) for split in self.splits.values())

    def dataset(self, split):
        """A `tf.data.Dataset` of `{"image": encoded bytes, "label": int64, "id": string}`."""
        split = self.splits[split]
        ids, labels = tf.constant(split.ids), tf.constant(split.labels)
        return tf.data.Dataset.range(len(split)).map(
            lambda index: {"image": split.encoded(index), "label": labels[index], "id": ids[index]}
        )

    def manifest(self):
        """Rows `(id, label, split)`, for `splits.write_manifest`."""
        return [
            (example, self.labels[label], name)
            for name, split in self.splits.items()
            for example, label in zip(split.ids, split.labels, strict=True)
        ]


def open_source(dataset, *, manual_dir=None, data_dir=None, seed=0, manifest=None):
    """Opens what `--dataset` names.

    Args:
        dataset: name of a builder in `datasets/` (`trashnet`, `trashnet/clean`), a folder, or a `.csv`.
        manual_dir: where a builder finds files that the user fetched; `$RECYCLE_TF_MANUAL_DIR` if None.
        data_dir: where TFDS keeps prepared data sets; its own default if None.
        seed: of the split, where the source has none.
        manifest: a CSV with the split of a folder, written by an earlier run.

    Returns:
        A `Source` with three splits.

    Raises:
        UserError: nothing there, or something in it that cannot be learnt from.
    """
    path = pathlib.Path(dataset).expanduser()
    if path.suffix == ".csv":
        if not path.is_file():
            raise UserError(f"--dataset={dataset}: no such file")
        return from_manifest(path, path.parent)
    if path.is_dir():
        return from_manifest(manifest, path) if manifest else from_folder(path, seed)
    name, _, config = str(dataset).partition("/")
    if name not in builders():
        raise UserError(
            f"--dataset={dataset}: no such folder, and no data set of that name; "
            f"{did_you_mean(name, builders())}"
        )
    return from_builder(name, config or None, manual_dir, data_dir)


def builders():
    """Names of the TFDS builders that come with this package."""
    return sorted(path.parent.name for path in _builders_dir().glob("*/*_dataset_builder.py"))


def from_folder(root, seed=0):
    """A folder with one sub-folder a class, perhaps inside `train/ validation/ test/` (or `val/`).

    A split that is missing is taken out of the training pictures: stratified, 15 %, seeded.

    Raises:
        UserError: no class folders, an empty one, a class that is not trained, or a file that is no picture.
    """
    folders = {name: root / name for name in ("train", "validation", "val", "test")}
    if not folders["train"].is_dir():
        folders = {"train": root}
    images, names, parts, ignored = [], [], [], []
    for folder_name, folder in folders.items():
        if not folder.is_dir():
            continue
        split = "validation" if folder_name == "val" else folder_name
        for image, label in _walk(folder, ignored):
            images.append(image)
            names.append(label)
            parts.append(split)
    trained = {name for name, part in zip(names, parts, strict=True) if part == "train"}
    untrained = sorted(set(names) - trained)
    if untrained:
        raise UserError(f"{root}: class {untrained[0]!r} has no folder in train/")
    wanted = tuple(name for name in splits.SHARES if name not in parts)
    if wanted:
        train = [i for i, part in enumerate(parts) if part == "train"]
        for i, part in zip(train, splits.stratified([names[i] for i in train], seed, wanted), strict=True):
            parts[i] = part
    rows = [
        (image.relative_to(root).as_posix(), name, part)
        for image, name, part in zip(images, names, parts, strict=True)
    ]
    return _from_files(root, rows, tuple(ignored))


def from_manifest(path, root):
    """Files that a CSV manifest lists, with columns `image,label,split`; paths are relative to `root`.

    Raises:
        UserError: a missing column or file, a path that leaves `root`, or a split without examples.
    """
    lines, seen = splits.read_manifest(path), {}
    for line, (image, _, _) in lines.items():
        file = root / image
        if image in seen:
            raise UserError(f"{path}, line {line}: {image} stands in line {seen[image]} already")
        seen[image] = line
        if not file.resolve().is_relative_to(root.resolve()):
            raise UserError(f"{path}, line {line}: {image} lies outside {root}")
        if not file.is_file():
            raise UserError(f"{path}, line {line}: no such file: {file}")
    rows = list(lines.values())
    for split in splits.SPLITS:
        if split not in {row[2] for row in rows}:
            raise UserError(f"{path}: no example in the split {split!r}")
    return _from_files(root, rows)


def from_builder(name, config=None, manual_dir=None, data_dir=None):
    """A TFDS builder of `datasets/`, prepared on first use.

    Raises:
        UserError: it could not be prepared; says how to do so without a network.
    """
    import tensorflow_datasets as tfds

    manual_dir = manual_dir or os.environ.get(MANUAL_DIR_VARIABLE)
    if manual_dir and not pathlib.Path(manual_dir).expanduser().is_dir():
        raise UserError(f"--manual_dir={manual_dir}: no such folder")
    builder_class = _import_builder(name)
    known = {c.name for c in builder_class.BUILDER_CONFIGS}
    if config and config not in known:
        raise UserError(
            f"--dataset={name}/{config}: {name} has no such variant, {did_you_mean(config, known)}"
        )
    builder = builder_class(config=config, data_dir=data_dir)
    if not builder.is_prepared():
        download = tfds.download.DownloadConfig(
            manual_dir=manual_dir and str(pathlib.Path(manual_dir).expanduser())
        )
        try:
            empty = not manual_dir or not any(pathlib.Path(manual_dir).expanduser().iterdir())
            if builder.MANUAL_DOWNLOAD_INSTRUCTIONS and empty:
                # TFDS would try for minutes; its own homepage tells at once whether there is a network.
                requests.head(builder.info.homepage, timeout=10)
            builder.download_and_prepare(download_config=download)
        except ValueError as error:
            raise UserError(f"--dataset={name}: {error}") from error
        except (requests.RequestException, tfds.download.DownloadError) as error:
            raise UserError(
                f"--dataset={name}: could not be downloaded ({type(error).__name__}). Offline: put the files "
                f"of {builder.info.homepage} into a folder and give --manual_dir=FOLDER or set "
                f"{MANUAL_DIR_VARIABLE}; or take --dataset=recyclables_synth, which is drawn"
            ) from error
        except OSError as error:
            raise UserError(f"--data_dir={data_dir}: cannot be written ({error})") from error
    read = functools.partial(
        builder.as_dataset, decoders={"image": tfds.decode.SkipDecoding()}, shuffle_files=False
    )
    found = {split: _from_records(read(split=split)) for split in splits.SPLITS}
    shards = [str(builder.info.full_name)]
    shards += [f"{s}:{info.num_examples}:{info.num_bytes}" for s, info in builder.info.splits.items()]
    return Source(
        name=name if config is None else f"{name}-{config}",
        labels=tuple(builder.info.features["label"].names),
        splits=found,
        fingerprint=_digest(shards),
    )


def first_unreadable(split):
    """Name of the first example that cannot be read or decoded, or None."""
    for index, example in enumerate(split.ids):
        try:
            decode.decode(split.encoded(tf.constant(index, tf.int64)), 8)
        except tf.errors.OpError:
            return example
    return None


def _walk(folder, ignored):
    """(file, class name) of every picture in the class folders of `folder`; adds the rest to `ignored`."""
    classes = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not classes:
        raise UserError(f"{folder}: no class folders; expected one sub-folder of pictures a class")
    if len(classes) == 1:
        raise UserError(f"{folder}: only one class folder, {classes[0].name}; at least two are needed")
    found = []
    for class_folder in classes:
        files = [p for p in sorted(class_folder.rglob("*")) if p.is_file() and not p.name.startswith(".")]
        for path in files:
            if not path.name.isprintable():
                raise UserError(f"{str(path)!r}: the name is not UTF-8 or has a line break in it; rename it")
        pictures = [p for p in files if p.suffix.lower() in decode.SUFFIXES]
        if not pictures:
            raise UserError(f"{class_folder}: no pictures in this class folder; add some or remove it")
        found += [(p, class_folder.name) for p in pictures]
        ignored += [str(p) for p in files if p.suffix.lower() not in decode.SUFFIXES]
    return found


def _from_files(root, rows, ignored=()):
    labels = tuple(sorted({label for _, label, _ in rows}))
    found = {}
    for split in splits.SPLITS:
        chosen = [(image, label) for image, label, part in rows if part == split]
        paths = tf.constant([str(root / image) for image, _ in chosen])
        found[split] = Split(
            ids=tuple(image for image, _ in chosen),
            labels=np.array([labels.index(label) for _, label in chosen], np.int64),
            encoded=lambda index, paths=paths: tf.io.read_file(tf.gather(paths, index)),
        )
    facts = []
    for image, label, part in rows:
        decode.check_file(root / image)
        facts.append(f"{image}:{label}:{part}:{os.path.getsize(root / image)}")
    return Source(root.resolve().name, labels, found, _digest(sorted(facts)), ignored)


def _from_records(dataset):
    # Encoded pictures are small (TrashNet: 42 MB): held in memory they can be read by index.
    records = list(dataset.as_numpy_iterator())
    images = tf.constant([record["image"] for record in records])
    return Split(
        ids=tuple(record["id"].decode() for record in records),
        labels=np.array([record["label"] for record in records], np.int64),
        encoded=lambda index: tf.gather(images, index),
    )


def _builders_dir():
    """`datasets/` of the checkout, or where the wheel maps it."""
    installed = PACKAGE / "datasets"
    return installed if installed.is_dir() else PACKAGE.parent / "datasets"


def _import_builder(name):
    # The way `tfds build datasets/NAME` does it: a builder takes its name and its texts from its module.
    folder = str(_builders_dir())
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(f"{name}.{name}_dataset_builder").Builder


def _digest(facts):
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]

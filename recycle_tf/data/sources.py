"""Where examples come from: a TFDS builder, a folder with one sub-folder a class, or a CSV manifest."""

import dataclasses
import functools
import importlib
import os
import pathlib
import sys
from collections.abc import Callable

import numpy as np
import requests
import tensorflow as tf
from PIL import Image

from recycle_tf.data import decode, near_duplicates, parallel, splits
from recycle_tf.errors import UserError, did_you_mean

MANUAL_DIR_VARIABLE = "RECYCLE_TF_MANUAL_DIR"

OUTSIDE = "a link out of the folder"
"""What a path is called that leaves its data set's folder."""

PACKAGE = pathlib.Path(__file__).resolve().parents[1]


@dataclasses.dataclass(frozen=True)
class Split:
    """The examples of one split, by index.

    Attributes:
        ids: name of each example, unique in its source.
        labels: index of each example's class, int64.
        encoded: the bytes of the example at an int64 tensor's index, as a scalar string tensor.
        hashes: `splits.content_hash` of each example; empty where nobody asks for them.
    """

    ids: tuple
    labels: np.ndarray
    encoded: Callable[[tf.Tensor], tf.Tensor]
    hashes: tuple = ()

    def __len__(self):
        return len(self.ids)


@dataclasses.dataclass(frozen=True)
class Fault:
    """A file that cannot be learnt from, and why."""

    kind: str
    file: str
    detail: str


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set.

    Attributes:
        name: for people and run folders, such as `trashnet` or the folder's name.
        labels: names of the classes, in index order.
        splits: `{"train": Split, "validation": Split, "test": Split}`.
        ignored: files that were left out because they are no pictures.
        root: the folder that ids are relative to; None for a builder.
        faults: what else was left out; only if the source was opened to be audited.
        thumbnails: `{content hash: near_duplicates.thumbnail}` of the pictures compared for the split.
    """

    name: str
    labels: tuple
    splits: dict
    ignored: tuple = ()
    root: pathlib.Path | None = None
    faults: tuple = ()
    thumbnails: dict = dataclasses.field(default_factory=dict)

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

    @property
    def fingerprint(self):
        """Changes when an example comes, goes, moves to another class or split, or changes a byte."""
        rows = sorted(":".join(row) for row in self.manifest())
        return splits.content_hash("\n".join([*self.labels, *rows]).encode())

    def dataset(self, split):
        """A `tf.data.Dataset` of `{"image": encoded bytes, "label": int64, "id": string}`."""
        split = self.splits[split]
        ids, labels = tf.constant(split.ids), tf.constant(split.labels)
        return tf.data.Dataset.range(len(split)).map(
            lambda index: {"image": split.encoded(index), "label": labels[index], "id": ids[index]}
        )

    def manifest(self):
        """Rows `(id, label, split, content hash)`, for `splits.write_manifest`."""
        return [
            (example, self.labels[label], name, digest)
            for name, split in self.splits.items()
            for example, label, digest in zip(split.ids, split.labels, split.hashes, strict=True)
        ]


def open_source(
    dataset,
    *,
    manual_dir=None,
    data_dir=None,
    seed=0,
    split=splits.METHODS[0],
    manifest=None,
    auditing=False,
):
    """Opens what `--dataset` names.

    Args:
        dataset: name of a builder in `datasets/` (`trashnet`, `trashnet/clean`), a folder, or a `.csv`.
        manual_dir: where a builder finds files that the user fetched; `$RECYCLE_TF_MANUAL_DIR` if None.
        data_dir: where TFDS keeps prepared data sets; its own default if None.
        seed: of the split, where the source has none.
        split: one of `splits.METHODS`, where the source has none.
        manifest: a CSV with the split of a folder, written by an earlier run.
        auditing: files that cannot be learnt from become `Source.faults` instead of an error, and those that
            are no pictures are left in, to be looked at one by one.

    Returns:
        A `Source` with three splits.

    Raises:
        UserError: nothing there, something in it that cannot be learnt from, or a `split` that would be of no
            effect.
    """
    path = pathlib.Path(dataset).expanduser()
    if path.is_dir():
        if manifest:
            return from_manifest(manifest, path, auditing)
        return from_folder(path, seed, split, auditing)
    if split != splits.METHODS[0]:
        raise UserError(f"--split={split}: {dataset} has its own split; give a folder of class folders")
    if path.suffix == ".csv":
        if not path.is_file():
            raise UserError(f"--dataset={dataset}: no such file")
        return from_manifest(path, path.parent, auditing)
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


def from_folder(root, seed=0, split=splits.METHODS[0], auditing=False):
    """A folder with one sub-folder a class, perhaps inside `train/ validation/ test/` (or `val/`).

    A split that is missing is taken out of the training pictures: 15 %, of every class alike, seeded.

    Args:
        root: the folder.
        seed: of the split.
        split: one of `splits.METHODS`.
        auditing: as in `open_source`.

    Raises:
        UserError: no class folders, an empty one, a class that is not trained, or a file that is no picture.
    """
    folders = {name: root / name for name in ("train", "validation", "val", "test")}
    if not folders["train"].is_dir():
        folders = {"train": root}
    rows, ignored, faults = {}, [], []
    for folder_name, folder in folders.items():
        if folder.is_dir():
            part = "validation" if folder_name == "val" else folder_name
            for file, label in _walk(folder, root, ignored):
                rows[file.relative_to(root).as_posix()] = label, part
    hashes = _hashes(root, rows, faults if auditing else None)
    rows = {image: rows[image] for image in hashes}
    parts = {part for _, part in rows.values()}
    untrained = sorted(
        {label for label, _ in rows.values()} - {label for label, part in rows.values() if part == "train"}
    )
    if untrained:
        raise UserError(f"{root}: class {untrained[0]!r} has no folder in train/")
    wanted = tuple(name for name in splits.SHARES if name not in parts)
    thumbnails = {}
    if wanted:
        train = [image for image, (_, part) in rows.items() if part == "train"]
        labels = [rows[image][0] for image in train]
        if split == "grouped":
            thumbnails = _thumbnails({hashes[image]: root / image for image in train})
            drawn = splits.grouped(
                labels, _groups([hashes[image] for image in train], thumbnails), seed, wanted
            )
        else:
            drawn = splits.stratified(labels, seed, wanted)
        rows |= {image: (rows[image][0], part) for image, part in zip(train, drawn, strict=True)}
    elif split != splits.METHODS[0]:
        raise UserError(f"--split={split}: {root} has its own split, in train/, validation/ and test/")
    if auditing:
        faults += [Fault("ignored", _shown(file.relative_to(root)), why) for file, why in ignored]
    return _from_files(root, rows, hashes, [_shown(file) for file, _ in ignored], faults, thumbnails)


def from_manifest(path, root, auditing=False):
    """Files that a CSV manifest lists, with columns `image,label,split` and perhaps `sha256`.

    Args:
        path: the CSV.
        root: the folder that its paths are relative to.
        auditing: as in `open_source`.

    Raises:
        UserError: a missing column or file, a path that leaves `root`, a file whose content is not what its
            line's hash says, or a split without examples.
    """
    lines, seen, rows, faults = splits.read_manifest(path), {}, {}, []
    for line, (image, label, split, _) in lines.items():
        file = root / image
        if image in seen:
            raise UserError(f"{path}, line {line}: {image} stands in line {seen[image]} already")
        seen[image] = line
        problem = _problem(file, root)
        if problem == OUTSIDE:
            raise UserError(f"{path}, line {line}: {image} lies outside {root}")
        if problem and not auditing:
            raise UserError(f"{path}, line {line}: {problem}: {file}")
        if problem:
            faults.append(Fault("missing", _shown(image), f"{problem}, in line {line}"))
        else:
            rows[image] = label, split
    hashes = _hashes(root, rows, faults if auditing else None)
    rows = {image: rows[image] for image in hashes}
    for line, (image, _, _, expected) in lines.items():
        if expected and hashes.get(image, expected) != expected:
            if not auditing:
                raise UserError(
                    f"{path}, line {line}: {image} has changed since this line was written "
                    f"(sha256 {hashes[image]}, not {expected}); bring it back, or write the split anew"
                )
            faults.append(
                Fault("changed", image, f"sha256 {hashes[image]}, not {expected} as in line {line}")
            )
    for split in splits.SPLITS:
        if split not in {part for _, part in rows.values()}:
            raise UserError(f"{path}: no example in the split {split!r}")
    return _from_files(root, rows, hashes, faults=faults)


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
    return Source(
        name=name if config is None else f"{name}-{config}",
        labels=tuple(builder.info.features["label"].names),
        splits=found,
    )


def subset(split, chosen):
    """The examples of a split at some indices, in that order.

    Args:
        split: a `Split`.
        chosen: int64 indices.

    Returns:
        A `Split`.
    """
    places = tf.constant(chosen, tf.int64)
    return Split(
        ids=tuple(split.ids[i] for i in chosen),
        labels=split.labels[chosen],
        hashes=tuple(split.hashes[i] for i in chosen) if split.hashes else (),
        encoded=lambda index: split.encoded(tf.gather(places, index)),
    )


def first_unreadable(split):
    """Name of the first example that cannot be read or decoded, or None."""
    for index, example in enumerate(split.ids):
        try:
            decode.decode(split.encoded(tf.constant(index, tf.int64)), 8)
        except tf.errors.OpError:
            return example
    return None


def _walk(folder, root, ignored):
    """(file, class name) of every picture in the class folders; adds (file, why) of the rest to `ignored`.

    By their names: none is opened. What a link outside of `root` leads to is none of the data set's.
    """
    classes = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not classes:
        raise UserError(f"{folder}: no class folders; expected one sub-folder of pictures a class")
    if len(classes) == 1:
        raise UserError(f"{folder}: only one class folder, {classes[0].name}; at least two are needed")
    found = []
    for class_folder in classes:
        pictures = []
        for path in sorted(class_folder.rglob("*")):
            named_so = path.suffix.lower() in decode.SUFFIXES
            if path.name.startswith(".") or (path.is_dir() and not named_so):
                continue
            problem = _problem(path, root)
            if named_so and not problem:
                pictures.append((path, class_folder.name))
            else:
                ignored.append((path, problem or "not named like a picture"))
        if not pictures:
            hint = "; links that lead out of the data set's folder are not followed"
            raise UserError(
                f"{class_folder}: no pictures in this class folder; add some or remove it"
                + hint * any(problem == OUTSIDE for _, problem in ignored)
            )
        found += pictures
    return found


def _hashes(root, images, faults):
    """`{image: content hash}` of files below `root`, each read once.

    Args:
        root: the folder.
        images: paths relative to it.
        faults: a list to which files are added that cannot be used; None to raise instead.

    Raises:
        UserError: the first file that cannot be learnt from, unless `faults` are collected.
    """
    usable = []
    for image in images:
        if not image.isprintable():
            detail = "the name is not UTF-8 or has a line break in it; rename it"
            if faults is None:
                raise UserError(f"{_shown(root / image)}: {detail}")
            faults.append(Fault("unusable_name", _shown(image), detail))
            continue
        if faults is None:
            decode.check_file(root / image)
        usable.append(image)

    def read(image):
        try:
            return splits.content_hash((root / image).read_bytes())
        except OSError as error:
            return error

    found = dict(zip(usable, parallel.each(read, usable, "reading"), strict=True))
    for image, error in found.items():
        if isinstance(error, OSError):
            if faults is None:
                raise UserError(f"{root / image}: cannot be read ({error.strerror})") from error
            faults.append(Fault("unreadable", image, f"cannot be read: {error.strerror}"))
    return {image: digest for image, digest in found.items() if isinstance(digest, str)}


def _thumbnails(files):
    """`{content hash: thumbnail}` of `{content hash: file}`, but for pictures that cannot be decoded."""

    def look(file):
        try:
            with Image.open(file, formats=decode.FORMATS) as picture:
                return near_duplicates.thumbnail(picture)
        except Exception:
            # Whoever decodes it in full names it; here it only resembles nothing.
            return None

    found = zip(files, parallel.each(look, list(files.values()), "comparing"), strict=True)
    return {digest: thumbnail for digest, thumbnail in found if thumbnail is not None}


def _groups(hashes, thumbnails):
    """For each picture the name of its group of near-duplicates: the lowest content hash in it."""
    compared = sorted(thumbnails)
    stack = np.array([thumbnails[digest] for digest in compared]).reshape(
        -1, near_duplicates.SIDE, near_duplicates.SIDE
    )
    pairs = ((first, second) for first, second, _ in near_duplicates.near_pairs(stack))
    lowest = near_duplicates.groups(len(compared), pairs)
    name = {digest: compared[low] for digest, low in zip(compared, lowest, strict=True)}
    return [name.get(digest, digest) for digest in hashes]


def _problem(path, root):
    """Why `path` is no file of the data set in `root`; None if it is one."""
    if "\0" in str(path):
        return "no such file"
    if path.is_symlink() and not path.exists():
        return "a link to nowhere"
    if not path.resolve().is_relative_to(root.resolve()):
        return OUTSIDE
    if path.is_dir():
        return "a folder"
    if not path.exists():
        return "no such file"
    return None if path.is_file() else "not a regular file"


def _shown(path):
    """A path that can be printed on one line of UTF-8."""
    return str(path) if str(path).isprintable() else repr(str(path))


def _from_files(root, rows, hashes, ignored=(), faults=(), thumbnails=None):
    """The source of files: `rows` are `{image: (label, split)}`, with paths relative to `root`."""
    labels = tuple(sorted({label for label, _ in rows.values()}))
    found = {}
    for split in splits.SPLITS:
        chosen = [image for image, (_, part) in rows.items() if part == split]
        paths = tf.constant([str(root / image) for image in chosen])
        found[split] = Split(
            ids=tuple(chosen),
            labels=np.array([labels.index(rows[image][0]) for image in chosen], np.int64),
            encoded=lambda index, paths=paths: tf.io.read_file(tf.gather(paths, index)),
            hashes=tuple(hashes[image] for image in chosen),
        )
    return Source(root.resolve().name, labels, found, tuple(ignored), root, tuple(faults), thumbnails or {})


def _from_records(dataset):
    # Encoded pictures are small (TrashNet: 42 MB): held in memory they can be read by index.
    records = list(dataset.as_numpy_iterator())
    images = tf.constant([record["image"] for record in records])
    return Split(
        ids=tuple(record["id"].decode() for record in records),
        labels=np.array([record["label"] for record in records], np.int64),
        encoded=lambda index: tf.gather(images, index),
        hashes=tuple(splits.content_hash(record["image"]) for record in records),
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

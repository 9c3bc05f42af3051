"""Opens datasets: a folder with one subfolder per class, a CSV manifest, or a TFDS builder.

What is read when:

1. `open_source` lists the files (`listing`) and reads each of them once (`checks`), in parallel: content
   hash, header and thumbnail. The thumbnails stay in `Source.thumbnails`, so that the search for
   near-duplicates across splits (`audit.leaks`) opens no file. With `on_bad_image="skip"`, and for an
   audit, the same reading decodes every image completely.
2. The pipeline reads and decodes the files into its cache (`cache`). That is a pass of its own: the size of
   the decoded images is not known before, and keeping all encoded bytes until then would take as much
   memory as the dataset has on disk. Where that fits, the operating system's file cache holds them anyway.

With a `manifest`, the split is known and step 1 makes no thumbnails. The examples of a TFDS builder stay in
memory.
"""

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from recycle_tf import options, paths
from recycle_tf.data import (
    checks,
    decode,
    joining,
    label_maps,
    listing,
    near_duplicates,
    splits,
    tfds_builders,
)
from recycle_tf.errors import UserError, did_you_mean

REPORT = "report"
"""Value of `on_bad_image` for an audit: nothing is left out."""

REPEATED = "shows the same as a validation or test image of another source"
"""Why a training image of one of several sources is left out."""

MAX_COMPARED = 20_000
"""Largest number of images that is searched for near-duplicates when a dataset is opened. On two cores that
takes twenty seconds for images of TrashNet's size, and seven minutes for images of 12 megapixels."""


@dataclasses.dataclass(frozen=True)
class Split:
    """The examples of one split, by index.

    Attributes:
        ids: name of each example, unique in its source.
        labels: index of each example's class, int64.
        encoded: function from an index, an int64 tensor, to the bytes of the example, a scalar string tensor.
        hashes: `splits.content_hash` of each example; may be empty if nothing needs them.
        parts: of several sources, the index in `part_names` of each example's; None for one source.
        part_names: names of the sources; empty for one source.
    """

    ids: tuple
    labels: np.ndarray
    encoded: Callable[[tf.Tensor], tf.Tensor]
    hashes: tuple = ()
    parts: np.ndarray | None = None
    part_names: tuple = ()

    def __len__(self):
        return len(self.ids)

    def by_part(self):
        """`{name of a source: indices of its examples}`, of those with examples; `{}` for one source."""
        found = {name: np.flatnonzero(self.parts == part) for part, name in enumerate(self.part_names)}
        return {name: indices for name, indices in found.items() if len(indices)}


@dataclasses.dataclass(frozen=True)
class Source:
    """A dataset.

    Attributes:
        name: name for messages and run folders, such as `trashnet` or that of the folder.
        labels: names of the classes, in index order.
        splits: `{name: Split}`: `train`, `validation` and `test`, or others if opened by `open_unsplit`.
        ignored: files that were left out, each with the reason if it is not obvious.
        root: the folder that ids are relative to; None for a builder.
        faults: a `listing.Fault` for each problem that was found.
        thumbnails: `{content hash: near_duplicates.thumbnail}` of images that were compared; None for those
            that cannot be decoded.
    """

    name: str
    labels: tuple
    splits: dict
    ignored: tuple = ()
    root: pathlib.Path | None = None
    faults: tuple = ()
    thumbnails: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        """Rejects names that a file with one label per line cannot hold."""
        for label in self.labels:
            if label != label.strip() or not label or not label.isprintable():
                raise UserError(
                    f"{self.name}: class name {label!r} is empty, begins or ends with a space, or has "
                    "characters that cannot be printed; rename it"
                )

    @property
    def num_examples(self):
        """Number of examples in all splits."""
        return sum(len(split) for split in self.splits.values())

    @property
    def counts(self):
        """`{split: {label: number of examples}}`."""
        return {
            name: dict(
                zip(self.labels, np.bincount(split.labels, minlength=len(self.labels)).tolist(), strict=True)
            )
            for name, split in self.splits.items()
        }

    @property
    def fingerprint(self):
        """A hash that changes when an example is added, removed, edited, or moved to a class or split."""
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
        """Rows for `splits.write_manifest`: `(id, label, split, content hash)`.

        Of several sources, an id is that in its source, whose name is a fifth column.
        """
        return [
            (_within_part(split, index), self.labels[label], name, digest, *_part_of(split, index))
            for name, split in self.splits.items()
            for index, (label, digest) in enumerate(zip(split.labels, split.hashes, strict=True))
        ]


def open_source(
    dataset,
    *,
    on_bad_image="error",
    manual_dir=None,
    data_dir=None,
    seed=0,
    split="stratified",
    manifest=None,
    label_map=None,
    earlier_splits=None,
):
    """Opens a dataset for training, with three splits.

    A split that a folder does not have is drawn from its training images: 15 % of every class. Of several
    sources, the classes of the first count: others must be in `label_map`.

    Args:
        dataset: a folder, a `.csv`, the name of a TFDS builder (`trashnet`, `trashnet/clean`, `cifar10`), or
            several of these with + between them; see `joining.join`.
        on_bad_image: one of `options.ON_BAD_IMAGE`. With `"error"` the first file that cannot be used
            raises an error; damage that its header does not show is found when it is decoded. With `"skip"`
            every image is decoded, and files that cannot be used are left out and listed in
            `Source.ignored`. `REPORT`, for an audit, decodes every image too and leaves nothing out.
        manual_dir: folder with files for a builder that the user downloaded; default:
            `$RECYCLE_TF_MANUAL_DIR`.
        data_dir: folder of prepared datasets; default: that of TFDS.
        seed: seed of the split, if it is drawn.
        split: one of `options.SPLIT_METHODS`, how the split is drawn.
        manifest: a CSV with the split, written by an earlier run.
        label_map: file of `label_maps.read`; a `manifest` has the other names already.
        earlier_splits: `{one of several sources: (CSV of an earlier run, the source's name in it or None)}`.

    Returns:
        A `Source`.

    Raises:
        UserError: no such dataset, a file or class that cannot be used, or a `split` that would have no
            effect.
    """
    _check_choice("on_bad_image", on_bad_image, (*options.ON_BAD_IMAGE, REPORT))
    _check_choice("split", split, options.SPLIT_METHODS)
    datasets = joining.names(dataset)
    parts = joining.short_names(datasets) if len(datasets) > 1 else [None]
    stored = [(manifest, part) for part in parts]
    if len(datasets) > 1 and not manifest:
        stored = [(earlier_splits or {}).get(one, (None, None)) for one in datasets]
    found = [_find(one, *csv, partial=len(datasets) > 1) for one, csv in zip(datasets, stored, strict=True)]
    if split != "stratified" and not manifest and not any(map(_splits_to_draw, found)):
        raise UserError(f"`split={split}`: {dataset} has its own split; use a folder of class folders")
    mapping = label_maps.read(label_map) if label_map and not manifest else label_maps.LabelMap()
    opened = [
        _from_listing(listed, on_bad_image, seed, split, None if csv else mapping)
        if listed
        else _from_builder(str(one), manual_dir, data_dir, on_bad_image, mapping, _stored_rows(csv, part))
        for one, listed, (csv, part) in zip(datasets, found, stored, strict=True)
    ]
    if not any(csv for csv, _ in stored):
        mapping.require_met()
    return _joined(opened, parts, mapping, on_bad_image, complete=manifest or on_bad_image == REPORT)


def class_names(dataset):
    """Names of the classes of one folder or manifest, without opening an image; None for anything else.

    Raises:
        UserError: no such file, or a folder that is not a dataset.
    """
    if len(joining.names(dataset)) > 1:
        return None
    found = _find(dataset)
    return found and tuple(sorted({label for label, _ in found.rows.values()}))


def open_unsplit(dataset, *, manual_dir=None, data_dir=None, on_bad_image="error"):
    """Opens a dataset for evaluation, with the splits that it has: none is drawn.

    A single class is enough.

    Args:
        dataset: as in `open_source`. A folder of class folders gives the split `"all"`; a folder with class
            folders inside `train/`, `validation/` (or `val/`) or `test/` gives those of the three that
            exist. A CSV gives the splits in its column `split`, or `"all"` without that column. A builder
            gives its own.
        manual_dir: as in `open_source`.
        data_dir: as in `open_source`.
        on_bad_image: one of `options.ON_BAD_IMAGE`, as in `open_source`.

    Returns:
        A `Source`.

    Raises:
        UserError: no such dataset, or a file that cannot be used.
    """
    _check_choice("on_bad_image", on_bad_image, options.ON_BAD_IMAGE)
    found = _find(dataset, unsplit=True)
    if found:
        checked, faults = _check(found, on_bad_image, compare=False)
        rows = _readable(found, checked)
        present = {split for _, split in rows.values()}
        names = [name for name in (*options.SPLITS, listing.ALL) if name in present]
        source = _from_files(found, rows, checked, faults, names)
    else:
        source = _from_builder(str(dataset), manual_dir, data_dir, on_bad_image)
    return _without_unusable(source) if on_bad_image == "skip" else source


def subset(split, chosen):
    """Takes the examples of a split at some indices, in that order.

    Args:
        split: a `Split`.
        chosen: int64 indices.

    Returns:
        A `Split`.
    """
    indices = tf.constant(chosen, tf.int64)
    return dataclasses.replace(
        split,
        ids=tuple(split.ids[i] for i in chosen),
        labels=split.labels[chosen],
        hashes=tuple(split.hashes[i] for i in chosen) if split.hashes else (),
        encoded=lambda index: split.encoded(tf.gather(indices, index)),
        parts=None if split.parts is None else split.parts[chosen],
    )


def first_unreadable(split):
    """Name of the first example that cannot be read or decoded, or None."""
    for index, example in enumerate(split.ids):
        try:
            decode.decode(split.encoded(tf.constant(index, tf.int64)), 8)
        except tf.errors.OpError:
            return example
    return None


def _check_choice(name, value, choices):
    if value not in choices:
        raise UserError(f"`{name}={value}`: {did_you_mean(value, choices)}")


def _find(dataset, manifest=None, part=None, unsplit=False, partial=False):
    """The `listing.Listing` of a folder or CSV; None if `dataset` should be the name of a builder.

    `part` is the name of the dataset in the manifest if that is of several sources; `partial` whether it is
    one of several.
    """
    path = paths.from_user(dataset, "dataset")
    if path.is_dir():
        if manifest:
            return listing.from_manifest(manifest, path, partial=partial, source=part)
        return listing.from_folder(path, unsplit, partial)
    if path.suffix == ".csv":
        if not path.is_file():
            raise UserError(f"`dataset={dataset}`: no such file")
        if manifest and partial:
            return listing.from_manifest(manifest, path.parent, partial=True, source=part)
        return listing.from_manifest(path, path.parent, unsplit, partial)
    if path.exists():
        raise UserError(f"`dataset={dataset}`: neither a folder nor a .csv")
    return None


def _splits_to_draw(found):
    """Names of the splits that are missing: none in a manifest or a builder."""
    if not found or found.manifest:
        return ()
    present = {split for _, split in found.rows.values()}
    return tuple(name for name in splits.SHARES if name not in present)


def _from_listing(found, on_bad_image, seed, split, mapping):
    """The `Source` of a folder or CSV, with three splits.

    Labels are mapped first. `mapping` is None if both were stored by an earlier run.
    """
    if mapping:
        found = dataclasses.replace(found, rows=mapping.rows(found.rows))
    compare = split == "grouped" or len(found.rows) <= MAX_COMPARED
    checked, faults = _check(found, on_bad_image, compare and mapping is not None)
    wanted = _splits_to_draw(found)
    rows, small = _draw(found, checked, wanted, seed, split, strict=on_bad_image != REPORT)
    return _from_files(found, rows, checked, [*faults, *small], options.SPLITS)


def _joined(opened, parts, mapping, on_bad_image, complete):
    """One source, or several as one; `complete` if nothing is to be left out of several."""
    if on_bad_image == "skip":
        opened = [_without_unusable(source, must_train=len(opened) == 1) for source in opened]
    source = opened[0]
    if len(opened) > 1:
        if not complete:
            for name, other in zip(parts[1:], opened[1:], strict=True):
                mapping.require_known(other.labels, source.labels, name, parts[0])
        source = joining.join(opened, parts)
        if not complete and source.num_examples <= MAX_COMPARED:
            source = _without_repeated(source)
        joining.require_images(source)
    if len(source.labels) < 2:
        raise UserError(f"{source.name}: only one class, {source.labels[0]}; at least two are needed")
    return source


def _without_repeated(source):
    """Leaves out, and lists in `ignored`, training images that another source tests."""
    thumbnails = checks.thumbnails_of(source.splits.values(), source.thumbnails)
    repeated = joining.repeated(source.splits, thumbnails)
    train = source.splits["train"]
    return dataclasses.replace(
        source,
        splits=source.splits | {"train": subset(train, np.flatnonzero(~repeated))},
        ignored=(*source.ignored, *(f"{train.ids[i]}: {REPEATED}" for i in np.flatnonzero(repeated))),
        thumbnails=thumbnails,
    )


def _check(found, on_bad_image, compare):
    """Reads every file of a listing; thumbnails are made if `compare`.

    Returns:
        `{image: checks.Check}`, and all faults.

    Raises:
        UserError: the first file that cannot be used, with `on_bad_image="error"`.
    """
    checked = checks.check_all(
        found.rows,
        lambda image: (found.root / image).read_bytes(),
        compare=compare,
        thorough=on_bad_image != "error",
    )
    faults = [*found.faults, *_faults(checked, found.lines)]
    for image, expected in found.hashes.items():
        digest = checked[image].digest
        if digest and digest != expected:
            detail = f"the file has changed (sha256 {digest}, not {expected})"
            faults.append(listing.Fault("changed", image, detail, found.lines[image]))
    if on_bad_image == "error":
        _raise_first(faults, found.place)
    return checked, faults


def _faults(checked, lines):
    return [
        listing.Fault(kind, name, detail, lines.get(name))
        for name, check in checked.items()
        for kind, detail in check.problems
    ]


def _raise_first(faults, place):
    for fault in faults:
        if fault.kind in checks.UNUSABLE:
            raise UserError(f"{place(fault)}: {fault.detail}; {checks.REMEDIES[fault.kind]}")


def _readable(found, checked):
    """The rows of a listing whose files can be read, damaged or not."""
    return {image: row for image, row in found.rows.items() if checked[image].digest}


def _draw(found, checked, wanted, seed, split, strict):
    """Draws the splits `wanted` from the images for training.

    Returns:
        `{image: (label, split)}`, and a fault for each class that is too small, which stays in train.

    Raises:
        UserError: a class is too small, if `strict`.
    """
    rows = _readable(found, checked)
    if not wanted:
        return rows, []
    train = [image for image, (_, part) in rows.items() if part in ("train", listing.ALL)]
    labels = [rows[image][0] for image in train]
    if split == "grouped":
        groups = _groups([checked[image] for image in train])
        drawn = splits.grouped(labels, groups, seed, wanted, strict)
    else:
        groups = None
        drawn = splits.stratified(labels, seed, wanted, strict)
    rows |= {image: (rows[image][0], part) for image, part in zip(train, drawn, strict=True)}
    small = splits.too_small(labels, groups, wanted)
    return rows, [listing.Fault("small_class", label, detail) for label, detail in small.items()]


def _groups(checked):
    """Name of the group of near-duplicates of each image: the smallest content hash in it."""
    thumbnails = {check.digest: check.thumbnail for check in checked if check.thumbnail is not None}
    digests = sorted(thumbnails)
    stack = np.array([thumbnails[digest] for digest in digests]).reshape(
        -1, near_duplicates.SIDE, near_duplicates.SIDE
    )
    pairs = ((first, second) for first, second, _ in near_duplicates.near_pairs(stack))
    lowest = near_duplicates.groups(len(digests), pairs)
    name = {digest: digests[low] for digest, low in zip(digests, lowest, strict=True)}
    return [name.get(check.digest, check.digest) for check in checked]


def _from_files(found, rows, checked, faults, names):
    """The `Source` of a listing, with the splits `names`; `rows` are `{image: (label, split)}`."""
    name = found.root.resolve().name
    if not rows:
        raise UserError(f"{name}: no image can be used")
    labels = tuple(sorted({label for label, _ in rows.values()}))

    def reader(chosen):
        files = tf.constant([str(found.root / image) for image in chosen], tf.string)
        return lambda index: tf.io.read_file(tf.gather(files, index))

    made = _make_splits(rows, labels, checked, names, reader)
    return Source(name, labels, made, found.ignored, found.root, tuple(faults), _thumbnails(checked))


def _thumbnails(checked):
    """`{content hash: thumbnail}`; empty if none were made."""
    made = {check.digest: check.thumbnail for check in checked.values() if check.digest}
    return made if any(thumbnail is not None for thumbnail in made.values()) else {}


def _make_splits(rows, labels, checked, names, reader):
    """`{name: Split}` of `rows`, `{id: (label, split)}`; `reader(ids)` returns `Split.encoded`."""
    index_of = {label: index for index, label in enumerate(labels)}
    made = {}
    for split in names:
        chosen = [example for example, (_, part) in rows.items() if part == split]
        made[split] = Split(
            ids=tuple(chosen),
            labels=np.array([index_of[rows[example][0]] for example in chosen], np.int64),
            encoded=reader(chosen),
            hashes=tuple(checked[example].digest for example in chosen),
        )
    return made


def _from_builder(dataset, manual_dir, data_dir, on_bad_image, mapping=None, stored=None):
    """The `Source` of a TFDS builder, whose encoded images are small enough for memory (TrashNet: 42 MB).

    `stored` are the rows of a manifest, `{id: (label, split)}`, if an earlier run changed labels or splits.
    """
    builder = tfds_builders.prepare(dataset, manual_dir, data_dir)
    name = dataset.strip("/").replace("/", "-")
    labels = tuple(builder.info.features["label"].names)
    contents, rows = {}, {}
    for split, records in tfds_builders.records(builder).items():
        contents |= {record["id"].decode(): record["image"] for record in records}
        rows |= {record["id"].decode(): (labels[record["label"]], split) for record in records}
    if stored is not None or (mapping and mapping.targets):
        rows = mapping.rows(rows) if stored is None else stored
        present = {label for label, _ in rows.values()}
        labels = (*(label for label in labels if label in present), *sorted(present - set(labels)))
    for example in rows.keys() - contents.keys():
        raise UserError(
            f"{name}: has no image {example!r} any more; it has changed since the run was started"
        )
    chosen = {example: contents[example] for example in rows}
    checked = checks.check_all(chosen, chosen.__getitem__, compare=False, thorough=on_bad_image != "error")
    faults = _faults(checked, {})

    def reader(ids):
        images = tf.constant([chosen[example] for example in ids], tf.string)
        return lambda index: tf.gather(images, index)

    if on_bad_image == "error":
        _raise_first(faults, lambda fault: f"{name}: {fault.file}")
    made = _make_splits(rows, labels, checked, options.SPLITS, reader)
    return Source(name, labels, made, faults=tuple(faults), thumbnails=_thumbnails(checked))


def _stored_rows(manifest, part):
    """`{id: (label, split)}` of a manifest, of the source `part` if it is of several; None without one."""
    if not manifest:
        return None
    rows = splits.read_manifest(manifest, source=part).values()
    return {example: (label, split) for example, label, split, _ in rows}


def _within_part(split, index):
    """The id of an example in its source."""
    return (
        split.ids[index].removeprefix(f"{_part_of(split, index)[0]}/")
        if split.part_names
        else split.ids[index]
    )


def _part_of(split, index):
    """The name of an example's source, if there are several."""
    return (split.part_names[split.parts[index]],) if split.part_names else ()


def _without_unusable(source, must_train=False):
    """Leaves out files with a problem of `checks.UNUSABLE`, and lists them in `ignored`.

    Raises:
        UserError: a split is left without images, or a class without training images if `must_train`.
    """
    faults = [fault for fault in source.faults if fault.kind in checks.UNUSABLE]
    bad = {fault.file for fault in faults}
    made = {}
    for name, split in source.splits.items():
        good = np.array([index for index, example in enumerate(split.ids) if example not in bad], np.int64)
        if len(split) and not len(good):
            raise UserError(f"{source.name}: no image in the split {name!r} can be used")
        made[name] = subset(split, good)
    if must_train:
        for index, label in enumerate(source.labels):
            if index not in made["train"].labels:
                raise UserError(f"{source.name}: class {label!r} has no training image that can be used")
    reasons = [f"{fault.file}: {checks.UNUSABLE[fault.kind]} ({fault.detail})" for fault in faults]
    return dataclasses.replace(source, splits=made, ignored=(*source.ignored, *reasons))

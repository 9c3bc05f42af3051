"""Makes a `Source` of listed files or of a builder: checks every image, and draws splits that are missing."""

import dataclasses
import errno
import os

import numpy as np
import tensorflow as tf

from recycle_tf import options
from recycle_tf.data import checks, fetched, listing, near_duplicates, splits, tfds_builders
from recycle_tf.data.examples import Source, Split, subset
from recycle_tf.errors import UserError
from recycle_tf.remote import RemotePath

REPORT = "report"
"""Value of `on_bad_image` for an audit: nothing is left out."""


def splits_to_draw(found):
    """Names of the splits that are missing: none in a manifest, in shards or in a builder."""
    if not isinstance(found, listing.Listing) or found.manifest:
        return ()
    present = {split for _, split in found.rows.values()}
    return tuple(name for name in splits.SHARES if name not in present)


def from_listing(found, on_bad_image, seed, split, mapping, compare=None, keep=True):
    """The `Source` of a folder or CSV, with three splits.

    Labels are mapped first. `mapping` is None if both were stored by an earlier run. `compare` and `keep` as
    for `sources.open_source`.
    """
    if mapping:
        found = dataclasses.replace(found, rows=mapping.rows(found.rows))
    compare = mapping is not None if compare is None else compare
    drawn_by_thumbnails = split == "grouped" and mapping is not None
    compare = drawn_by_thumbnails or (compare and len(found.rows) <= near_duplicates.MAX_COMPARED)
    files = _files(found.root, keep)
    checked, faults = _check(found, files, on_bad_image, compare or on_bad_image == REPORT)
    wanted = splits_to_draw(found)
    rows, small = _draw(found, checked, wanted, seed, split, strict=on_bad_image != REPORT)
    return _from_files(found, files, rows, checked, [*faults, *small], options.SPLITS)


def unsplit(found, on_bad_image):
    """The `Source` of a folder or CSV with the splits that it has, of which `listing.ALL` may be one."""
    files = _files(found.root, keep=True)
    checked, faults = _check(found, files, on_bad_image, compare=False)
    rows = _readable(found, checked)
    present = {split for _, split in rows.values()}
    names = [name for name in (*options.SPLITS, listing.ALL) if name in present]
    return _from_files(found, files, rows, checked, faults, names)


class _Files:
    """The files of a folder, read whenever they are needed; `fetched.Fetched` has the same methods."""

    def __init__(self, root):
        self._root = root

    def read(self, name):
        if isinstance(self._root, RemotePath):
            return (self._root / name).read_bytes()
        # Making a path of the name would take three times as long as reading a small file.
        with open(os.path.join(self._root, name), "rb", buffering=0) as file:
            return file.read()

    def encoded(self, names):
        files = tf.constant([os.path.join(str(self._root), name) for name in names], tf.string)
        return lambda index: tf.io.read_file(tf.gather(files, index))


def _files(root, keep):
    return fetched.Fetched(root) if keep and isinstance(root, RemotePath) else _Files(root)


def _check(found, files, on_bad_image, compare):
    """Reads every file of a listing; thumbnails are made if `compare`.

    Returns:
        `{image: checks.Check}`, and all faults.

    Raises:
        UserError: the first file that cannot be used, with `on_bad_image="error"`.
    """
    checked = checks.check_all(found.rows, files.read, compare=compare, thorough=on_bad_image != "error")
    faults = [*found.faults, *_faults(checked, found.lines)]
    for image, expected in found.hashes.items():
        # A mapping may have left its class out.
        digest = checked[image].digest if image in checked else None
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


def _from_files(found, files, rows, checked, faults, names):
    """The `Source` of a listing, with the splits `names`; `rows` are `{image: (label, split)}`."""
    name = found.root.resolve().name
    if not rows:
        raise UserError(f"{name}: no image can be used")
    labels = tuple(sorted({label for label, _ in rows.values()}))
    made = _make_splits(rows, labels, checked, names, files.encoded)
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


def from_builder(dataset, on_bad_image, manual_dir, data_dir, mapping=None, stored=None):
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
        labels = _still_present(labels, rows)
    _require_present(rows, contents, name)
    chosen, thorough = {example: contents[example] for example in rows}, on_bad_image != "error"
    checked = checks.check_all(chosen, chosen.__getitem__, compare=thorough, thorough=thorough)
    faults = _faults(checked, {})

    def reader(ids):
        images = tf.constant([chosen[example] for example in ids], tf.string)
        return lambda index: tf.gather(images, index)

    if on_bad_image == "error":
        _raise_first(faults, lambda fault: f"{name}: {fault.file}")
    made = _make_splits(rows, labels, checked, options.SPLITS, reader)
    return Source(name, labels, made, faults=tuple(faults), thumbnails=_thumbnails(checked))


def from_shards(index, on_bad_image, mapping=None, stored=None):
    """The `Source` of a sharded dataset.

    Images are read only if `on_bad_image` is not `"error"`: their headers were checked when they were
    written, and checksums tell when they are damaged later.

    Args:
        index: a `shards.Index`.
        on_bad_image: as for `sources.open_source`.
        mapping: the `label_maps.LabelMap` of several sources, of which the shards are one; or None.
        stored: rows of a manifest, `{id: (label, split)}`, if it was one of several sources of an earlier
            run.
    """
    labels, number, rows, known = index.labels, {}, {}, {}
    for shard in index.shards:
        number |= {example: len(number) + place for place, example in enumerate(shard.ids)}
        known |= dict(zip(shard.ids, shard.hashes, strict=True))
        rows |= {
            example: (labels[label], shard.split)
            for example, label in zip(shard.ids, shard.labels, strict=True)
        }
    changed = stored is not None or bool(mapping and mapping.targets)
    if changed:
        rows = mapping.rows(rows) if stored is None else stored
        labels = _still_present(labels, rows)
    _require_present(rows, number, index.name)

    def encoded(ids):
        return index.encoded(np.array([number[example] for example in ids], np.int64))

    checked, faults = {example: checks.Check(known[example]) for example in rows}, []
    if on_bad_image != "error":
        compare = on_bad_image == REPORT or len(rows) <= near_duplicates.MAX_COMPARED
        checked, faults = _check_records(list(rows), known, encoded, compare)
    made = _make_splits(rows, labels, checked, options.SPLITS, encoded)
    if index.part_names and stored is None:
        parts = np.concatenate([shard.parts for shard in index.shards]).astype(np.int64)
        for name, split in made.items():
            own = parts[[number[example] for example in split.ids]] if len(split) else parts[:0]
            made[name] = dataclasses.replace(split, parts=own, part_names=index.part_names)
    source = Source(index.name, labels, made, faults=tuple(faults), thumbnails=_thumbnails(checked))
    if not changed and on_bad_image == "error" and source.fingerprint != index.fingerprint:
        raise UserError(f"{index.place}: is not as it was written; write the shards again")
    return source


def _check_records(names, known, encoded, compare):
    """`{id: checks.Check}` of all images of shards, completely decoded, and all faults."""
    read, number = encoded(names), {name: place for place, name in enumerate(names)}

    def content(name):
        try:
            return read(tf.constant(number[name], tf.int64)).numpy()
        except tf.errors.OpError as error:
            raise OSError(errno.EIO, "damaged in its shard") from error

    checked = checks.check_all(names, content, compare=compare, thorough=True)
    faults = _faults(checked, {})
    for name, check in checked.items():
        if check.digest and check.digest != known[name]:
            faults.append(listing.Fault("changed", name, "not the image that the index names"))
    # What cannot be read keeps the hash by which the index knows it.
    return {
        name: check if check.digest else dataclasses.replace(check, digest=known[name])
        for name, check in checked.items()
    }, faults


def _still_present(labels, rows):
    """Names of the classes in rows: those of `labels` first, in their order."""
    present = {label for label, _ in rows.values()}
    return (*(label for label in labels if label in present), *sorted(present - set(labels)))


def _require_present(rows, known, name):
    for example in rows.keys() - known.keys():
        raise UserError(
            f"{name}: has no image {example!r} any more; it has changed since the run was started"
        )


def without_unusable(source, must_train=False, several=False):
    """Leaves out files with a problem of `checks.UNUSABLE`, and lists them in `ignored`.

    Raises:
        UserError: a split is left without images, unless it is one of `several` sources; or a class without
            training images if `must_train`.
    """
    faults = [fault for fault in source.faults if fault.kind in checks.UNUSABLE]
    bad = {fault.file for fault in faults}
    made = {}
    for name, split in source.splits.items():
        good = np.array([index for index, example in enumerate(split.ids) if example not in bad], np.int64)
        if len(split) and not len(good) and not several:
            raise UserError(f"{source.name}: no image in the split {name!r} can be used")
        made[name] = subset(split, good)
    if must_train:
        for index, label in enumerate(source.labels):
            if index not in made["train"].labels:
                raise UserError(f"{source.name}: class {label!r} has no training image that can be used")
    reasons = [f"{fault.file}: {checks.UNUSABLE[fault.kind]} ({fault.detail})" for fault in faults]
    return dataclasses.replace(source, splits=made, ignored=(*source.ignored, *reasons))

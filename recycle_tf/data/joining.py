"""Several sources in one dataset: `trashnet+photos+more.csv`."""

import dataclasses
import itertools

import numpy as np

from recycle_tf import options, paths
from recycle_tf.data import checks, near_duplicates
from recycle_tf.data.examples import concatenated, subset
from recycle_tf.errors import UserError

SEPARATOR = "+"

REPEATED = "shows the same as a validation or test image of another source"
"""Why a training image of one of several sources is left out."""


def names(dataset):
    """The sources that a dataset consists of: `["trashnet", "photos"]` for `trashnet+photos`.

    What exists under the whole name is one source, so that a path with a + in it can be used on its own.

    Raises:
        UserError: an empty name, an invalid path, or the same source twice.
    """
    text = str(dataset)
    if SEPARATOR not in text or paths.of_dataset(text).exists():
        return [text]
    found = text.split(SEPARATOR)
    where = [_place(name) for name in found]
    for name, place in zip(found, where, strict=True):
        if not name or where.count(place) > 1:
            what = f"{paths.printable(name)} twice" if name else "an empty name"
            raise UserError(
                f"`dataset={paths.printable(text)}`: {what} among the sources; expected for example "
                "trashnet+photos"
            )
    return found


def places(dataset):
    """Where the sources of a dataset are: a resolved path for each, or the name of a builder.

    The same for the same sources, however their paths are written.
    """
    return [_place(name) for name in names(dataset)]


def _place(name):
    try:
        path = paths.of_dataset(name)
        return path.resolve() if path.exists() else path
    except (UserError, OSError):
        # What an earlier run was trained on need not be within reach now.
        return name


def short_names(datasets):
    """A name of each source for tables: that of the folder, file or builder; a number makes it unique."""
    found = []
    for dataset in datasets:
        path = paths.of_dataset(dataset)
        if path.exists():
            name = path.stem if path.suffix == ".csv" else path.resolve().name
        else:
            name = dataset.strip("/").replace("/", "-")
        found.append(next(one for one in numbered(name) if one not in found))
    return found


def numbered(name):
    """A name, then `name-2`, `name-3`, …, to choose the first that nothing else has."""
    return itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))


def join(sources, part_names):
    """Joins sources.

    Args:
        sources: a list of `sources.Source` with train, validation and test, each of which may be empty.
        part_names: a unique name of each.

    Returns:
        A `sources.Source`. Its labels are those of the first source, then others by name. An example's id
        begins with the name of its source.
    """
    labels = list(sources[0].labels)
    labels += sorted({label for source in sources for label in source.labels} - set(labels))
    return dataclasses.replace(
        sources[0],
        name=SEPARATOR.join(part_names),
        labels=tuple(labels),
        splits={
            name: _join_splits([source.splits[name] for source in sources], sources, part_names, labels)
            for name in options.SPLITS
        },
        ignored=tuple(file for source in sources for file in source.ignored),
        root=None,
        faults=tuple(
            dataclasses.replace(fault, file=f"{name}/{fault.file}")
            for name, source in zip(part_names, sources, strict=True)
            for fault in source.faults
        ),
        thumbnails={digest: made for source in sources for digest, made in source.thumbnails.items()},
    )


def _join_splits(splits, sources, part_names, labels):
    """One split of several sources, with indices of `labels`."""
    sizes = [len(split) for split in splits]
    return dataclasses.replace(
        splits[0],
        ids=tuple(
            f"{name}/{example}"
            for name, split in zip(part_names, splits, strict=True)
            for example in split.ids
        ),
        labels=np.concatenate(
            [
                np.array([labels.index(label) for label in source.labels], np.int64)[split.labels]
                for source, split in zip(sources, splits, strict=True)
            ]
        ),
        encoded=concatenated(splits),
        hashes=tuple(digest for split in splits for digest in split.hashes),
        parts=np.repeat(np.arange(len(splits)), sizes),
        part_names=tuple(part_names),
    )


def stored_splits(datasets, part_names, manifest, earlier_splits):
    """Where earlier runs have stored the splits of sources.

    Args:
        datasets: what `names` returned.
        part_names: a unique name of each; `[None]` for one.
        manifest: a CSV with the splits of all of them, or None.
        earlier_splits: without a manifest: `{place: (CSV, the name in it or None)}`, with places as of
            `places`.

    Returns:
        For each source `(CSV or None, the name in it or None)`.
    """
    if not manifest:
        return [(earlier_splits or {}).get(_place(one), (None, None)) for one in datasets]
    return [(manifest, part) for part in part_names]


def as_one(opened, part_names, mapping, complete):
    """One source, or several as one, which is checked.

    Args:
        opened: a list of `examples.Source`.
        part_names: a unique name of each; `[None]` for one.
        mapping: the `label_maps.LabelMap` that was applied to them.
        complete: whether nothing is to be left out: all belongs to a stored split, or to an audit.

    Returns:
        An `examples.Source`.

    Raises:
        UserError: a class that the first source does not have, a class or a split without images, or only
            one class.
    """
    source = opened[0]
    if len(opened) > 1:
        if not complete:
            for name, other in zip(part_names[1:], opened[1:], strict=True):
                mapping.require_known(other.labels, source.labels, name, part_names[0])
        source = join(opened, part_names)
        if not complete and source.num_examples <= near_duplicates.MAX_COMPARED:
            source = _without_repeated(source)
        require_images(source)
    if len(source.labels) < 2:
        only = f"only one class, {source.labels[0]}" if source.labels else "no class is left"
        raise UserError(f"{source.name}: {only}; at least two are needed")
    return source


def _without_repeated(source):
    """Leaves out, and lists in `ignored`, training images that another source tests."""
    thumbnails = checks.thumbnails_of(source.splits.values(), source.thumbnails)
    again = repeated(source.splits, thumbnails)
    train = source.splits["train"]
    return dataclasses.replace(
        source,
        splits=source.splits | {"train": subset(train, np.flatnonzero(~again))},
        ignored=(*source.ignored, *(f"{train.ids[i]}: {REPEATED}" for i in np.flatnonzero(again))),
        thumbnails=thumbnails,
    )


def repeated(splits, thumbnails):
    """Finds training images that are near-duplicates of a validation or test image of another source.

    Args:
        splits: those of a joined source.
        thumbnails: `{content hash: near_duplicates.thumbnail, or None}` of all images.

    Returns:
        bool `[training examples]`.
    """
    digests = sorted(thumbnails)
    row = {digest: number for number, digest in enumerate(digests)}
    shown = np.zeros((len(digests), len(splits["train"].part_names)), bool)
    for name in ("validation", "test"):
        rows = [row[digest] for digest in splits[name].hashes]
        shown[rows, splits[name].parts] = True
    # Of each image: the sources that show it, or a near-duplicate, in validation or test.
    near = shown.copy()
    compared = np.array([row[digest] for digest in digests if thumbnails[digest] is not None], np.int64)
    stack = np.array([thumbnails[digests[number]] for number in compared], np.uint8)
    side = near_duplicates.SIDE
    for first, second, _ in near_duplicates.near_pairs(stack.reshape(-1, side, side)):
        for one, other in ((compared[first], compared[second]), (compared[second], compared[first])):
            np.logical_or.at(near, one, shown[other])
    train = splits["train"]
    others = near[[row[digest] for digest in train.hashes]]
    others[np.arange(len(train)), train.parts] = False
    return others.any(axis=1)


def require_images(source):
    """Checks that a joined source can be trained on.

    Raises:
        UserError: a split without examples, or a class without a training image.
    """
    for name, split in source.splits.items():
        if not len(split):
            raise UserError(f"{source.name}: no image in the split {name!r} of any source")
    trained = set(source.splits["train"].labels)
    for index, label in enumerate(source.labels):
        if index not in trained:
            raise UserError(f"{source.name}: the class {label!r} has no training image in any source")

"""The examples of a dataset, split by split: `Split` and `Source`, whatever they were opened from."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from recycle_tf.data import decode, splits
from recycle_tf.errors import UserError
from recycle_tf.remote import RemotePath


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
    root: pathlib.Path | RemotePath | None = None
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

    @functools.cached_property
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


def concatenated(splits):
    """Function from an index to the bytes of an example of several splits, one after another."""
    sizes = np.array([len(split) for split in splits], np.int64)
    ends = tf.constant(np.cumsum(sizes))
    begins = ends - tf.constant(sizes)

    def encoded(index):
        part = tf.searchsorted(ends, [index], side="right")[0]
        within = index - tf.gather(begins, part)
        return tf.switch_case(part, [functools.partial(split.encoded, within) for split in splits])

    return encoded


def with_training_images(source, hashes):
    """Moves the validation and test images with some content hashes to the training images.

    Args:
        source: a `Source` with train, validation and test.
        hashes: a set of content hashes.

    Returns:
        A `Source`; the same if there are no such images.
    """
    kept, moved = {}, [source.splits["train"]]
    for name in ("validation", "test"):
        split = source.splits[name]
        found = np.array([digest in hashes for digest in split.hashes], bool)
        kept[name] = subset(split, np.flatnonzero(~found)) if found.any() else split
        if found.any():
            moved.append(subset(split, np.flatnonzero(found)))
    if len(moved) == 1:
        return source
    train = dataclasses.replace(
        moved[0],
        ids=tuple(example for split in moved for example in split.ids),
        labels=np.concatenate([split.labels for split in moved]),
        hashes=tuple(digest for split in moved for digest in split.hashes),
        encoded=concatenated(moved),
        parts=None if moved[0].parts is None else np.concatenate([split.parts for split in moved]),
    )
    if train.parts is not None:
        # Source after source, as a stored split is read.
        train = subset(train, np.argsort(train.parts, kind="stable"))
    return dataclasses.replace(source, splits={**source.splits, "train": train, **kept})


def first_unreadable(split):
    """Name of the first example that cannot be read or decoded, or None."""
    for index, example in enumerate(split.ids):
        try:
            decode.decode(split.encoded(tf.constant(index, tf.int64)), 8)
        except (tf.errors.OpError, OSError):
            return example
    return None


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

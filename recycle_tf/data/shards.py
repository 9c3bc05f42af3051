"""A dataset as some large files in place of many small ones: TFRecord files and an index of what is in them.

`shards.json` has what opening a dataset needs to know: classes, splits, and of each image its id, its class
and the hash of its bytes. Opening therefore reads no image. An image is found by its position: the records of
a file lie in the order of the split, and the index has their sizes.

A record is a `tf.train.Example` with `image`, the bytes of the file, `label` and `id`, so that
`tf.data.TFRecordDataset` reads the files in order without this package.
"""

import contextlib
import dataclasses
import json
import pathlib
import re
import shutil

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from recycle_tf import files, options, paths
from recycle_tf.data import examples, splits
from recycle_tf.data.parallel import without_autotune
from recycle_tf.errors import UserError
from recycle_tf.remote import RemotePath

INDEX = "shards.json"
"""Name of the index, which makes a folder a sharded dataset."""

FORMAT = 1
"""Version of the index that this package writes, and the only one that it reads."""

SHARD_BYTES = 256 * 1024**2
"""Approximate size of a file, if their number is not given: large enough to be read at full speed."""

_AROUND = 16
"""Bytes of a TFRecord file around each record: its length and two checksums."""

_SAMPLE = 200
"""Images whose sizes give the expected size of all."""

_NAME = re.compile(r"[a-z]+-\d{5,}-of-\d{5,}\.tfrecord")


@dataclasses.dataclass(frozen=True)
class Shard:
    """One file.

    Attributes:
        file: its name, in the folder of the index.
        split: the split that all of its images belong to.
        ids: name of each image, in order.
        labels: index of each image's class.
        hashes: `splits.content_hash` of each image.
        sizes: bytes of each record.
        parts: of a dataset that was joined from several: index of each image's source; else empty.
    """

    file: str
    split: str
    ids: tuple
    labels: tuple
    hashes: tuple
    sizes: tuple
    parts: tuple = ()

    @property
    def bytes(self):
        """Size of the file."""
        return sum(self.sizes) + _AROUND * len(self.sizes)


@dataclasses.dataclass(frozen=True)
class Index:
    """What is in a sharded dataset.

    Attributes:
        root: the folder.
        name: name of the dataset that was written.
        labels: names of the classes, in index order.
        part_names: names of the sources that it was joined from; empty for one.
        fingerprint: that of the `Source` that was written.
        shards: the `Shard`s, those of a split in order.
    """

    root: object
    name: str
    labels: tuple
    part_names: tuple
    fingerprint: str
    shards: tuple

    @property
    def place(self):
        """Path of the index."""
        return self.root / INDEX

    def encoded(self, chosen):
        """Function from an index to the bytes of an image, in TensorFlow's own operations.

        Args:
            chosen: int64 positions among the images of all shards.

        Returns:
            A function from an int64 tensor, an index in `chosen`, to a scalar string tensor.
        """
        sizes = np.concatenate([shard.sizes for shard in self.shards]).astype(np.int64)
        counts = [len(shard.sizes) for shard in self.shards]
        ends = np.cumsum(sizes + _AROUND)
        begins = np.concatenate([[0], ends])[np.concatenate([[0], np.cumsum(counts)])[:-1]]
        starts = ends - sizes - _AROUND - np.repeat(begins, counts)
        places = [np.repeat(np.arange(len(counts), dtype=np.int32), counts), starts, sizes]
        places = [tf.constant(column[chosen]) for column in places]
        paths = tf.constant([str(self.root / shard.file) for shard in self.shards], tf.string)

        def read(index):
            shard, start, size = (tf.gather(column, index) for column in places)
            return _record(tf.gather(paths, shard), start, size)

        return read


def _record(path, start, size):
    """The image of one record; TensorFlow compares its checksums."""
    typed = {"output_types": [tf.string], "output_shapes": [tf.TensorShape([])]}
    with tf.device("CPU"):
        rest = tf.raw_ops.TFRecordDatasetV2(
            filenames=[path], compression_type="", buffer_size=size + _AROUND, byte_offsets=[start]
        )
        first = tf.raw_ops.TakeDataset(input_dataset=rest, count=1, **typed)
        (record,) = tf.raw_ops.DatasetToSingleElement(dataset=first, **typed)
        return tf.io.parse_single_example(record, {"image": tf.io.FixedLenFeature([], tf.string)})["image"]


# ---- writing


def write(source, directory, number=None):
    """Writes a dataset as shards, image by image, with a progress bar.

    Args:
        source: an `examples.Source`.
        directory: `pathlib.Path` of the folder, which is replaced as a whole when all has been written. It
            may exist if it is empty or was written by this function.
        number: of files for the training split, at least 1 and at most one per image; None for files of
            about `SHARD_BYTES`. The other splits get files of about as many images.

    Returns:
        An `Index`.

    Raises:
        UserError: the folder holds something else or cannot be written, too little space, or an image that
            has disappeared or changed since the dataset was opened.
    """
    require_replaceable(directory)
    expected = _expected_bytes(source)
    with files.writing(f"`dir={directory}`"):
        directory.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(directory.parent).free
    if expected > free:
        raise UserError(
            f"`dir={directory}`: {expected / 1e9:.2f} GB are needed, but only {free / 1e9:.2f} GB are free"
        )
    trained = len(source.splits["train"])
    number = min(number or -(-expected * trained // (source.num_examples * SHARD_BYTES)), trained)
    part_names = next(iter(source.splits.values())).part_names
    progress = tqdm(None, "writing", source.num_examples, leave=False, disable=None)
    place = f"`dir={directory}`"
    with (
        files.writing(place),
        _naming_full_disks(place),
        files.replacing_folder(directory) as folder,
        progress,
    ):
        shards = [
            shard
            for name, split in source.splits.items()
            for shard in _write_split(folder, name, split, -(-len(split) * number // trained), progress)
        ]
        index = Index(directory, source.name, source.labels, part_names, source.fingerprint, tuple(shards))
        (folder / INDEX).write_text(_to_json(index), encoding="utf-8")
    return index


def require_replaceable(directory):
    """Checks that a folder may be replaced by shards: it is missing, empty, or holds shards.

    Raises:
        UserError: it holds something else.
    """
    if not directory.exists():
        return
    found = sorted(entry.name for entry in directory.iterdir()) if directory.is_dir() else []
    if not directory.is_dir() or (found and INDEX not in found):
        raise UserError(f"`dir={directory}`: exists and holds no shards; choose another folder")
    if others := [name for name in found if name != INDEX and not _NAME.fullmatch(name)]:
        raise UserError(f"`dir={directory}`: holds {others[0]} beside the shards; choose another folder")


def _expected_bytes(source):
    """Size of all records, from those of some images spread over the dataset."""
    total = 0
    for split in source.splits.values():
        chosen = np.unique(np.linspace(0, len(split) - 1, min(len(split), _SAMPLE)).astype(int))
        sizes = [len(content) for _, content in _contents(split, chosen)]
        total += round(np.mean(sizes) * len(split)) if sizes else 0
        total += (_AROUND + 64) * len(split) + sum(map(len, split.ids))
    return total


def _contents(split, chosen):
    """`(index, bytes)` of some images of a split, in order; some are read ahead."""
    indices = tf.data.Dataset.from_tensor_slices(np.asarray(chosen, np.int64))
    contents = indices.map(split.encoded, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    try:
        yield from zip(chosen, without_autotune(contents).as_numpy_iterator(), strict=True)
    except tf.errors.OpError as error:
        if bad := examples.first_unreadable(split):
            raise UserError(f"{bad}: missing or damaged; replace it or remove it") from error
        raise


def _write_split(folder, name, split, count, progress):
    """Writes one split as `count` files; yields their `Shard`s."""
    contents = _contents(split, range(len(split)))
    for number in range(count):
        chosen = range(len(split) * number // count, len(split) * (number + 1) // count)
        file, sizes = f"{name}-{number:05}-of-{count:05}.tfrecord", []
        with tf.io.TFRecordWriter(str(folder / file)) as writer:
            for index, (_, content) in zip(chosen, contents, strict=False):
                if splits.content_hash(content) != split.hashes[index]:
                    raise UserError(
                        f"{split.ids[index]}: has changed while the dataset was read; start again"
                    )
                record = _example(content, split.labels[index], split.ids[index])
                writer.write(record)
                sizes.append(len(record))
                progress.update()
        taken = slice(chosen.start, chosen.stop)
        parts = () if split.parts is None else tuple(split.parts[taken].tolist())
        labels = tuple(split.labels[taken].tolist())
        yield Shard(file, name, split.ids[taken], labels, split.hashes[taken], tuple(sizes), parts)


@contextlib.contextmanager
def _naming_full_disks(place):
    """Within this context, an error of TensorFlow's writer becomes one line."""
    try:
        yield
    except tf.errors.OpError as error:
        reason = " ".join(error.message.split())[:200]
        raise UserError(f"{place}: cannot be written ({reason})") from error


def _example(content, label, name):
    features = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[content])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        "id": tf.train.Feature(bytes_list=tf.train.BytesList(value=[name.encode()])),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def _to_json(index):
    content = {
        "format": FORMAT,
        "name": index.name,
        "labels": index.labels,
        "sources": index.part_names,
        "fingerprint": index.fingerprint,
        "shards": [dataclasses.asdict(shard) for shard in index.shards],
    }
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n"


# ---- reading


def open_index(root):
    """Reads the index of a sharded dataset, and compares the sizes of its files with it.

    Args:
        root: the folder, a `pathlib.Path` or a `RemotePath`.

    Returns:
        An `Index`; None if the folder has none.

    Raises:
        UserError: the index is damaged or of another version, or a file is missing or of another size.
    """
    path = root / INDEX
    if not path.is_file():
        return None
    with files.reading(path, "write the shards again"):
        content = json.loads(path.read_bytes())
        if content["format"] != FORMAT:
            raise UserError(f"{path}: of version {content['format']}, this program reads {FORMAT}")
        index = Index(
            root,
            content["name"],
            tuple(content["labels"]),
            tuple(content["sources"]),
            content["fingerprint"],
            tuple(_shard(**shard) for shard in content["shards"]),
        )
        _check(index)
    for shard in index.shards:
        found = _size(root / shard.file)
        if found != shard.bytes:
            what = "no such file" if found is None else f"{found:,} bytes, not {shard.bytes:,}"
            raise UserError(f"{root / shard.file}: {what}; write the shards again")
    return index


def _shard(**columns):
    return Shard(
        **{key: tuple(value) if isinstance(value, list) else value for key, value in columns.items()}
    )


def _check(index):
    """Raises an exception of any type if an index is not one that `write` wrote."""
    texts = [index.name, *index.labels, *index.part_names]
    for shard in index.shards:
        columns = [shard.ids, shard.labels, shard.hashes, shard.sizes]
        columns += [shard.parts] * bool(index.part_names)
        if len({len(column) for column in columns}) != 1 or not shard.ids:
            raise ValueError(f"{shard.file}: its columns have different lengths")
        if not _NAME.fullmatch(shard.file) or shard.split not in options.SPLITS:
            raise ValueError(f"{shard.file!r} or its split is not a valid name")
        texts += [*shard.ids, *shard.hashes]
        _check_numbers(shard.labels, 0, len(index.labels))
        _check_numbers(shard.sizes, 1, 2**40)
        _check_numbers(shard.parts, 0, len(index.part_names))
    if not all(isinstance(text, str) and paths.is_one_line(text) for text in texts):
        raise ValueError("a name or a hash is not printable text")
    # Reports and audits are written into folders of this name.
    if index.name in ("", ".", "..") or pathlib.PurePath(index.name).name != index.name:
        raise ValueError(f"its name {index.name!r} is not that of a folder")
    names = [name for shard in index.shards for name in shard.ids]
    if len(set(names)) < len(names) or len(set(index.labels)) < len(index.labels):
        raise ValueError("a name occurs twice")


def _check_numbers(numbers, low, end):
    if not all(type(number) is int and low <= number < end for number in numbers):
        raise ValueError(f"a number is not in {low}..{end - 1}")


def _size(path):
    """Size of a file in bytes; None if there is none."""
    if not path.is_file():
        return None
    return path.size() if isinstance(path, RemotePath) else path.stat().st_size

"""Draws the split of a dataset, and reads and writes it as a CSV manifest."""

import csv
import hashlib
import re
import sys
import zlib
from collections import Counter

import numpy as np

from recycle_tf import options
from recycle_tf.errors import UserError
from recycle_tf.remote import RemotePath

SHARES = {"validation": 0.15, "test": 0.15}
"""Fraction of every class that a split takes."""

HASH_DIGITS = 16
"""Hexadecimal digits of a SHA-256: enough that no two images share them by chance."""


def too_small(labels, groups=None, wanted=tuple(SHARES)):
    """Finds classes that are too small for an example in every split.

    Args:
        labels: name of the class of each example.
        groups: name of the group of each example, for `grouped`; None for `stratified`.
        wanted: splits to take out of the training set.

    Returns:
        `{label: detail}`; the detail says how many images the class has and needs.
    """
    needed = len(wanted) + 1
    purpose = f"at least {needed} are needed to split it into train, {' and '.join(wanted)}"
    if groups is None:
        sizes, noun = Counter(labels), "image{}"
    else:
        by_class, _ = _groups_of_classes(labels, groups)
        sizes = {label: len(members) for label, members in by_class.items()}
        noun = "image{} that are not near-duplicates of others"
    return {
        label: f"has {size} {noun.format('s' * (size != 1))}: {purpose}"
        for label, size in sorted(sizes.items())
        if size < needed
    }


def stratified(labels, seed, wanted=tuple(SHARES), strict=True):
    """Takes a share of every class out of a training set.

    Args:
        labels: name of the class of each example.
        seed: seed of the draw; the same examples and seed give the same split.
        wanted: splits to take out, each with its share of `SHARES` and at least one example per class.
        strict: whether a class that is `too_small` is an error; otherwise all of it stays in train.

    Returns:
        A list with the split of each example, in the order of `labels`.

    Raises:
        UserError: a class is too small, if `strict`.
    """
    _reject(too_small(labels, None, wanted), strict)
    split = np.full(len(labels), "train", dtype=object)
    labels = np.asarray(labels)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) <= len(wanted):
            continue
        # Seeded by the name, so that a new class does not change the split of the others.
        rng = np.random.default_rng([seed, zlib.crc32(str(label).encode())])
        members = rng.permutation(members)
        start = 0
        for name in wanted:
            count = max(1, round(SHARES[name] * len(members)))
            split[members[start : start + count]] = name
            start += count
    return list(split)


def grouped(labels, groups, seed, wanted=tuple(SHARES), strict=True):
    """Takes a share of every class out of a training set, in whole groups.

    A group counts for the class that most of its examples have. Its split follows from its name and the seed:
    the order of the examples does not matter.

    Args:
        labels: name of the class of each example.
        groups: name of the group of each example; the examples of a group are near-duplicates.
        seed: seed of the draw.
        wanted: splits to take out, each with its share of `SHARES` and at least one group per class.
        strict: whether a class that is `too_small` is an error; otherwise all of it stays in train.

    Returns:
        A list with the split of each example, in the order of `labels`.

    Raises:
        UserError: a class has too few groups, if `strict`.
    """
    _reject(too_small(labels, groups, wanted), strict)
    by_class, sizes = _groups_of_classes(labels, groups)
    split = dict.fromkeys(sizes, "train")
    for candidates in by_class.values():
        if len(candidates) <= len(wanted):
            continue
        candidates = sorted(candidates, key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).digest())
        total = sum(sizes[group] for group in candidates)
        for name in wanted:
            left = max(1, round(SHARES[name] * total))
            free = [group for group in candidates if split[group] == "train"]
            # At least the smallest group, in case that every group is larger than the share.
            left = max(left, min(sizes[group] for group in free))
            # One group each stays behind for train and for the splits that follow.
            spare = len(free) - (len(wanted) - wanted.index(name))
            for group in free:
                if sizes[group] <= left and spare:
                    split[group] = name
                    left -= sizes[group]
                    spare -= 1
    return [split[group] for group in groups]


def _groups_of_classes(labels, groups):
    """`{label: groups that count for it}`, sorted by label, and `{group: number of examples}`."""
    members = {}
    for label, group in zip(labels, groups, strict=True):
        members.setdefault(group, Counter())[label] += 1
    by_class = {label: [] for label in sorted(set(labels))}
    for group, counts in members.items():
        by_class[min(counts, key=lambda label: (-counts[label], label))].append(group)
    return by_class, {group: counts.total() for group, counts in members.items()}


def _reject(small, strict):
    for label, detail in small.items():
        if strict:
            raise UserError(f"class {label!r} {detail}")


def content_hash(content):
    """The first `HASH_DIGITS` digits of the SHA-256 of an image's bytes, which identify it."""
    return hashlib.sha256(content).hexdigest()[:HASH_DIGITS]


def manifest_prefix(path, root, parameter):
    """What turns a path relative to a dataset's folder into one relative to the folder of a manifest.

    Args:
        path: `pathlib.Path` of the manifest.
        root: `pathlib.Path` or `RemotePath` of the dataset's folder.
        parameter: name of the parameter that gave the path, for messages.

    Returns:
        `""`, or a relative path that ends in `/`.

    Raises:
        UserError: not a `.csv` in a folder that exists, or in one that does not contain `root`.
    """
    if isinstance(root, RemotePath):
        raise UserError(
            f"`{parameter}={path}`: its paths are relative to its folder, and {root} is on another machine"
        )
    folder, inside = path.parent.resolve(), root.resolve()
    if not (path.suffix == ".csv" and folder.is_dir()):
        raise UserError(f"`{parameter}={path}`: expected a .csv in an existing folder")
    if not inside.is_relative_to(folder):
        raise UserError(
            f"`{parameter}={path}`: its paths are relative to its folder, which must be {root} or a folder "
            "above it"
        )
    inner = inside.relative_to(folder).as_posix()
    return "" if inner == "." else f"{inner}/"


def write_manifest(path, rows):
    """Writes a split as a CSV with the columns `image,label,split,sha256`, and `source` for several sources.

    Args:
        path: path of the file.
        rows: `(image, label, split, content hash)` of each example, `image` relative to the folder of its
            source; for several sources the name of the source too.
    """
    rows = list(rows)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        # A review may drop every image.
        writer.writerow(("image", "label", "split", "sha256", "source")[: len(rows[0]) if rows else 4])
        writer.writerows(rows)


def read_manifest(path, default_split=None, source=None):
    """Reads a CSV manifest.

    Args:
        path: path of the file. The column `sha256`, or cells of it, may be missing.
        default_split: split of all rows if there is no column `split`, and a valid split in it; None if the
            column is required.
        source: only rows with this value in the column `source`; None for all rows.

    Returns:
        `{line number: (image, label, split, content hash)}`; the hash, of `HASH_DIGITS` digits, may be empty.

    Raises:
        UserError: the file cannot be read or is not UTF-8, or has a missing column, an empty cell, a label
            that begins or ends with a space or cannot be printed, an unknown split, or an invalid hash.
    """
    columns = {"image", "label", "split"} - ({"split"} if default_split else set())
    rows = {}
    try:
        # With or without the byte order mark that spreadsheets write.
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = columns - set(reader.fieldnames or ())
            if missing:
                raise UserError(f"{path}: no column {', '.join(sorted(missing))}; expected image,label,split")
            for row in reader:
                if source is not None and row.get("source") != source:
                    continue
                digest = (row.get("sha256") or "").lower()
                # Of a million rows, few have another label or split.
                label, split = (
                    text and sys.intern(text) for text in (row["label"], row.get("split", default_split))
                )
                rows[reader.line_num] = row["image"], label, split, digest[:HASH_DIGITS]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a CSV file in UTF-8 ({error})") from error
    for line, row in rows.items():
        _check_row(f"{path}, line {line}", *row, (*options.SPLITS, *filter(None, [default_split])))
    return rows


def stored(manifest, part=None):
    """`{id: (label, split)}` of a manifest, of the source `part` if it is of several; None without one."""
    if not manifest:
        return None
    rows = read_manifest(manifest, source=part).values()
    return {example: (label, split) for example, label, split, _ in rows}


def hashes(manifest, *names):
    """Content hashes of the images of some splits of a manifest; none if there is no such file.

    A run on data of TFDS has none: its split is its own.
    """
    if not manifest.is_file():
        return frozenset()
    rows = read_manifest(manifest).values()
    return frozenset(digest for _, _, name, digest in rows if digest and name in names)


def _check_row(place, image, label, split, digest, valid_splits):
    if not (image and label and split):
        raise UserError(f"{place}: image, label or split is empty")
    if label != label.strip() or not label.isprintable():
        raise UserError(f"{place}: label {label!r} begins or ends with a space, or cannot be printed")
    if split not in valid_splits:
        raise UserError(f"{place}: unknown split {split!r}; choose from {', '.join(valid_splits)}")
    if digest and not re.fullmatch(f"[0-9a-f]{{{HASH_DIGITS}}}", digest):
        raise UserError(
            f"{place}: sha256 {digest!r} is not {HASH_DIGITS} hexadecimal digits; leave it empty to use the "
            "file as it is"
        )

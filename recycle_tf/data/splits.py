"""Which example trains, which validates, which tests."""

import csv
import hashlib
import re
import zlib
from collections import Counter

import numpy as np

from recycle_tf.errors import UserError

SPLITS = ("train", "validation", "test")
SHARES = {"validation": 0.15, "test": 0.15}
METHODS = ("stratified", "grouped")
"""How a split is drawn where there is none; `grouped` keeps near-duplicates on one side."""

HASH_DIGITS = 16
"""Of a SHA-256 in hexadecimal: enough that no two pictures share them by chance."""


def stratified(labels, seed, wanted=("validation", "test")):
    """Takes a share of every class out of a training set.

    Args:
        labels: name of the class of each example.
        seed: of the draw; the same examples and seed give the same split.
        wanted: splits to take out, each with its share of `SHARES` and at least one example a class.

    Returns:
        The split of each example, in the order of `labels`.

    Raises:
        UserError: a class too small to have one example in every split.
    """
    split = np.full(len(labels), "train", dtype=object)
    labels = np.asarray(labels)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) <= len(wanted):
            raise UserError(
                f"class {str(label)!r} has {len(members)} image{'s' * (len(members) > 1)}: at least "
                f"{len(wanted) + 1} are needed to split it into train, {' and '.join(wanted)}"
            )
        # Seeded by the name, so that a new class leaves the split of the others as it was.
        rng = np.random.default_rng([seed, zlib.crc32(str(label).encode())])
        members = rng.permutation(members)
        start = 0
        for name in wanted:
            count = max(1, round(SHARES[name] * len(members)))
            split[members[start : start + count]] = name
            start += count
    return list(split)


def grouped(labels, groups, seed, wanted=("validation", "test")):
    """Takes a share of every class out of a training set, whole groups only.

    A group counts for the class that most of its examples have. Its place follows from seed and name alone,
    so that the order of the examples does not matter.

    Args:
        labels: name of the class of each example.
        groups: name of the group of each example; those of one group resemble each other.
        seed: of the draw.
        wanted: splits to take out, each with its share of `SHARES` and at least one group a class.

    Returns:
        The split of each example, in the order of `labels`.

    Raises:
        UserError: a class with too few groups to have one in every split.
    """
    members = {}
    for label, group in zip(labels, groups, strict=True):
        members.setdefault(group, Counter())[label] += 1
    of_class = {label: [] for label in sorted(set(labels))}
    for group, counts in members.items():
        of_class[min(counts, key=lambda label: (-counts[label], label))].append(group)
    split = dict.fromkeys(members, "train")
    for label, candidates in of_class.items():
        if len(candidates) <= len(wanted):
            raise UserError(
                f"class {label!r} has {len(candidates)} pictures that are no near-duplicates of others: "
                f"at least {len(wanted) + 1} are needed to split it into train, {' and '.join(wanted)}"
            )
        candidates.sort(key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).digest())
        size = {group: members[group].total() for group in candidates}
        total = sum(size.values())
        for name in wanted:
            left = max(1, round(SHARES[name] * total))
            free = [group for group in candidates if split[group] == "train"]
            # The smallest there is, should every group be larger than the share.
            left = max(left, min(size[group] for group in free))
            # As many groups as the splits to come and training need stay behind.
            spare = len(free) - (len(wanted) - wanted.index(name))
            for group in free:
                if size[group] <= left and spare:
                    split[group] = name
                    left -= size[group]
                    spare -= 1
    return [split[group] for group in groups]


def content_hash(content):
    """The first `HASH_DIGITS` of the SHA-256 of bytes, by which a picture is known again."""
    return hashlib.sha256(content).hexdigest()[:HASH_DIGITS]


def write_manifest(path, rows):
    """Writes a split as CSV with the columns `image,label,split,sha256`.

    Args:
        path: the file.
        rows: `(image, label, split, content hash)` of each example; `image` is relative to a folder.
    """
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "label", "split", "sha256"))
        writer.writerows(rows)


def read_manifest(path):
    """The lines of a CSV manifest: `{line number: (image, label, split, content hash)}`.

    The hash, of `HASH_DIGITS`, is empty where the line or the whole file has none.

    Raises:
        UserError: not UTF-8, a missing column, an empty cell, a split that is none of `SPLITS`, or a hash
            that is none.
    """
    rows = {}
    try:
        # With or without the byte order mark that spreadsheets write.
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = {"image", "label", "split"} - set(reader.fieldnames or ())
            if missing:
                raise UserError(f"{path}: no column {', '.join(sorted(missing))}; expected image,label,split")
            for row in reader:
                digest = (row.get("sha256") or "").lower()
                rows[reader.line_num] = row["image"], row["label"], row["split"], digest[:HASH_DIGITS]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a CSV file in UTF-8 ({error})") from error
    for line, (image, label, split, digest) in rows.items():
        if not (image and label and split):
            raise UserError(f"{path}, line {line}: image, label or split is empty")
        if split not in SPLITS:
            raise UserError(f"{path}, line {line}: split {split!r} is none of {', '.join(SPLITS)}")
        if digest and not re.fullmatch(f"[0-9a-f]{{{HASH_DIGITS}}}", digest):
            raise UserError(
                f"{path}, line {line}: sha256 {digest!r} is not {HASH_DIGITS} hexadecimal digits; "
                "leave it empty to take the file as it is"
            )
    return rows

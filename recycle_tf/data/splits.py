"""Which example trains, which validates, which tests."""

import csv
import zlib

import numpy as np

from recycle_tf.errors import UserError

SPLITS = ("train", "validation", "test")
SHARES = {"validation": 0.15, "test": 0.15}


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


def write_manifest(path, rows):
    """Writes a split as CSV with the columns `image,label,split`.

    Args:
        path: the file.
        rows: `(image, label, split)` of each example; `image` is relative to the data set's folder.
    """
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "label", "split"))
        writer.writerows(rows)


def read_manifest(path):
    """The lines of a CSV manifest: `{line number: (image, label, split)}`.

    Raises:
        UserError: not UTF-8, a missing column, an empty cell, or a split that is none of `SPLITS`.
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
                rows[reader.line_num] = row["image"], row["label"], row["split"]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a CSV file in UTF-8 ({error})") from error
    for line, row in rows.items():
        if not all(row):
            raise UserError(f"{path}, line {line}: image, label or split is empty")
        if row[2] not in SPLITS:
            raise UserError(f"{path}, line {line}: split {row[2]!r} is none of {', '.join(SPLITS)}")
    return rows

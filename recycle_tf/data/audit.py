"""Looks at every picture of a data set once, and says what is wrong with it."""

import dataclasses
import io
import os
import shlex
import warnings

import numpy as np
import tensorflow as tf
from PIL import Image

from recycle_tf.data import decode, near_duplicates, parallel, sources
from recycle_tf.data.splits import METHODS, SPLITS
from recycle_tf.errors import UserError

KINDS = {
    "unusable_name": "file names that cannot be used",
    "missing": "missing files",
    "changed": "files that changed since the manifest was written",
    "empty": "files of no bytes",
    "not_a_picture": "files that are no picture",
    "unreadable": "damaged pictures",
    "huge": f"pictures of more than {decode.MAX_PIXELS // 10**6} million pixels",
    "two_labels": "files under two labels",
    "label_error": "probable label errors",
    "near_duplicate": "groups of near-duplicates",
    "exact_duplicate": "files that are there more than once",
    "wrong_extension": "pictures of another format than their name says",
    "tiny": "tiny pictures",
    "sideways": "sideways photographs",
    "ignored": "left out",
}
"""Kinds of findings, the gravest first, and their headings."""

FATAL = ("unusable_name", "missing", "changed", "empty", "not_a_picture", "unreadable", "huge")
"""Kinds of which one file keeps a training from beginning."""

LEVELS = (0.98, near_duplicates.NEAR_DUPLICATE, 0.90)
"""Correlations above which pairs are counted."""

TINY = 32
"""The smallest side, in pixels, that a network can be given."""

WARN_AT_MOST = 20_000
"""Pictures up to which a training looks for twins across its splits. On two cores so many take twenty seconds
if they are of TrashNet's size, and seven minutes if they are of 12 megapixels."""

_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"RIFF")
"""How files of `decode.FORMATS` begin; only to tell a damaged one from one of another kind."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: one of `KINDS`.
        files: what it is about: one file, or a group of pictures that resemble each other.
        labels: the class of each file; empty for a file that is no example.
        splits: the split of each file; empty for a file that is no example.
        detail: one line for people.
    """

    kind: str
    files: tuple
    labels: tuple
    splits: tuple
    detail: str

    @property
    def across(self):
        """Whether it concerns training and another split."""
        return "train" in self.splits and len(set(self.splits)) > 1


@dataclasses.dataclass(frozen=True)
class Audit:
    """What was found in a data set.

    Attributes:
        name: of the data set.
        counts: `{split: {label: examples}}`.
        findings: of all kinds, the gravest first.
        pairs: `{correlation: pairs of pictures above it}`.
        twins: `{correlation: {"validation": n, "test": n}}`, pictures with one in train that is above it.
    """

    name: str
    counts: dict
    findings: tuple
    pairs: dict
    twins: dict

    @property
    def examples(self):
        """Of all splits."""
        return sum(sum(counts.values()) for counts in self.counts.values())

    @property
    def per_label(self):
        """`{label: examples}`, over all splits."""
        return {label: sum(self.counts[split][label] for split in SPLITS) for label in self.counts["train"]}

    def of(self, kind):
        """The findings of a kind."""
        return [finding for finding in self.findings if finding.kind == kind]


@dataclasses.dataclass(frozen=True)
class _Example:
    name: str
    label: str
    split: str
    digest: str


def audit(source, thorough=True):
    """Looks at every picture, in threads, with a progress bar.

    Args:
        source: a `sources.Source`, best opened with `auditing`.
        thorough: whether pictures are decoded in full, the way a training does, and pairs counted at all
            `LEVELS`; else each is decoded no further than its thumbnail needs.

    Returns:
        The `Audit`.
    """
    examples, reads = [], []
    for name, split in source.splits.items():
        for index, example in enumerate(split.ids):
            label = source.labels[split.labels[index]]
            examples.append(_Example(example, label, name, split.hashes[index]))
            reads.append((split, index))

    def look(position):
        split, index = reads[position]
        if not thorough and examples[position].digest in source.thumbnails:
            return [], source.thumbnails[examples[position].digest]
        try:
            encoded = split.encoded(tf.constant(index, tf.int64)).numpy()
        except tf.errors.OpError as error:
            return [("unreadable", f"cannot be read: {error.message}")], None
        return _look(encoded, os.path.splitext(examples[position].name)[1].lower(), thorough)

    with warnings.catch_warnings():
        # Pillow warns of large pictures and odd metadata; what matters of it becomes a finding.
        warnings.simplefilter("ignore")
        looks = parallel.each(look, range(len(examples)), "looking")
    findings = [Finding(fault.kind, (fault.file,), (), (), fault.detail) for fault in source.faults]
    for example, (problems, _) in zip(examples, looks, strict=True):
        findings += [_finding(kind, [example], detail) for kind, detail in problems]
    seen = [(example, thumbnail) for example, (_, thumbnail) in zip(examples, looks, strict=True)]
    seen = [(example, thumbnail) for example, thumbnail in seen if thumbnail is not None]
    levels = LEVELS if thorough else (near_duplicates.NEAR_DUPLICATE,)
    groups, pairs, twins = _compare([e for e, _ in seen], [thumbnail for _, thumbnail in seen], levels)
    order = list(KINDS)
    findings = sorted(findings, key=lambda finding: finding.files) + groups
    findings.sort(key=lambda finding: (order.index(finding.kind), not finding.across))
    counts = {
        name: dict(
            zip(source.labels, np.bincount(split.labels, minlength=len(source.labels)).tolist(), strict=True)
        )
        for name, split in source.splits.items()
    }
    return Audit(source.name, counts, tuple(findings), pairs, twins)


def open_source(dataset, on_bad_image, **arguments):
    """Opens a data set to learn from.

    Args:
        dataset: as in `sources.open_source`.
        on_bad_image: `"error"`, where the first file that cannot be used is one; or `"skip"`, where each
            picture is looked at and those that cannot be used are left out.
        **arguments: of `sources.open_source`.

    Returns:
        A `sources.Source`, whose `ignored` says what was left out and why.

    Raises:
        UserError: as `sources.open_source`; or a class of which no training picture is left.
    """
    skip = on_bad_image == "skip"
    source = sources.open_source(dataset, auditing=skip, **arguments)
    return usable(source) if skip else source


def usable(source):
    """A source without what cannot be used, opened with `auditing`; `ignored` says what and why."""
    found = [finding for finding in audit(source).findings if finding.kind in FATAL]
    bad = {finding.files[0] for finding in found}
    kept = {name: sources.subset(split, _kept(split, bad)) for name, split in source.splits.items()}
    left = set(kept["train"].labels.tolist())
    for index, label in enumerate(source.labels):
        if index not in left:
            raise UserError(f"{source.name}: class {label!r} has no training picture that can be used")
    why = tuple(f"{finding.files[0]}: {KINDS[finding.kind]} ({finding.detail})" for finding in found)
    return dataclasses.replace(source, splits=kept, ignored=(*source.ignored, *why))


def _kept(split, bad):
    return np.array([index for index, example in enumerate(split.ids) if example not in bad], np.int64)


def leaks(source, settings):
    """What a training should be warned of: twins across its splits, and a file under two labels.

    Args:
        source: the `sources.Source`.
        settings: has the attributes `dataset`, `manual_dir`, `data_dir`, `split` and `seed` that it was
            opened with, such as a `TrainConfig`.

    Returns:
        Lines.
    """
    see = f"(see: {_command(settings)})"
    if source.num_examples > WARN_AT_MOST:
        return [f"{source.num_examples:,} pictures are not searched for near-twins across splits {see}"]
    found = audit(source, thorough=False)
    lines = []
    for split in ("test", "validation"):
        number = found.twins[near_duplicates.NEAR_DUPLICATE][split]
        if number:
            have = "pictures have" if number > 1 else "pictures has"
            total = sum(found.counts[split].values())
            lines.append(f"{number} of {total} {split} {have} a near-twin in train {see}")
    double = found.of("two_labels")
    if double:
        such = " and ".join(
            f"{f} ({label})" for f, label in zip(double[0].files, double[0].labels, strict=True)
        )
        is_are = "picture is" if len(double) == 1 else "pictures are"
        lines.append(f"{len(double)} {is_are} in {source.name} under two labels, such as {such} {see}")
    return lines


def _command(settings):
    """The command line that audits what `settings` open."""
    usual = {"manual_dir": None, "data_dir": None, "split": METHODS[0], "seed": 0}
    given = {"dataset": settings.dataset}
    given |= {name: getattr(settings, name) for name in usual if getattr(settings, name) != usual[name]}
    flags = (shlex.quote(f"--{name}={value}") for name, value in given.items())
    return " ".join(["python -m recycle_tf audit", *flags])


def _look(encoded, extension, thorough):
    """The `(kind, detail)` of what is wrong with a picture, and its thumbnail or None."""
    if not encoded:
        return [("empty", "no bytes")], None
    try:
        picture = Image.open(io.BytesIO(encoded), formats=decode.FORMATS)
    except Image.DecompressionBombError:
        return [("huge", f"more pixels than Pillow opens, in a file of {len(encoded):,} bytes")], None
    except Exception:
        # Pillow's parsers raise what they like.
        if encoded.startswith(_SIGNATURES):
            return [("unreadable", "damaged from its first bytes on")], None
        return [("not_a_picture", f"begins with {encoded[:12]!r}")], None
    width, height = picture.size
    if width * height > decode.MAX_PIXELS:
        return [("huge", f"{width} x {height} pixels, in a file of {len(encoded):,} bytes")], None
    try:
        thumbnail = near_duplicates.thumbnail(picture)
        if thorough:
            # What trains decides: the two decoders do not forgive the same.
            decode.decode_pixels(tf.constant(encoded))
    except tf.errors.OpError as error:
        return [("unreadable", _line(error.message))], None
    except Exception as error:
        # So do its decoders.
        return [("unreadable", _line(f"{type(error).__name__}: {error}"))], None
    problems = []
    # MPO is a JPEG with further ones behind it, as some telephones write.
    actual = {"MPO": "JPEG"}.get(picture.format, picture.format)
    if extension and Image.registered_extensions().get(extension) != actual:
        problems.append(("wrong_extension", f"a {actual} called {extension}"))
    if min(width, height) < TINY:
        problems.append(("tiny", f"{width} x {height} pixels"))
    orientation = near_duplicates.orientation(picture)
    if orientation != 1:
        problems.append(("sideways", f"EXIF orientation {orientation}"))
    return problems, thumbnail


def _line(text):
    return " ".join(text.split())[:200]


def _finding(kind, examples, detail):
    examples = sorted(
        examples, key=lambda example: (SPLITS.index(example.split), example.label, example.name)
    )
    columns = zip(*((example.name, example.label, example.split) for example in examples), strict=True)
    return Finding(kind, *columns, detail)


def _compare(examples, thumbnails, levels):
    """Findings of what resembles what, and the counts `Audit.pairs` and `Audit.twins`."""
    of_digest = {}
    for index, example in enumerate(examples):
        of_digest.setdefault(example.digest, []).append(index)
    same = [members for members in of_digest.values() if len(members) > 1]
    digests = np.array([example.digest for example in examples], dtype=object)
    in_train = np.array([example.split == "train" for example in examples], bool)
    trained = {example.digest for example in examples if example.split == "train"}
    exact = np.array([not train and d in trained for train, d in zip(in_train, digests, strict=True)], bool)
    has_twin = {level: exact.copy() for level in levels}
    pairs = dict.fromkeys(levels, 0)
    nearest = np.zeros(len(examples))

    def near():
        stack = np.array(thumbnails, np.uint8).reshape(-1, near_duplicates.SIDE, near_duplicates.SIDE)
        for first, second, correlation in near_duplicates.near_pairs(stack, min(levels)):
            for level in levels:
                above = correlation > level
                pairs[level] += int(above.sum())
                for one, other in ((first, second), (second, first)):
                    has_twin[level][one[above & in_train[other] & ~in_train[one]]] = True
            different = digests[first] != digests[second]
            np.maximum.at(nearest, first[different], correlation[different])
            joined = correlation > near_duplicates.NEAR_DUPLICATE
            yield first[joined], second[joined]
        # A picture of a single shade correlates with nothing, not even its own copy.
        for members in same:
            yield members[:1] * (len(members) - 1), members[1:]

    groups = {}
    for index, lowest in enumerate(near_duplicates.groups(len(examples), near()).tolist()):
        groups.setdefault(lowest, []).append(index)
    findings = []
    for members in same:
        kind = "two_labels" if len({examples[i].label for i in members}) > 1 else "exact_duplicate"
        findings.append(_finding(kind, [examples[i] for i in members], "the same bytes"))
    for members in sorted(groups.values(), key=lambda members: -nearest[members].max()):
        if len({examples[i].digest for i in members}) > 1:
            detail = f"correlation up to {nearest[members].max():.3f}"
            findings.append(_finding("near_duplicate", [examples[i] for i in members], detail))
    splits = np.array([example.split for example in examples], dtype=object)
    twins = {
        level: {name: int((has_twin[level] & (splits == name)).sum()) for name in ("validation", "test")}
        for level in levels
    }
    return findings, pairs, twins

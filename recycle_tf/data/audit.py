"""Finds what is wrong with a dataset: unusable files, duplicates, and near-duplicates across splits."""

import dataclasses

import numpy as np

from recycle_tf import options
from recycle_tf.data import checks, near_duplicates

GROUPS = {
    "two_labels": "images under two labels",
    "label_error": "probable label errors",
    "near_duplicate": "groups of near-duplicates",
    "exact_duplicate": "identical images",
}
"""Kinds of findings about several images, and their headings."""

KINDS = {
    **checks.UNUSABLE,
    "small_class": "classes that are too small to split",
    **GROUPS,
    **checks.UNUSUAL,
    "ignored": "ignored files",
}
"""Kinds of findings, most serious first, and their headings."""

BLOCKING = (*checks.UNUSABLE, "small_class")
"""Kinds of findings that prevent training from starting."""

LEVELS = (0.98, near_duplicates.NEAR_DUPLICATE, 0.90)
"""Correlations above which an audit counts pairs."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One problem.

    Attributes:
        kind: a key of `KINDS`.
        files: the file or the group of images that it is about; the class for `small_class`.
        labels: the class of each file; empty if the file is not an example.
        splits: the split of each file; empty if the file is not an example.
        detail: what was found, in a few words.
    """

    kind: str
    files: tuple
    labels: tuple
    splits: tuple
    detail: str

    @property
    def across(self):
        """Whether it concerns images in train and in another split."""
        return "train" in self.splits and len(set(self.splits)) > 1


@dataclasses.dataclass(frozen=True)
class Audit:
    """The result of an audit.

    Attributes:
        name: name of the dataset.
        counts: `{split: {label: number of examples}}`.
        findings: findings of all kinds, most serious first.
        pairs: `{correlation: number of image pairs above it}`.
        leaked: `{correlation: {"validation": n, "test": n}}`: number of images for which train has an image
            with a higher correlation.
    """

    name: str
    counts: dict
    findings: tuple
    pairs: dict
    leaked: dict

    @property
    def examples(self):
        """Number of examples in all splits."""
        return sum(sum(counts.values()) for counts in self.counts.values())

    @property
    def per_label(self):
        """`{label: number of examples}` in all splits."""
        return {
            label: sum(self.counts[split][label] for split in options.SPLITS)
            for label in self.counts["train"]
        }

    def of(self, kind):
        """The findings of one kind."""
        return [finding for finding in self.findings if finding.kind == kind]


@dataclasses.dataclass(frozen=True)
class _Example:
    name: str
    label: str
    split: str
    digest: str

    @property
    def order(self):
        return options.SPLITS.index(self.split), self.label, self.name


def audit(source):
    """Collects the problems that were found when a dataset was opened, and compares its images.

    Args:
        source: a `sources.Source`, opened with `on_bad_image=sources.REPORT`.

    Returns:
        An `Audit`.
    """
    examples = _examples(source)
    by_name = {example.name: example for example in examples}
    findings = [_from_fault(fault, by_name.get(fault.file)) for fault in source.faults]
    groups, pairs, leaked = _compare(source, examples, LEVELS)
    findings = sorted(findings, key=lambda finding: finding.files) + groups
    order = list(KINDS)
    findings.sort(key=lambda finding: (order.index(finding.kind), not finding.across))
    return Audit(source.name, source.counts, tuple(findings), pairs, leaked)


def leaks(source):
    """States what a training run should be warned about: near-duplicates across splits, double labels.

    Args:
        source: a `sources.Source` with three splits. Images that were not compared when it was opened are
            read.

    Returns:
        A list of lines, without a remedy.
    """
    if source.num_examples > near_duplicates.MAX_COMPARED:
        return [
            f"{source.num_examples:,} images are too many to search them for near-duplicates across splits"
        ]
    level = near_duplicates.NEAR_DUPLICATE
    findings, _, leaked = _compare(source, _examples(source), (level,))
    lines = []
    for split in ("test", "validation"):
        number = leaked[level][split]
        if number:
            have = "image has" if number == 1 else "images have"
            lines.append(f"{number} of {len(source.splits[split])} {split} {have} a near-duplicate in train")
    double = [finding for finding in findings if finding.kind == "two_labels"]
    if double:
        named = zip(double[0].files, double[0].labels, strict=True)
        example = " and ".join(f"{file} ({label})" for file, label in named)
        are = "image is" if len(double) == 1 else "images are"
        lines.append(f"{len(double)} {are} in {source.name} under two labels, for example {example}")
    return lines


def _examples(source):
    return [
        _Example(name, source.labels[label], split_name, digest)
        for split_name, split in source.splits.items()
        for name, label, digest in zip(split.ids, split.labels, split.hashes, strict=True)
    ]


def _from_fault(fault, example):
    """The finding about one file; `example` is None if the file is not one."""
    detail = f"{fault.detail}, in line {fault.line}" if fault.line else fault.detail
    labels, splits = ((example.label,), (example.split,)) if example else ((), ())
    return Finding(fault.kind, (fault.file,), labels, splits, detail)


def _of_group(kind, examples, detail):
    """The finding about several images, sorted by split, label and name."""
    examples = sorted(examples, key=lambda example: example.order)
    columns = zip(*((example.name, example.label, example.split) for example in examples), strict=True)
    return Finding(kind, *columns, detail)


def _compare(source, examples, levels):
    """Findings about duplicates, and the counts `Audit.pairs` and `Audit.leaked`."""
    thumbnails = checks.thumbnails_of(source.splits.values(), source.thumbnails)
    examples = [example for example in examples if thumbnails[example.digest] is not None]
    stack = np.array([thumbnails[example.digest] for example in examples], np.uint8)
    copies = _copies(examples)
    counter = _PairCounter(examples, levels)

    def connected():
        for pairs in near_duplicates.near_pairs(
            stack.reshape(-1, near_duplicates.SIDE, near_duplicates.SIDE), min(levels)
        ):
            yield counter.count(*pairs)
        # An image of a single shade correlates with nothing, not even with a copy of itself.
        for members in copies:
            yield members[:1] * (len(members) - 1), members[1:]

    groups = {}
    for index, lowest in enumerate(near_duplicates.groups(len(examples), connected()).tolist()):
        groups.setdefault(lowest, []).append(index)
    findings = []
    for members in copies:
        kind = "two_labels" if len({examples[i].label for i in members}) > 1 else "exact_duplicate"
        findings.append(_of_group(kind, [examples[i] for i in members], "the same bytes"))
    for members in sorted(groups.values(), key=lambda members: -counter.nearest[members].max()):
        if len({examples[i].digest for i in members}) > 1:
            detail = f"correlation up to {counter.nearest[members].max():.3f}"
            findings.append(_of_group("near_duplicate", [examples[i] for i in members], detail))
    return findings, counter.pairs, counter.leaked()


def _copies(examples):
    """Lists of the indices of examples with the same bytes."""
    by_digest = {}
    for index, example in enumerate(examples):
        by_digest.setdefault(example.digest, []).append(index)
    return [members for members in by_digest.values() if len(members) > 1]


class _PairCounter:
    """Counts near-duplicates while pairs arrive, some at a time.

    Attributes:
        pairs: `{correlation: number of pairs above it}`.
        nearest: for each example the highest correlation with an example of other bytes, float64.
    """

    def __init__(self, examples, levels):
        self.pairs = dict.fromkeys(levels, 0)
        self.nearest = np.zeros(len(examples))
        self._splits = np.array([example.split for example in examples], dtype=object)
        self._digests = np.array([example.digest for example in examples], dtype=object)
        self._in_train = self._splits == "train"
        trained = set(self._digests[self._in_train])
        copies = np.array([digest in trained for digest in self._digests], bool) & ~self._in_train
        self._leaked = {level: copies.copy() for level in levels}

    def count(self, first, second, correlation):
        """Counts pairs; returns `(first, second)` of those that are near-duplicates."""
        for level, leaked in self._leaked.items():
            above = correlation > level
            self.pairs[level] += int(above.sum())
            for one, other in ((first, second), (second, first)):
                leaked[one[above & self._in_train[other] & ~self._in_train[one]]] = True
        different = self._digests[first] != self._digests[second]
        # The first of each pair is enough: a group's highest correlation is the maximum over its members.
        np.maximum.at(self.nearest, first[different], correlation[different])
        joined = correlation > near_duplicates.NEAR_DUPLICATE
        return first[joined], second[joined]

    def leaked(self):
        """`Audit.leaked`."""
        return {
            level: {name: int((leaked & (self._splits == name)).sum()) for name in ("validation", "test")}
            for level, leaked in self._leaked.items()
        }

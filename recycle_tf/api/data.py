"""Datasets: open, look at, audit, review, write as shards."""

import contextlib
import dataclasses
import itertools
import json
import os
import pathlib

from recycle_tf import paths, remote, runs
from recycle_tf.config import TrainConfig
from recycle_tf.data import audit as audits
from recycle_tf.data import checks, joining, near_duplicates, sources, splits
from recycle_tf.data import shards as sharding
from recycle_tf.errors import UserError
from recycle_tf.evaluation import audit_report, label_errors, notebook, plots
from recycle_tf.files import replacing, writing


@dataclasses.dataclass(frozen=True, repr=False)
class Dataset:
    """Images with their classes and splits, as `open_dataset` returns them.

    Attributes:
        settings: how it was opened, as settings of a training run: `dataset`, `split`, `seed`, ….
        source: the `recycle_tf.data.sources.Source`, nothing left out.
    """

    settings: dict
    source: sources.Source

    @property
    def classes(self):
        """Names of the classes, in index order."""
        return self.source.labels

    @property
    def counts(self):
        """`{split: {class: number of images}}`."""
        return self.source.counts

    @property
    def problems(self):
        """Number of files that cannot be used for training; `audit` says which."""
        return sum(fault.kind in checks.UNUSABLE for fault in self.source.faults)

    def show(self, split="train", columns=6, seed=0):
        """Draws some images of each class.

        Args:
            split: train, validation or test.
            columns: number of images per class.
            seed: of the choice.

        Returns:
            A matplotlib `Figure`; a notebook draws it.

        Raises:
            UserError: no such split.

        Examples:
            >>> figure = data.show(columns=3)
            >>> len(figure.axes)  # six classes
            18
        """
        if split not in self.source.splits:
            raise UserError(f"`split={split}`: choose from {', '.join(self.source.splits)}")
        return notebook.show(plots.sheet(self.source, split, columns, seed))

    def write_manifest(self, path):
        """Writes the split, with content hashes, to a CSV that `open_dataset` and `train` take.

        Files that cannot be used are left out; a file that has changed is written with its new hash.

        Args:
            path: of the `.csv`, in the dataset's folder or in a folder above it.

        Returns:
            Number of images in it.

        Raises:
            UserError: the dataset is not a folder, or the file cannot be written.

        Examples:
            >>> data.write_manifest("photos.csv")
            72
        """
        manifest = paths.from_user(path, "manifest")
        if self.source.root is None:
            raise UserError(
                f"`manifest={manifest}`: {self.source.name} is not a folder and has its own split"
            )
        prefix = splits.manifest_prefix(manifest, self.source.root, "manifest")
        kinds = set(checks.UNUSABLE) - {"changed"}
        unusable = {fault.file for fault in self.source.faults if fault.kind in kinds}
        rows = [(prefix + image, *rest) for image, *rest in self.source.manifest() if image not in unusable]
        with writing(f"`manifest={manifest}`"), replacing(manifest) as temporary:
            splits.write_manifest(temporary, rows)
        return len(rows)

    @contextlib.contextmanager
    def review(self, out, findings=None, inbox=None, port=0):
        """A context in which a local page is open, on which labels are corrected; see docs/review.md.

        Args:
            out: the `.csv` to write, in a folder that contains the dataset and the inbox.
            findings: the `audit.json` of this dataset, to review what it found; or None.
            inbox: folder of new images, to be given a class, or a `.zip` of them, which is unpacked into a
                folder of its name beside `out`; or None.
            port: where to listen, on this machine only; 0 for any port that is free.

        Yields:
            A `recycle_tf.review.server.Server`: `address` is that of the page, and `serve_forever()` serves
            it until Ctrl-C.

        Raises:
            UserError: a path is missing or wrong, or the port is taken.
        """
        from recycle_tf.review import decisions, images, server

        out = paths.from_user(out, "out")
        if remote.is_remote(self.settings["dataset"]):
            raise UserError(f"{self.settings['dataset']}: only images on this machine can be reviewed")
        dataset = paths.of_dataset(self.settings["dataset"])
        if out.exists() and dataset.exists() and out.samefile(dataset):
            raise UserError(f"`out={out}`: is the dataset itself; choose another name")
        drawn = sources.is_drawn(self.settings["dataset"])
        review = images.collect(self.source, out, findings, inbox, drawn)
        with decisions.Decisions(review, out) as decided, server.Server(review, decided, port) as running:
            yield running

    def __repr__(self):
        lines = [f"{self.source.name}: {self.source.num_examples:,} images of {len(self.classes)} classes"]
        width = max(map(len, self.classes))
        lines.append(f"  {'':{width}}" + "".join(f"{name:>12}" for name in self.counts))
        lines += [f"  {row[0]:{width}}" + "".join(f"{n:12,}" for n in row[1:]) for row in self._rows()]
        return "\n".join(lines + [f"  {line}" for line in self._remarks()])

    def _repr_html_(self):
        remarks = "".join(f", {line}" for line in self._remarks())
        note = f"{self.source.num_examples:,} images of {len(self.classes)} classes{remarks}"
        return notebook.table((self.source.name, *self.counts), self._rows(), note)

    def _rows(self):
        return [[label, *(self.counts[split][label] for split in self.counts)] for label in self.classes]

    def _remarks(self):
        files = "file" if self.problems == 1 else "files"
        return [f"{self.problems:,} {files} cannot be used, see audit"] if self.problems else []


@dataclasses.dataclass(frozen=True, repr=False)
class AuditReport:
    """What an audit found, and where its report is.

    Attributes:
        data: the `Dataset` that was audited.
        found: the `recycle_tf.data.audit.Audit`.
        directory: folder of `audit.html` and `audit.json`.
        written: number of images in the manifest that was written; None without one.
    """

    data: Dataset
    found: audits.Audit
    directory: pathlib.Path
    written: int | None = None

    @property
    def page(self):
        """Path of `audit.html`, which shows the images of every finding."""
        return self.directory / "audit.html"

    @property
    def findings(self):
        """The findings of all kinds, most serious first; see `recycle_tf.data.audit.Finding`."""
        return self.found.findings

    @property
    def blocking(self):
        """Number of findings that prevent training from starting."""
        return sum(len(self.found.of(kind)) for kind in audits.BLOCKING)

    @property
    def leaking(self):
        """Whether train has near-duplicates of images in validation or test."""
        return any(self.found.leaked[near_duplicates.NEAR_DUPLICATE].values())

    def __repr__(self):
        return f"{audit_report.summary(self.found)}\n\nreport    {self.page}"

    def _repr_html_(self):
        rows = [
            (heading, len(findings), "; ".join(map(audit_report.line, findings[: audit_report.WORST])))
            for kind, heading in audits.KINDS.items()
            if (findings := self.found.of(kind))
        ]
        note = f"{self.found.examples:,} images. Every finding with its images: {notebook.link(self.page)}"
        return notebook.table(("finding", "number", "for example"), rows or [("none", 0, "")], note)


def open_dataset(
    dataset,
    *,
    label_map=None,
    split=TrainConfig.split,
    seed=TrainConfig.seed,
    manual_dir=None,
    data_dir=None,
):
    """Opens images for looking, auditing and training. Every file is read and decoded once.

    Args:
        dataset: a folder with one subfolder of images per class, a `.csv` manifest, or the name of a builder
            such as `trashnet`; several of these joined with `+`.
        label_map: a `.yaml` file that renames classes, see `TrainConfig`; or None.
        split: how a folder without a split is split, one of `options.SPLIT_METHODS`.
        seed: of that split.
        manual_dir: folder with files for a builder that the user downloaded.
        data_dir: folder of prepared datasets; default: that of TensorFlow Datasets.

    Returns:
        A `Dataset`. Files that cannot be used are counted in it, and named by `audit`.

    Raises:
        UserError: no such dataset, or one without two classes.

    Examples:
        >>> data = rt.open_dataset("photos")
        >>> data.classes
        ('cardboard', 'glass', 'metal', 'paper', 'plastic', 'trash')
        >>> data.counts["test"]["glass"]
        2
    """
    settings = {
        "dataset": str(dataset),
        "label_map": label_map,
        "split": split,
        "seed": seed,
        "manual_dir": manual_dir,
        "data_dir": data_dir,
    }
    return Dataset(settings, sources.open_source(on_bad_image=sources.REPORT, **settings))


def audit(data, out=None, labels=None, weights=None, manifest=None, **how):
    """Finds damaged files, duplicates, images under two labels, and near-duplicates across the splits.

    Args:
        data: a `Dataset`, or what `open_dataset` takes.
        out: folder of the report; default: `audit/NAME`, or `audit/NAME-2`, … if that is the report of
            another dataset.
        labels: a run whose network also searches for probable label errors; or None.
        weights: with `labels`: published weights of the run's architecture, which have not seen these labels:
            a file or `"imagenet"`. Default: the run's own.
        manifest: a `.csv` to which the split is written too, see `Dataset.write_manifest`; or None.
        **how: arguments of `open_dataset`, for data that is not open yet.

    Returns:
        An `AuditReport`.

    Raises:
        UserError: no such dataset or run, an argument of `open_dataset` for a `Dataset`, or something cannot
            be written.

    Examples:
        >>> report = rt.audit(data)
        >>> report.blocking
        0
        >>> report.page.name
        'audit.html'
    """
    if weights and not labels:
        raise UserError("`weights`: only with `labels`, the run whose network searches for label errors")
    if isinstance(data, Dataset) and how:
        name = next(iter(how))
        raise UserError(f"`{name}`: of no effect on a dataset that is open; give it to `open_dataset`")
    # Before the work, so that no minutes are lost if there is no such run, or nothing can be written.
    if labels is not None:
        runs.open_run(labels, "labels")
    out = None if out is None else paths.from_user(out, "out")
    if out:
        _make(out)
    data = data if isinstance(data, Dataset) else open_dataset(data, **how)
    written = data.write_manifest(manifest) if manifest else None
    path = paths.of_dataset(data.settings["dataset"])
    place = str(path.resolve()) if path.exists() else data.settings["dataset"]
    directory = out or _unused(data.source.name, place)
    found = audits.audit(data.source)
    if labels:
        found = label_errors.add_to(found, data.source, os.fspath(labels), weights)
    _make(directory)
    with writing(f"`out={directory}`"):
        audit_report.write(found, data.source, directory, place)
    return AuditReport(data, found, directory, written)


@dataclasses.dataclass(frozen=True)
class Sharded:
    """What `shard` wrote.

    Attributes:
        directory: the folder, which `open_dataset` and `train` take as a dataset.
        files: number of TFRecord files in it.
        counts: `{split: number of images}`.
        bytes: size of the files.
        ignored: files that were left out, each with the reason if it is not obvious.
    """

    directory: pathlib.Path
    files: int
    counts: dict
    bytes: int
    ignored: tuple


def shard(dataset, directory, *, shards=None, on_bad_image=TrainConfig.on_bad_image, **how):
    """Writes a dataset as some large TFRecord files with an index, which can be trained on like the dataset.

    Batches, splits and resumed runs are the same; opening reads the index alone. Memory is needed for names
    and hashes only.

    Args:
        dataset: what `open_dataset` takes.
        directory: folder to write, replaced as a whole when all has been written. It may exist if it is
            empty or holds shards.
        shards: number of files for the training split; default: files of about 256 MB.
        on_bad_image: `"error"` or `"skip"`, as for `train`.
        **how: further arguments of `open_dataset`: the split is drawn, and classes are renamed, here.

    Returns:
        A `Sharded`.

    Raises:
        UserError: no such dataset, an image that cannot be used, a folder that holds something else or lies
            in the dataset, or too little space.

    Example:
        >>> written = rt.shard("photos", "photos_in_shards", shards=2)
        >>> written.files, written.counts["train"]
        (4, 48)
        >>> rt.open_dataset(written.directory).counts == data.counts
        True
    """
    place = paths.from_user(directory, "dir")
    if shards is not None and shards < 1:
        raise UserError(f"`shards={shards}`: at least 1")
    for root in map(paths.of_dataset, joining.names(dataset)):
        if not remote.is_remote(root) and root.is_dir() and place.resolve().is_relative_to(root.resolve()):
            raise UserError(f"`dir={place}`: lies in the dataset; choose a folder outside {root}")
    sharding.require_replaceable(place)
    source = sources.open_source(str(dataset), on_bad_image=on_bad_image, compare=False, **how)
    index = sharding.write(source, place, shards)
    counts = {name: len(split) for name, split in source.splits.items()}
    size = sum(one.bytes for one in index.shards)
    return Sharded(place, len(index.shards), counts, size, source.ignored)


def _unused(name, place):
    """`audit/NAME`, or the first of `audit/NAME-2`, … that does not hold the report of another dataset."""
    for number in itertools.count(1):
        directory = pathlib.Path("audit") / (name if number == 1 else f"{name}-{number}")
        record = directory / "audit.json"
        if not record.exists():
            return directory
        try:
            if json.loads(record.read_text(encoding="utf-8"))["path"] == place:
                return directory
        except (OSError, ValueError, TypeError, KeyError):
            # Not a report of this version: leave it alone.
            continue


def _make(directory):
    with writing(f"`out={directory}`"):
        directory.mkdir(parents=True, exist_ok=True)

"""The data that a run is evaluated on: its own, with the split it was trained with, or another dataset."""

import dataclasses
import sys
import unicodedata

import numpy as np

from recycle_tf.data import joining, sources, splits
from recycle_tf.errors import UserError


@dataclasses.dataclass(frozen=True)
class EvaluationSet:
    """Images to evaluate a run on.

    Attributes:
        name: of the dataset.
        split_name: train, validation, test, or all for a dataset without a split.
        split: the `sources.Split`; its labels are indices of the run's classes.
        own: whether it is the run's own data.
        location: what `open_set` was given as the dataset; None for the run's own.
        untested: classes of the run without an image here.
        left_out: classes of the dataset that the run does not know.
    """

    name: str
    split_name: str
    split: sources.Split
    own: bool
    location: str | None = None
    untested: tuple = ()
    left_out: tuple = ()


def open_source(run, dataset=None, manual_dir=None, data_dir=None):
    """Opens a run's own data, with the split it was trained with; or a copy of it at another place.

    Args:
        run: a `runs.Run`.
        dataset: where the copy is, as in `train.py`; None for the run's own place.
        manual_dir: as in `train.py`; None for the run's own.
        data_dir: as in `train.py`; None for the run's own.

    Returns:
        A `data.sources.Source` with the run's labels, in the run's order.

    Raises:
        UserError: the data is missing, has changed since the run was trained, is split in another way, or has
            other classes.
    """
    config = run.config
    own = dataset is None or _is_own(dataset, run)
    source = sources.open_source(
        config["dataset"] if own else dataset,
        on_bad_image=config["on_bad_image"],
        manual_dir=manual_dir or config["manual_dir"],
        data_dir=data_dir or config["data_dir"],
        seed=config["seed"],
        split=config["split"],
        manifest=run.manifest if run.manifest.is_file() else None,
        label_map=config["label_map"] if own or run.manifest.is_file() else None,
    )
    if set(source.labels) != set(run.labels):
        raise UserError(
            f"{dataset or config['dataset']}: its classes are {', '.join(source.labels)}, the run's are "
            f"{', '.join(run.labels)}"
        )
    if own and source.fingerprint != run.fingerprint:
        raise UserError(
            f"{run.path}: {config['dataset']} or its split has changed since the run was trained; the test "
            "split may hold images that it was trained on"
        )
    if not own and not run.manifest.is_file() and source.fingerprint != run.fingerprint:
        raise UserError(
            f"`dataset={dataset}`: not split as {config['dataset']} was when the run was trained; its test "
            "split may hold images that it was trained on. Give `data_dir` or `manual_dir` instead"
        )
    index = np.array([run.labels.index(label) for label in source.labels])
    matched = {
        name: dataclasses.replace(split, labels=index[split.labels]) for name, split in source.splits.items()
    }
    return dataclasses.replace(source, labels=tuple(run.labels), splits=matched)


def open_set(
    run, dataset=None, split=None, manual_dir=None, data_dir=None, ignore_unknown=False, label_map=None
):
    """Opens the images that a run is evaluated on.

    Classes are matched by name, so another dataset may list them in any order or have only some of them.

    Args:
        run: a `runs.Run`.
        dataset: as in `train.py`; None or the run's own dataset for the split it was trained with.
        split: train, validation or test; None for test, or for all images of a dataset without a split.
        manual_dir: as in `train.py`; None for the run's own.
        data_dir: as in `train.py`; None for the run's own.
        ignore_unknown: leave out the images of classes that the run does not know.
        label_map: as in `train.py`, of another dataset.

    Returns:
        An `EvaluationSet`.

    Raises:
        UserError: the data is missing, has no such split, has a class that the run does not know, or has none
            of its classes.
    """
    if dataset is None or _is_own(dataset, run):
        source = open_source(run, None, manual_dir, data_dir)
        name = _choose_split(source, run.config["dataset"], split)
        return EvaluationSet(source.name, name, source.splits[name], own=True)
    source = sources.open_unsplit(
        dataset,
        on_bad_image=run.config["on_bad_image"],
        manual_dir=manual_dir or run.config["manual_dir"],
        data_dir=data_dir or run.config["data_dir"],
        label_map=label_map,
    )
    name = _choose_split(source, dataset, split)
    found = _match(run, source, dataset, name, ignore_unknown)
    warn_of_training_images(run, source.splits[name], dataset)
    return found


def warn_of_training_images(run, split, place):
    """Warns if a run was trained on images of a split, which are known by their content.

    Args:
        run: a `runs.Run`.
        split: a `sources.Split` on which it is evaluated.
        place: name of the dataset, for the message.
    """
    # Of images that are in two splits of the run's own data, training has warned.
    trained = splits.hashes(run.manifest, "train") - splits.hashes(run.manifest, "validation", "test")
    if seen := sum(digest in trained for digest in split.hashes):
        print(
            f"warning: {place}: {run.path} was trained on {seen} of these {len(split)} images; its accuracy "
            "is too high",
            file=sys.stderr,
        )


def _is_own(dataset, run):
    """Whether a dataset is the run's own, also if its path is written in another way."""
    return joining.places(dataset) == joining.places(run.config["dataset"])


def _choose_split(source, dataset, split):
    available = ", ".join(source.splits)
    if split is not None and split not in source.splits:
        raise UserError(f"`split={split}`: {dataset} has no such split, only {available}")
    name = split or next((name for name in ("all", "test") if name in source.splits), None)
    if name is None and len(source.splits) > 1:
        raise UserError(f"`dataset={dataset}`: has no test split; choose a `split` of {available}")
    return name or next(iter(source.splits))


def _match(run, source, dataset, split_name, ignore_unknown):
    """The split of a source with labels as indices of the run's classes."""
    split = source.splits[split_name]
    present = [source.labels[index] for index in np.unique(split.labels)]
    exact = {label: index for index, label in enumerate(run.labels)}
    # macOS writes a letter of Korean or with an accent as several characters.
    composed = {unicodedata.normalize("NFC", label): index for label, index in exact.items()}
    places = {
        label: exact.get(label, composed.get(unicodedata.normalize("NFC", label), -1))
        for label in source.labels
    }
    unknown = tuple(label for label in present if places[label] < 0)
    if unknown and not ignore_unknown:
        raise UserError(
            f"`dataset={dataset}`: the run does not know the class {', '.join(unknown)}, only "
            f"{', '.join(run.labels)}; `ignore_unknown` leaves such images out"
        )
    labels = np.array([places[label] for label in source.labels])[split.labels]
    known = np.flatnonzero(labels >= 0)
    if not len(known):
        raise UserError(
            f"`dataset={dataset}`: has none of the run's classes, {', '.join(run.labels)}, only "
            f"{', '.join(present)}"
        )
    matched = dataclasses.replace(sources.subset(split, known), labels=labels[known])
    untested = tuple(label for index, label in enumerate(run.labels) if index not in labels)
    return EvaluationSet(source.name, split_name, matched, False, str(dataset), untested, unknown)

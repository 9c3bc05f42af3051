"""What a run takes over from earlier ones: their split, so that nothing is tested that was trained on."""

import functools
import sys

from recycle_tf.data import examples, joining, label_maps, sources, splits
from recycle_tf.errors import UserError
from recycle_tf.paths import from_user
from recycle_tf.runs import Run, open_run
from recycle_tf.training import classes


def repeated(config):
    """The run in `from_run` if its data is to be used again, with the same classes; else None.

    Args:
        config: a `TrainConfig`.

    Raises:
        UserError: there is no such run, or its record is damaged.
    """
    if config.from_run is None:
        return None
    run = open_run(config.from_run, "from_run")
    if config.continues and run.manifest.is_file():
        # Images may have been added or moved to another class; see `stored_splits`.
        return None
    # What the network has been trained on must not be tested on, whatever seed is given now. That holds for a
    # run that repeats one which started from the network of another, too.
    origin = _run_of(config.weights) if config.weights == run.config["weights"] else None
    same_images = origin and origin.fingerprint == run.fingerprint
    drawn = () if config.continues or same_images else ("split", "seed")
    data = ("label_map", "on_bad_image", *drawn)
    same = joining.places(run.config["dataset"]) == joining.places(config.dataset)
    if not same or not all(run.config[name] == getattr(config, name) for name in data):
        return None
    names = None if config.label_map else sources.class_names(config.dataset)
    return run if names is None or set(names) == set(run.labels) else None


def stored_splits(config):
    """The splits of the sources of the run in `from_run`, for `sources.open_source`.

    So that what that run has been tested on is not trained on when its network is trained further, or when
    other sources are added to its own.

    Args:
        config: a `TrainConfig`.

    Returns:
        `{place of a source: (CSV of the run, name of the source in it or None)}`.
    """
    run = open_run(config.from_run, "from_run") if config.from_run else None
    if not run or not run.manifest.is_file():
        return {}
    if len(joining.names(config.dataset)) == 1:
        # In a grouped split, images of a new class could only be trained on, so all of it is drawn again.
        other = config.split != "grouped" and _has_other_classes(config, run)
        if not ((config.continues or other) and sources.is_drawn(config.dataset)):
            return {}
    names = joining.names(run.config["dataset"])
    parts = joining.short_names(names) if len(names) > 1 else [None]
    places = joining.places(run.config["dataset"])
    return {place: (run.manifest, part) for place, part in zip(places, parts, strict=True)}


def without_seen(source, config):
    """The source without validation and test images that the initial network has been trained on.

    They become training images, also those that were moved to another class, which no stored split knows. A
    single dataset with a split of its own keeps it, with a warning.

    Args:
        source: a `data.sources.Source` with train, validation and test.
        config: the `TrainConfig` that it was opened for.

    Raises:
        UserError: no validation or no test image is left.
    """
    seen = frozenset().union(
        *(
            splits.hashes(run.manifest, "train") - splits.hashes(run.manifest, "validation", "test")
            for run in _ancestors(config, source.labels)
        )
    )
    held_out = [digest for name in ("validation", "test") for digest in source.splits[name].hashes]
    number = sum(digest in seen for digest in held_out)
    if not number:
        return source
    what = f"{number} of the {len(held_out)} validation and test images"
    if len(joining.names(config.dataset)) == 1 and not sources.is_drawn(config.dataset):
        print(
            f"warning: {source.name}: the network was trained on {what}; its accuracy is too high",
            file=sys.stderr,
        )
        return source
    print(f"split     {what} were training images of the network's earlier run, and are again")
    found = examples.with_training_images(source, seen)
    for name in ("validation", "test"):
        if not len(found.splits[name]):
            raise UserError(
                f"{source.name}: the network was trained on all of its {name} images; add photographs that "
                "it has not seen, or start from other weights"
            )
    return found


def _has_other_classes(config, run):
    """Whether a run starts from the network of another because its classes differ."""
    names = sources.class_names(config.dataset)
    if names is None:
        return False
    mapping = label_maps.read(config.label_map) if config.label_map else label_maps.LabelMap()
    mapped = mapping.rows({name: (name, "train") for name in names}).values()
    return classes.differ(config, run, sorted({label for label, _ in mapped}))


def _run_of(weights):
    """The `Run` whose model a file of weights is; None for any other file."""
    path = weights and from_user(weights, "weights")
    run = path and Run(path.parent)
    return run if run and path == run.model_file and run.config_file.is_file() else None


def _ancestors(config, labels):
    """The runs whose networks the initial network of a run comes from."""
    found, waiting = [], [functools.partial(_parents, config, labels)]
    while waiting:
        try:
            parents = waiting.pop()()
        except (UserError, OSError) as error:
            print(
                f"warning: an earlier run cannot be read, which may know test images: {error}",
                file=sys.stderr,
            )
            continue
        new = [run for run in parents if run.path not in [one.path for one in found]]
        found += new
        waiting += [functools.partial(_parents_of_run, run) for run in new]
    return found


def _parents_of_run(run):
    """The runs whose networks a run started from, or is the average of."""
    return [*_parents(run.settings, run.labels), *(Run(from_user(path)) for path in run.averaged)]


def _parents(settings, labels):
    """The runs whose networks a run starts from."""
    run = classes.start_of(settings, labels)
    if run and not set(labels) & set(run.labels):
        run = None
    return [one for one in (_run_of(settings.weights), run) if one]

"""Checks every image of a dataset and reports problems: `python -m recycle_tf audit --dataset=PHOTOS`.

Reports files that cannot be used for training, images that occur twice or under two labels, and
near-duplicates in train and test. `--manifest` writes the split, with content hashes, to a file that
train.py takes as its dataset:

    python -m recycle_tf audit --dataset=photos --split=grouped --manifest=photos.csv
    python train.py --dataset=photos.csv
"""

import contextlib
import itertools
import json
import pathlib
import shlex

from absl import flags

from recycle_tf import cli, options
from recycle_tf.config import TrainConfig
from recycle_tf.data import paths
from recycle_tf.files import replacing

DATA = ("dataset", "label_map", "manual_dir", "data_dir", "split", "seed")
"""Settings of a run that decide which data it opens; this command has the same flags."""


@cli.command
def main(argv):
    """Prints a summary and writes `audit.json` and `audit.html`."""
    values = _flags(argv)
    out = values.out and paths.from_user(values.out, "out")
    if out:
        # Before the work, so that no minutes are lost if it cannot be written.
        _make(out)
    cli.import_tensorflow()
    from recycle_tf.data import audit, sources
    from recycle_tf.evaluation import audit_report, label_errors

    source = sources.open_source(
        values.dataset,
        on_bad_image=sources.REPORT,
        manual_dir=values.manual_dir,
        data_dir=values.data_dir,
        seed=values.seed,
        split=values.split,
        label_map=values.label_map,
    )
    manifest = values.manifest and paths.from_user(values.manifest, "manifest")
    prefix = _prefix(manifest, source) if manifest else None
    path = paths.from_user(values.dataset, "dataset")
    place = str(path.resolve()) if path.exists() else values.dataset
    directory = out or _unused(source.name, place)
    found = audit.audit(source)
    if values.labels:
        found = label_errors.add_to(found, source, values.labels, values.weights)
    _make(directory)
    with _writing("--out", directory):
        audit_report.write(found, source, directory, place)
    print(audit_report.summary(found))
    print(f"\nreport    {directory / 'audit.html'}")
    if manifest:
        rows = _write_manifest(manifest, prefix, source, found)
        print(f"manifest  {manifest}: {rows:,} images")
    print(f"next      {_next(values, found)}")


def command_line(settings):
    """The command that audits the data of a run, with the flags that differ from their defaults.

    Args:
        settings: an object with the attributes `DATA`, such as a `TrainConfig`.

    Returns:
        A line for a shell.
    """
    return _command("python -m recycle_tf audit", {name: getattr(settings, name) for name in DATA})


def _command(program, values):
    given = {
        name: value
        for name, value in values.items()
        if name == "dataset" or value not in (None, "", getattr(TrainConfig, name))
    }
    return " ".join([program, *(shlex.quote(f"--{name}={value}") for name, value in given.items())])


def _flags(argv):
    values = flags.FlagValues()
    flags.DEFINE_string(
        "dataset",
        None,
        "A folder with one subfolder per class, a .csv, a name, or several with + between them.",
        flag_values=values,
    )
    flags.DEFINE_string("label_map", None, "As in train.py.", flag_values=values)
    flags.DEFINE_string("manual_dir", None, "As in train.py.", flag_values=values)
    flags.DEFINE_string("data_dir", None, "As in train.py.", flag_values=values)
    flags.DEFINE_enum(
        "split", TrainConfig.split, options.SPLIT_METHODS, "As in train.py.", flag_values=values
    )
    flags.DEFINE_integer("seed", TrainConfig.seed, "Seed of the split, as in train.py.", flag_values=values)
    flags.DEFINE_string("out", None, "Folder for the report. Default: audit/DATASET.", flag_values=values)
    flags.DEFINE_string(
        "labels", None, "Run whose network also searches for label errors.", flag_values=values
    )
    flags.DEFINE_string(
        "weights",
        None,
        "With --labels: published weights of the run's architecture, which have not seen these labels: a "
        "file or imagenet. Default: the run's own.",
        flag_values=values,
    )
    flags.DEFINE_string("manifest", None, "Also write the split to this .csv.", flag_values=values)
    cli.no_positionals(cli.parse(argv, values, __doc__))
    if not values.dataset:
        raise cli.UserError("--dataset: missing; give a folder, a .csv or a name such as trashnet")
    return values


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


def _write_manifest(manifest, prefix, source, found):
    """Writes the split without images that cannot be used; returns the number of rows."""
    from recycle_tf.data import checks, splits

    # A file that changed is usable: its new hash is written.
    unusable = {f.files[0] for f in found.findings if f.kind in checks.UNUSABLE and f.kind != "changed"}
    rows = [(prefix + image, *rest) for image, *rest in source.manifest() if image not in unusable]
    with _writing("--manifest", manifest), replacing(manifest) as temporary:
        splits.write_manifest(temporary, rows)
    return len(rows)


def _prefix(manifest, source):
    """What turns an id into a path relative to the manifest's folder."""
    if source.root is None:
        raise cli.UserError(f"--manifest={manifest}: {source.name} is not one folder or .csv")
    folder = manifest.parent
    if not (manifest.suffix == ".csv" and folder.is_dir()):
        raise cli.UserError(f"--manifest={manifest}: expected a .csv in an existing folder")
    root, above = source.root.resolve(), folder.resolve()
    if not root.is_relative_to(above):
        raise cli.UserError(
            f"--manifest={manifest}: its paths are relative to its folder, which must be {source.root} or a "
            "folder above it"
        )
    inner = root.relative_to(above).as_posix()
    return "" if inner == "." else f"{inner}/"


def _make(directory):
    with _writing("--out", directory):
        directory.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def _writing(flag, place):
    try:
        yield
    except OSError as error:
        raise cli.UserError(f"{flag}={place}: cannot be written ({error.strerror})") from error


def _next(values, found):
    """The command to run next, or what prevents it."""
    from recycle_tf.data import audit, near_duplicates

    blocking = sum(len(found.of(kind)) for kind in audit.BLOCKING)
    if values.manifest:
        return _command("python train.py", {"dataset": values.manifest})
    if blocking:
        return f"fix {blocking} problem{'s' * (blocking > 1)}: training would not start"
    given = {name: values[name].value for name in DATA}
    folder = pathlib.Path(values.dataset).expanduser()
    drawn = folder.is_dir() and not (folder / "train").is_dir()
    if drawn and any(found.leaked[near_duplicates.NEAR_DUPLICATE].values()):
        given["split"] = "grouped"
    return _command("python train.py", given)

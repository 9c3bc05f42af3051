"""Checks every image of a dataset and reports problems: `python -m recycle_tf audit --dataset=PHOTOS`.

Reports files that cannot be used for training, images that occur twice or under two labels, and
near-duplicates in train and test. `--manifest` writes the split, with content hashes, to a file that
train.py takes as its dataset:

    python -m recycle_tf audit --dataset=photos --split=grouped --manifest=photos.csv
    python train.py --dataset=photos.csv
"""

import shlex

from absl import flags

import recycle_tf
from recycle_tf import cli, paths
from recycle_tf.config import TrainConfig

DATA = ("dataset", "label_map", "manual_dir", "data_dir", "split", "seed")
"""Settings of a run that decide which data it opens; this command has the same flags."""


@cli.command
def main(argv):
    """Prints a summary and writes `audit.json` and `audit.html`."""
    values = _flags(argv)
    how = {name: values[name].value for name in DATA}
    how |= {name: values[name].value for name in ("out", "labels", "weights", "manifest")}
    report = recycle_tf.audit(how.pop("dataset"), **how)
    print(report)
    if values.manifest:
        print(f"manifest  {values.manifest}: {report.written:,} images")
    print(f"next      {_next(values, report)}")


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
    cli.define_flags(TrainConfig, values, DATA[1:])
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


def _next(values, report):
    """The command to run next, or what prevents it."""
    blocking = report.blocking
    if values.manifest:
        return _command(cli.program("train"), {"dataset": values.manifest})
    if blocking:
        return f"fix {blocking} problem{'s' * (blocking > 1)}: training would not start"
    given = {name: values[name].value for name in DATA}
    folder = paths.of_dataset(values.dataset)
    divided = (folder / "train").is_dir() or (folder / "shards.json").is_file()
    drawn = folder.is_dir() and not divided
    if drawn and report.leaking:
        given["split"] = "grouped"
    return _command(cli.program("train"), given)

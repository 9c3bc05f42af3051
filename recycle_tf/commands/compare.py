"""Compares runs: `python -m recycle_tf compare RUN RUN …`.

One row per run: parameters, multiply-adds, activations, training speed, latency, sizes of its exported files,
and accuracy on the test split with a 95 % interval. What was not exported is not listed. The runs must have
been trained on the same data.

    python -m recycle_tf compare runs/resnet18 runs/densenet121 --plot=compare.png --csv=compare.csv

Whether one is better than another: `python -m recycle_tf evaluate --run=RUN --against=RUN2`.
"""

from absl import flags

import recycle_tf
from recycle_tf import cli
from recycle_tf.files import writing
from recycle_tf.paths import from_user


@cli.command
def main(argv):
    """Prints the table, and writes CSV and plot."""
    values = flags.FlagValues()
    define_outputs(values)
    places = cli.parse(argv, values, __doc__)
    if not places:
        raise cli.UserError("no runs given; name folders that train.py wrote")
    check_outputs(values)
    write_outputs(values, recycle_tf.compare(places))


def define_outputs(values):
    """Defines `--csv` and `--plot`."""
    flags.DEFINE_string("csv", None, "Also write the table to this CSV file.", flag_values=values)
    flags.DEFINE_string("plot", None, "Also draw the networks: a PNG.", flag_values=values)


def check_outputs(values):
    """Raises a `UserError` if a file cannot be written, before anything is measured."""
    for name, suffix in (("csv", ".csv"), ("plot", ".png")):
        path = values[name].value
        if path and not path.endswith(suffix):
            raise cli.UserError(f"--{name}={path}: expected a {suffix}")
        if path and not from_user(path, name).parent.is_dir():
            raise cli.UserError(f"--{name}={path}: its folder does not exist")


def write_outputs(values, rows):
    """Prints the table, and writes CSV and plot if they were asked for."""
    print(rows)
    for name, write in (("csv", rows.to_csv), ("plot", rows.to_plot)):
        path = values[name].value
        if path:
            with writing(f"`{name}={path}`"):
                write(path)
            print(path)

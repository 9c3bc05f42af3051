"""Evaluates a run: `python -m recycle_tf evaluate --run=RUN [--dataset=PHOTOS,…]`.

Without --dataset, on its own test split. PHOTOS are photographs of another origin: a folder with one
subfolder per class, in any order, or with only some of the classes. Classes are matched by name.

    python -m recycle_tf evaluate --run=runs/mine
    python -m recycle_tf evaluate --run=runs/mine --dataset=trashnet,kitchen,street

--against=RUN2 says whether the run is better than another one: interval and p-value of the difference.

--target_precision=0.98 chooses, on the validation split, the confidence from which on 98 % of the answers are
right, and says how many images are then answered, and how many of these correctly.

--model evaluates one of the run's artifacts instead of its model, with the runtime of a phone.

--shift=all simulates other conditions (light, color, distance, blur, noise, …) at five strengths, for the run
or, with --model, for one of its artifacts:

    python -m recycle_tf evaluate --run=runs/mine --shift=all --model=runs/mine/export/model_int8.tflite
"""

from absl import flags

import recycle_tf
from recycle_tf import cli, options

IMAGES = ("split", "manual_dir", "data_dir", "ignore_unknown")
"""Flags that say which images of a dataset are evaluated."""


@cli.command
def main(argv):
    """Prints the per-class table, or one row per dataset, and writes a report for each."""
    values = _parse(argv)
    run = recycle_tf.open_run(values.run)
    images = {name: values[name].value for name in IMAGES}
    datasets = values.dataset or [None]
    if values.shift:
        return _evaluate_shifts(values, run, datasets[0], images)
    if values.against:
        for dataset in datasets:
            found = run.compare(values.against, dataset, **images)
            print(f"{dataset or 'own data'}: {run.path} against {values.against}: {found}")
        return
    several = len(datasets) > 1
    found = run.evaluate(
        datasets if several else datasets[0], **images, rules=values.rules, model=values.model
    )
    print(found)
    if values.target_precision is not None:
        _print_precision(values, run, found)


def _print_precision(values, run, found):
    target = values.target_precision
    where = {name: values[name].value for name in ("manual_dir", "data_dir")}
    threshold, rows = run.at_precision(found, target, model=values.model, **where)
    if threshold > 1:
        print(f"precision {target:.1%} is reached at no confidence on the validation split")
        return
    print(f"precision {target:.1%} from a confidence of {threshold:.4f} on, on the validation split")
    for row in rows:
        print(f"          {row}")


def _evaluate_shifts(values, run, dataset, images):
    from tqdm import tqdm

    def progress(pairs):
        return tqdm(pairs, desc="shifts", disable=None, leave=False)

    found, directory = run.evaluate_shifts(values.shift, dataset, values.model, progress, **images)
    print(found)
    print(f"plot      {directory / 'shifts.png'}")


def _parse(argv):
    values = flags.FlagValues()
    flags.DEFINE_string("run", None, "Folder that train.py wrote.", flag_values=values)
    flags.DEFINE_list(
        "dataset", None, "Other datasets, separated by commas. Default: the run's own.", flag_values=values
    )
    flags.DEFINE_enum(
        "split",
        None,
        options.SPLITS,
        "Which images. Default: test, or all of a dataset without a split.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "ignore_unknown",
        False,
        "Leave out images of classes that the run does not know, instead of an error.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "against", None, "Another run to compare with, on the same images.", flag_values=values
    )
    flags.DEFINE_string(
        "rules",
        None,
        "Also evaluate bins: a .yaml file, or built-in rules: england, korea.",
        flag_values=values,
    )
    flags.DEFINE_list(
        "shift", None, "Simulated shifts to evaluate instead: all, or names.", flag_values=values
    )
    flags.DEFINE_string(
        "model",
        None,
        "An exported file of the run (.tflite, .onnx or a SavedModel), instead of its model.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "target_precision",
        None,
        "Share of the answers that must be right, 0..1: how many images are then answered?",
        lower_bound=0,
        upper_bound=1,
        flag_values=values,
    )
    flags.DEFINE_string("manual_dir", None, "As in train.py. Default: the run's.", flag_values=values)
    flags.DEFINE_string("data_dir", None, "As in train.py. Default: the run's.", flag_values=values)
    cli.no_positionals(cli.parse(argv, values, __doc__))
    _check(values)
    return values


def _check(values):
    """Rejects flags that are missing or do not go together."""
    if not values.run:
        raise cli.UserError("--run: missing; give a folder that train.py wrote")
    for name in ("dataset", "shift", "against", "rules", "model"):
        if values[name].present and not values[name].value:
            raise cli.UserError(f"--{name}: empty; give a value, or leave it out")
    if values.shift and len(values.dataset or ()) > 1:
        raise cli.UserError("--shift: evaluates one --dataset at a time")
    for one, other in (
        ("shift", "against"),
        ("shift", "rules"),
        ("shift", "target_precision"),
        ("against", "rules"),
        ("against", "model"),
        ("against", "target_precision"),
    ):
        if values[one].present and values[other].present:
            raise cli.UserError(f"--{one}: not available with --{other}; give one of them")

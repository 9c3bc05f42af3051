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

from recycle_tf import cli, options
from recycle_tf.errors import did_you_mean

EXCLUSIVE = (
    ("shift", "against"),
    ("shift", "rules"),
    ("shift", "target_precision"),
    ("against", "rules"),
    ("against", "model"),
    ("against", "target_precision"),
)
"""Flags that are not given together."""


@cli.command
def main(argv):
    """Prints the per-class table, or one row per dataset, and writes a report for each."""
    values = _parse(argv)
    cli.import_tensorflow()
    from recycle_tf import runs
    from recycle_tf.evaluation import datasets, evaluate, metrics, rules

    run = runs.open_run(values.run)
    place = values.rules and rules.load(values.rules)
    if place:
        place.bins_of(run.labels)
    sets = [
        datasets.open_set(
            run, dataset, values.split, values.manual_dir, values.data_dir, values.ignore_unknown
        )
        for dataset in values.dataset or [None]
    ]
    if values.shift:
        return _evaluate_shifts(values, run, sets[0])
    if values.against:
        other = runs.open_run(values.against, "against")
        for images in sets:
            print(f"{images.name} {images.split_name}: {evaluate.against(run, other, images)}")
        return
    results = evaluate.evaluate(run, sets, values.model)
    for result in results:
        if len(results) == 1:
            print(metrics.table(result.summary))
        for label in result.set.left_out:
            print(f"left out  {result.set.name}: {cli.printable(label)}, a class that the run does not know")
        print(f"report    {result.directory / 'report.html'}")
        if place:
            _print_bins(place, result, run.labels)
    if values.target_precision is not None:
        _print_precision(values, run, results)
    if len(results) > 1 or not results[0].set.own:
        reference = evaluate.own_accuracy(run)
        print(metrics.comparison({result.name: result.summary for result in results}, reference))


def _print_precision(values, run, results):
    from recycle_tf.evaluation import datasets, evaluate, metrics

    validation = datasets.open_set(run, None, "validation", values.manual_dir, values.data_dir)
    target = values.target_precision
    threshold, rows = evaluate.at_precision(run, results, validation, target, values.model)
    if threshold > 1:
        print(f"precision {target:.1%} is reached at no confidence on the validation split")
        return
    print(f"precision {target:.1%} from a confidence of {threshold:.4f} on, on the validation split")
    for result, (share, answers, right) in zip(results, rows, strict=True):
        if not answers:
            print(f"          {result.name}: no answer is that confident")
            continue
        low, high = metrics.wilson(right, answers)
        print(
            f"          {result.name}: {share:.1%} answered, {right / answers:.1%} of these right "
            f"(95 % interval {low:.3f} to {high:.3f})"
        )


def _print_bins(place, result, labels):
    from recycle_tf.evaluation import rules

    print(f"bins      {rules.text(place.name, 'en')}")
    found = place.summarise(result.probabilities, result.set.split.labels, labels)
    for name, figures in found.items():
        answer = name.replace("_", " ")
        cost = f"cost {figures['cost']:.3f} per image"
        print(f"          {answer:13} bin: accuracy {figures['accuracy']:.4f}, {cost}")


def _evaluate_shifts(values, run, images):
    from tqdm import tqdm

    from recycle_tf.evaluation import evaluate, shifts

    def progress(pairs):
        return tqdm(pairs, desc="shifts", disable=None, leave=False)

    names = tuple(shifts.SHIFTS) if values.shift == ["all"] else values.shift
    for name in names:
        if name not in shifts.SHIFTS:
            raise cli.UserError(f"--shift={name}: {did_you_mean(name, ['all', *shifts.SHIFTS])}")
    found, directory = evaluate.evaluate_shifts(run, values.model or run.path, images, names, progress)
    print(shifts.table(found))
    print(f"plot      {directory / 'shifts.png'}")


def _parse(argv):
    values = flags.FlagValues()
    _define(values)
    cli.no_positionals(cli.parse(argv, values, __doc__))
    if not values.run:
        raise cli.UserError("--run: missing; give a folder that train.py wrote")
    if values.shift and len(values.dataset or ()) > 1:
        raise cli.UserError("--shift: evaluates one --dataset at a time")
    for one, other in EXCLUSIVE:
        if values[one].present and values[other].present:
            raise cli.UserError(f"--{one}: not available with --{other}; give one of them")
    return values


def _define(values):
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
        "An exported .tflite of the run, instead of its model.",
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

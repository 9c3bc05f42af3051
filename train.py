"""Trains a network on photographs of waste and writes a run folder.

    python train.py --arch=densenet121
    python train.py --arch=resnet18 --dataset=PHOTOS --image_size=160 --epochs=60
    tensorboard --logdir=runs

PHOTOS is a folder with one subfolder of images per class. Ctrl-C stops; rerun the command to resume.
"""

import contextlib
import pathlib
import shlex
import sys

from absl import flags

from recycle_tf import cli, config, runs


def train(config):
    """Trains, calibrates and evaluates a network, and leaves everything in a run folder.

    Args:
        config: a `recycle_tf.config.TrainConfig`.

    Returns:
        The `recycle_tf.runs.Run`; None with `lr_finder`, and on every host but the first of several.
    """
    import keras

    from recycle_tf import create_model
    from recycle_tf.evaluation import plots
    from recycle_tf.training import classes, distillation, loop, precision, quantization, resume, tensorboard
    from recycle_tf.training.batches import Batches
    from recycle_tf.training.strategy import scope, set_up

    # ---- strategy: devices
    strategy = set_up(config)

    # ---- data: with the split of the run to resume, if there is one; a run is locked until this block ends
    with contextlib.ExitStack() as locks:
        run, complete = resume.find(config, strategy, locks)
        if complete:
            return already_complete(run)
        source = resume.open_source(config, run, strategy)
        print_data(source, config, resumed=run is not None)

        # ---- model: the seed is set here because what comes before may use the same random generators
        computes_in = precision.set_up(config, run, strategy, source, locks)
        keras.utils.set_random_seed(config.seed)
        with scope(strategy):
            settings = (config.arch, len(source.labels), config.image_size, config.weights)
            model = create_model(*settings, **config.model_overrides())
            kept = classes.keep(model, config, source.labels)
            teacher = distillation.load(config, source)
        ranges = quantization.find_ranges(config, source, model, run)
        batches = Batches(source, config, model.input_shape[1], strategy, teacher)
        counts, steps = batches.class_counts, batches.steps_per_epoch
        before = run and run.checkpoints
        training = loop.prepare(model, config, strategy, counts, steps, before, teacher, ranges)

        # ---- fit
        if config.lr_finder:
            return find_learning_rate(training, batches, computes_in)
        batches.load()
        run = run or resume.create(config, source, strategy, locks, ranges, precision=computes_in)
        print_run(run, training, batches, kept, computes_in)
        with resume.writing(run), batches.naming_damaged_images():
            with precision.graph_option(computes_in):
                loop.fit(training, run, batches, config, plots.confusion_pixels)
            if run is None:
                return None

            # ---- calibrate on the validation split, evaluate on the test split, and save
            summary = conclude(run, source, batches)
            tensorboard.write_results(run, summary)
            resume.finish(run)
        print_results(run, summary)
        return run


def conclude(run, source, batches):
    """Calibrates the best model on the validation split, evaluates it on the test split, and writes both.

    All of this is computed in float32, as it is again when the run is evaluated or exported.

    Args:
        run: a `recycle_tf.runs.Run`.
        source: the `Source` it was trained on.
        batches: its `recycle_tf.training.batches.Batches`.

    Returns:
        The summary of the test split; see `recycle_tf.evaluation.metrics.summarise`.
    """
    from recycle_tf.evaluation import metrics, report, temperature
    from recycle_tf.training import precision

    precision.set_policy("off")
    labels = source.splits["validation"].labels
    known = temperature.training_images(source.splits["train"], run.config["seed"])
    known = batches.evaluation(known, cache="off")
    temperature.calibrate_run(run, run.load_model(), batches.validation, labels, known)
    probabilities = metrics.predict_probabilities(temperature.load_answering_model(run), batches.test)
    return report.write(run, run.report, "test", source.splits["test"], probabilities)


@cli.command
def main(argv):
    """Flags -> settings -> training."""
    values = flags.FlagValues()
    cli.define_flags(config.TrainConfig, values)
    cli.no_positionals(cli.parse(argv, values, __doc__, may_be_empty=True))
    settings = resolve(cli.given(config.TrainConfig, values))
    from recycle_tf.training import multi_worker

    several = settings.strategy == "multi_worker"
    with multi_worker.restart_on_worker_loss() if several else contextlib.nullcontext():
        train(settings)


def resolve(given):
    """The configuration of a training run.

    Args:
        given: `{setting: value}` of what the user gave.

    Returns:
        A `recycle_tf.config.TrainConfig`.

    Raises:
        UserError: an unknown setting or an invalid value.
    """
    earlier = None if given.get("from_run") is None else runs.settings_to_repeat(given["from_run"])
    # Before TensorFlow is imported, so that a mistake is reported at once.
    settings = config.resolve(given, earlier=earlier)

    cli.import_tensorflow()
    from recycle_tf.models import registry

    # The published recipe of an architecture is in its module, which needs Keras.
    row = registry.find(settings.arch)
    settings = config.resolve(given, row.recipe, earlier)
    registry.override(settings.arch, row.config, settings.model_overrides())
    return settings


def already_complete(run):
    """Says that there is nothing to train."""
    if run:
        print(f"{run.path} is complete; evaluate, export or predict with --run={run.path}")
    return run


def print_data(source, config, resumed):
    """Prints the dataset, and for a new run warnings about it."""
    from recycle_tf.commands.audit import command_line
    from recycle_tf.data import audit
    from recycle_tf.training import preflight

    print(f"data      {preflight.describe_data(source)}")
    for line in [] if resumed else audit.leaks(source):
        cli.warn(f"{line} (see: {command_line(config)})")


def find_learning_rate(training, batches, computes_in):
    """Plots the loss over the learning rate in the current folder, and prints which one to use."""
    from recycle_tf.training import lr_finder, precision

    path = pathlib.Path("lr_finder.png").resolve()
    # Of a fine-tuning, the whole network: its head alone bears a higher rate.
    training.compile_for(training.phases[-1])
    with precision.graph_option(computes_in), batches.naming_damaged_images():
        found = lr_finder.find(training.model, batches.training_from(0), path)
    print(f"rate      --learning_rate={found:.2g}: the loss falls fastest there; see {path}")


def print_run(run, training, batches, kept, computes_in):
    """Prints model and devices, what is kept of an earlier run, expected memory, and the run folder."""
    from recycle_tf.training import preflight

    print(f"model     {preflight.describe_model(training, computes_in)}")
    if kept:
        parts = {"remain": kept.remaining, "are new": kept.new, "are gone": kept.gone}
        listed = "; ".join(f"{', '.join(names)} {verb}" for verb, names in parts.items() if names)
        print(f"classes   {listed}; starts from the weights of {kept.path}")
    memory = preflight.expected_memory(training, batches.images_at_once, batches.config.remat)
    print(f"memory    {memory}")
    print(f"run       {preflight.describe_run(run, training.progress)}")


def print_results(run, summary):
    """Prints metrics of the test split, and what to do next."""
    from recycle_tf.evaluation import metrics

    print(metrics.table(summary))
    if summary["sources"]:
        print(metrics.comparison({f"{name} test": row for name, row in summary["sources"].items()}))
    print(f"report    {run.report / 'report.html'}")
    print(f"next      {cli.program('export')} {shlex.quote(f'--run={run.path}')}")


if __name__ == "__main__":
    sys.exit(main())

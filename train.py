"""Trains a network on photographs of waste and writes a run folder.

    python train.py --arch=densenet121
    python train.py --arch=resnet18 --dataset=PHOTOS --image_size=160 --epochs=60
    tensorboard --logdir=runs

PHOTOS is a folder with one subfolder of images per class. Ctrl-C stops; rerun the command to resume.
"""

import contextlib
import functools
import sys

from absl import flags

from recycle_tf import cli, config, runs


@cli.command
def main(argv):
    """Flags -> configuration -> training."""
    values = flags.FlagValues()
    cli.define_flags(config.TrainConfig, values)
    cli.no_positionals(cli.parse(argv, values, __doc__))
    given = cli.given(config.TrainConfig, values)
    earlier = runs.settings_to_repeat(given["from_run"]) if "from_run" in given else None
    # Before TensorFlow is imported, so that a mistake is reported at once.
    settings = config.resolve(given, earlier=earlier)

    cli.import_tensorflow()
    from recycle_tf.models import registry
    from recycle_tf.training import multi_worker

    # The published recipe of an architecture stands in its file, which needs Keras.
    settings = config.resolve(given, registry.find(settings.arch).recipe, earlier)
    with multi_worker.restart_on_worker_loss():
        train(settings)


def train(config):
    """Config -> strategy -> data -> model -> fit -> calibrate -> evaluate."""
    import keras
    import numpy as np
    import tensorflow as tf

    from recycle_tf import create_model
    from recycle_tf.data import audit, cache, pipeline, sources
    from recycle_tf.evaluation import metrics, report, temperature
    from recycle_tf.models import registry
    from recycle_tf.training import loop, lr_finder, multi_worker, preflight, resume, tensorboard
    from recycle_tf.training.strategy import make_strategy, scope, set_precision, validate

    # ---- config: settings that are not given come from the architecture
    row = registry.find(config.arch)
    image_size = config.image_size or row.config.image_size
    registry.override(config.arch, row.config, config.model_overrides())

    # ---- strategy
    strategy = make_strategy(config.strategy, config.logical_cpus)
    precision = set_precision(config.mixed_precision)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    replicas = strategy.num_replicas_in_sync
    validate(config, replicas)

    # ---- data
    chief, workers = multi_worker.is_chief(strategy), multi_worker.share(strategy)[1]
    run = resume.unfinished(config) if chief and not config.lr_finder else None
    if multi_worker.from_chief(strategy, int(bool(run and run.complete))):
        if run:
            print(f"{run.path} is complete; evaluate, export or predict with --run={run.path}")
        return
    source = resume.open_source(config, run)
    multi_worker.refuse_other_data(strategy, source)
    split_sizes = ", ".join(f"{len(split)} {name}" for name, split in source.splits.items())
    print(f"data      {source.name}: {len(source.labels)} classes, {split_sizes}")
    if source.ignored:
        print(f"          {len(source.ignored)} file(s) ignored, for example {source.ignored[0]}")
    for line in [] if run else audit.leaks(source, config):
        cli.warn(line)

    # ---- model
    train_split, validation, test = (source.splits[name] for name in ("train", "validation", "test"))
    steps_per_epoch = pipeline.steps_per_epoch(train_split, config.batch_size)
    class_counts = np.bincount(train_split.labels, minlength=len(source.labels))
    # Here, so that the seed alone decides the weights: preparing data may draw from the same generator.
    keras.utils.set_random_seed(config.seed)
    with scope(strategy):
        model = create_model(
            config.arch, len(source.labels), image_size, config.weights, **config.model_overrides()
        )
    # Initialization: resume this run > --weights (above) > scratch.
    training = loop.prepare(model, config, strategy, class_counts, steps_per_epoch, run and run.checkpoints)
    progress = training.progress
    print(
        f"model     {config.arch} at {image_size} px, {model.count_params():,} parameters, "
        f"{precision}, {replicas} device(s)"
    )

    # ---- fit
    build = pipeline.training_batches(
        train_split,
        len(source.labels),
        image_size,
        config.batch_size,
        resize=config.resize,
        augment=config.augment,
        mix=config.mix,
        seed=config.seed,
        epochs=training.epochs,
        smaller=config.smaller_sizes(),
        balanced=config.class_balance == "sampler",
        cache=config.cache,
        backgrounds=config.backgrounds,
        data_service=config.data_service,
    )

    def batches_from(step):
        return multi_worker.distribute(strategy, functools.partial(build, step), config.batch_size)

    if config.lr_finder:
        return lr_finder.draw(training.model, batches_from(0))
    evaluation = {
        "image_size": image_size,
        "batch_size": config.batch_size,
        "resize": config.resize,
        "cache": config.cache,
    }
    test_batches = pipeline.build_evaluation(test, len(source.labels), **evaluation)
    # Every device needs an example of the last batch.
    evaluation["batch_size"] = pipeline.shareable(len(validation), config.batch_size, replicas)
    validation_batches = pipeline.build_evaluation(validation, len(source.labels), **evaluation)
    images = config.batch_size // (workers * config.accumulate)
    print(f"memory    {preflight.expected_memory(training, images, config.remat)}")
    run = run or (resume.create(config, source) if chief else None)
    resumed = f", resuming after {progress}" if progress.steps else ""
    print(f"run       {run.path if run else 'is written by the chief'}{resumed}")
    with resume.writing(run) if run else contextlib.nullcontext():
        try:
            summaries = None
            if progress.epoch < training.epochs:
                batches = batches_from(progress.steps)
                sample = [strategy.experimental_local_results(part)[0] for part in next(iter(batches))]
                if workers == 1:
                    print(f"speed     {preflight.speeds(training.model, batches, sample)}")
                summaries = tensorboard.Watching(
                    run, source.labels, training, sample, report.confusion_picture
                )
            verbose = (1 if sys.stdout.isatty() else 2) if chief else 0
            loop.fit(training, run, batches_from, validation_batches, config, summaries, verbose)
        except (tf.errors.InvalidArgumentError, tf.errors.NotFoundError):
            # Images are decoded during training when they do not fit into memory.
            for split in source.splits.values():
                if sources.first_unreadable(split):
                    raise cache.unreadable(split) from None
            raise

        if not chief:
            return

        # ---- calibrate the best model on the validation split, then evaluate it on the test split
        model = run.load_model()
        temperature.calibrate_run(run, model, validation_batches, validation.labels)
        probabilities = metrics.predict_probabilities(model, test_batches)
        summary = report.write(run, run.report, "test", test, probabilities)
        tensorboard.write_outcome(run, summary)
        loop.finish(run)
    print(metrics.table(summary))
    print(f"report    {run.report / 'report.html'}")
    print(f"next      python -m export --run={run.path}")


if __name__ == "__main__":
    sys.exit(main())

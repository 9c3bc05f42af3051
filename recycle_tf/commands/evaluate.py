"""Evaluates a run on a split and writes its report: `python -m recycle_tf evaluate --run=RUN`."""

from absl import flags

from recycle_tf import cli


@cli.command
def main(argv):
    """Prints the table of classes and writes `RUN/report/`."""
    values = flags.FlagValues()
    flags.DEFINE_string("run", None, "folder that train.py wrote", flag_values=values)
    flags.DEFINE_enum("split", "test", ("train", "validation", "test"), "which pictures", flag_values=values)
    flags.DEFINE_string(
        "dataset", None, "another data set with the same classes; else the run's", flag_values=values
    )
    flags.DEFINE_string("manual_dir", None, "as in train.py; else the run's", flag_values=values)
    flags.DEFINE_string("data_dir", None, "as in train.py; else the run's", flag_values=values)
    cli.no_positionals(cli.parse(argv, values, __doc__))
    if not values.run:
        raise cli.UserError("--run: missing; give a folder that train.py wrote")

    cli.import_tensorflow()
    from recycle_tf import runs
    from recycle_tf.data import pipeline
    from recycle_tf.evaluation import datasets, metrics, report

    run = runs.open_run(values.run)
    source = datasets.open_source(run, values.dataset, values.manual_dir, values.data_dir)
    model = run.load_model()
    split = source.splits[values.split]
    batches = pipeline.build_evaluation(
        split, len(run.labels), model.input_shape[1], run.config["batch_size"], run.config["resize"]
    )
    probabilities = metrics.predict_probabilities(model, batches)
    directory = run.report
    if values.split != "test" or values.dataset:
        # The run's own report stays the one of its test split.
        directory = run.path / f"report-{source.name}-{values.split}"
    print(metrics.table(report.write(run, directory, values.split, split, probabilities)))
    print(f"report    {directory / 'report.html'}")

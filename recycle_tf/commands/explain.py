"""Shows what a run's network looks at: `python -m recycle_tf explain --run=RUN [IMAGE_OR_FOLDER …]`.

Writes RUN/explain/images.png: each image with Grad-CAM of the two most probable classes, where a deformable
convolution samples, and the training images most like it.

    python -m recycle_tf explain --run=runs/mine photo.jpg photos/

Without images it explains the test split: its most confident mistakes, its least certain answers and, for
networks with squeeze-and-excitation, the gates of each class: mistakes.png, uncertain.png, gates.png.

    python -m recycle_tf explain --run=runs/mine
"""

from absl import flags

from recycle_tf import cli


@cli.command
def main(argv):
    """Writes the figures and prints their paths."""
    values = flags.FlagValues()
    flags.DEFINE_string("run", None, "Folder that train.py wrote.", flag_values=values)
    flags.DEFINE_integer(
        "nearest",
        3,
        "Training images to show beside each image; 0 does without the dataset.",
        lower_bound=0,
        upper_bound=6,
        flag_values=values,
    )
    flags.DEFINE_string("manual_dir", None, "As in train.py. Default: the run's.", flag_values=values)
    flags.DEFINE_string("data_dir", None, "As in train.py. Default: the run's.", flag_values=values)
    places = cli.parse(argv, values, __doc__)
    if not values.run:
        raise cli.UserError("--run: missing; give a folder that train.py wrote")
    cli.import_tensorflow()
    from recycle_tf import runs
    from recycle_tf.evaluation import datasets, explain

    run = runs.open_run(values.run)
    source = None
    if values.nearest or not places:
        source = datasets.open_source(run, None, values.manual_dir, values.data_dir)
    neighbors = source.splits["train"] if values.nearest else None
    if places:
        figures = {"images": explain.explain(run, places, neighbors, values.nearest)}
    else:
        figures = explain.explain_split(run, source.splits["test"], neighbors, values.nearest)
    for path in explain.write(run.path / "explain", figures):
        print(path)

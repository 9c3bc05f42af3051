"""Shows what a run's network looks at: `python -m recycle_tf explain --run=RUN [IMAGE_OR_FOLDER …]`.

Writes RUN/explain/images.png: each of the first 12 images with Grad-CAM of the two most probable classes,
where a deformable convolution samples, and the training images most like it.

    python -m recycle_tf explain --run=runs/mine photo.jpg photos/

Without images it explains the test split: its most confident mistakes, its least certain answers and, for
networks with squeeze-and-excitation, the gates of each class: mistakes.png, uncertain.png, gates.png.

    python -m recycle_tf explain --run=runs/mine
"""

from absl import flags

import recycle_tf
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
    run = recycle_tf.open_run(values.run)
    where = {"manual_dir": values.manual_dir, "data_dir": values.data_dir}
    out = run.path / "explain"
    figures = run.explain(places or None, values.nearest, out, **where)
    for name in ["images"] if places else figures:
        print(out / f"{name}.png")

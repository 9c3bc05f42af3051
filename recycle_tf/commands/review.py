"""Opens a local page to correct labels: `python -m recycle_tf review --dataset=PHOTOS --out=reviewed.csv`.

It shows the images that an audit found, and new photographs, one after another: is the label right, which
class is it, or should the image be left out? Every decision is saved at once: in the manifest, which
`train.py --dataset=reviewed.csv` reads, and, with time and user, in `reviewed.decisions.jsonl` beside it.
Image files are never changed. The same command resumes a review.

    python -m recycle_tf audit --dataset=photos --labels=runs/mine
    python -m recycle_tf review --dataset=photos --findings=audit/photos/audit.json --out=reviewed.csv
    python -m recycle_tf review --dataset=photos --inbox=new_photos --out=reviewed.csv
    python -m recycle_tf review --dataset=photos --inbox=not_sure_20261127_105900.zip --out=reviewed.csv

The manifest has the split that train.py draws from the same --split and --seed. The page can be opened on
this machine only. From another one, with --port=8000:
`ssh -L 8000:127.0.0.1:8000 HOST`.
"""

import shlex

from absl import flags

import recycle_tf
from recycle_tf import cli, paths
from recycle_tf.config import TrainConfig


@cli.command
def main(argv):
    """Serves until Ctrl-C."""
    values = _parse(argv)
    if not paths.of_dataset(values.dataset).exists():
        # Before a builder of that name would be downloaded, which cannot be reviewed.
        raise cli.UserError(f"--dataset={values.dataset}: no such folder or .csv")
    data = recycle_tf.open_dataset(values.dataset, split=values.split, seed=values.seed)
    with data.review(values.out, values.findings, values.inbox, values.port) as running:
        decided = running.decisions
        print(f"{len(running.review.order):,} images to review, {len(decided):,} decided")
        print(f"open      {running.address}   (Ctrl-C ends it)", flush=True)
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            print()
        rows = sum(1 for _ in decided.rows())
        print(f"manifest  {values.out}: {rows:,} images, {len(decided):,} decided")
        print(f"next      {cli.program('train')} {shlex.quote(f'--dataset={values.out}')}")


def _parse(argv):
    values = flags.FlagValues()
    flags.DEFINE_string(
        "dataset", None, "A folder with one sub-folder per class, or a .csv manifest.", flag_values=values
    )
    cli.define_flags(TrainConfig, values, ("split", "seed"))
    flags.DEFINE_string(
        "findings", None, "The audit.json of this dataset: review what it found.", flag_values=values
    )
    flags.DEFINE_string(
        "inbox", None, "A folder or a .zip of new images, to be given a class.", flag_values=values
    )
    flags.DEFINE_string(
        "out", None, "The .csv to write, in a folder that contains dataset and inbox.", flag_values=values
    )
    flags.DEFINE_integer(
        "port", 0, "Port to listen on; 0 for any that is free.", 0, 65535, flag_values=values
    )
    cli.no_positionals(cli.parse(argv, values, __doc__))
    for name in ("dataset", "out"):
        if not values[name].value:
            raise cli.UserError(f"--{name}: missing")
    return values

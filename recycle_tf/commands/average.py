"""Averages the weights of runs into a new run: `python -m recycle_tf average RUN RUN … --run_dir=NEW`.

The runs must have one architecture and one dataset, and should have started from the same weights. Of two
runs, the best point between them is chosen; of more, runs are added from the best on as long as the average
improves. Both are decided on the validation split and shifted copies of it; --proportions sets them instead.

    python train.py --recipe=finetune --weights=imagenet --epochs=10 --head_epochs=10 --run_dir=runs/probe
    python train.py --recipe=robust --weights=runs/probe/model.keras --head_epochs=0 --run_dir=runs/full
    python -m recycle_tf average runs/probe runs/full --run_dir=runs/between
"""

from absl import flags

import recycle_tf
from recycle_tf import cli


@cli.command
def main(argv):
    """Prints what was tried, the best first, and the new run."""
    values = flags.FlagValues()
    flags.DEFINE_string("run_dir", None, "Folder of the new run.", flag_values=values)
    flags.DEFINE_list(
        "proportions", None, "Share of each run, for example 0.3,0.7. Default: chosen.", flag_values=values
    )
    paths = cli.parse(argv, values, __doc__)
    if not values.run_dir:
        raise cli.UserError("--run_dir: missing; give the folder of the new run")
    try:
        proportions = values.proportions and [float(share) for share in values.proportions]
    except ValueError:
        raise cli.UserError(f"--proportions={','.join(values.proportions)}: expected numbers") from None
    from tqdm import tqdm

    run, tried = recycle_tf.average(
        paths,
        values.run_dir,
        proportions,
        lambda shares: tqdm(shares, desc="averages", disable=None, leave=False),
    )
    print("proportions               validation   shifted")
    for candidate in tried:
        shares = " ".join(f"{share:.2f}" for share in candidate.proportions)
        print(f"{shares:25} {100 * candidate.validation:9.1f}% {100 * candidate.shifted:8.1f}%")
    print(run)

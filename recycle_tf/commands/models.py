"""Lists the architectures: `python -m recycle_tf models [PATTERN]`.

python -m recycle_tf models 'efficientnet*'
"""

from absl import flags

from recycle_tf import cli
from recycle_tf.errors import UserError, did_you_mean


@cli.command
def main(argv):
    """Prints a line an architecture."""
    patterns = cli.parse(argv, flags.FlagValues(), __doc__) or ["*"]
    cli.import_tensorflow()
    from recycle_tf import describe, list_models

    archs = [arch for pattern in patterns for arch in list_models(pattern)]
    if not archs:
        raise UserError(
            f"{patterns[0]}: no architecture of that name, {did_you_mean(patterns[0], list_models())}"
        )
    print(f"{'arch':20} {'parameters':>12} {'GMACs':>8} {'activations':>12} {'pixels':>6}  paper")
    for arch in archs:
        d = describe(arch)
        print(
            f"{arch:20} {d.trainable:12,} {d.macs / 1e9:8.3f} {d.activations:12,} {d.image_size:6}"
            f"  {d.paper.title} ({d.paper.year}), arXiv {d.paper.arxiv}"
        )

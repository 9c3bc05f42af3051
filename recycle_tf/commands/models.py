"""Lists the architectures: `python -m recycle_tf models [PATTERN …] [--layers]`.

For example, `python -m recycle_tf models 'efficientnet*'` prints the number of parameters and operations of
all EfficientNets, and `python -m recycle_tf models resnet50 --layers` prints the stages of ResNet-50 as a
table.
"""

from absl import flags

import recycle_tf
from recycle_tf import cli
from recycle_tf.errors import UserError, did_you_mean


@cli.command
def main(argv):
    """Prints one line per architecture, or one table of stages per architecture."""
    values = flags.FlagValues()
    flags.DEFINE_bool("layers", False, "print a table of the stages of each architecture", flag_values=values)
    patterns = cli.parse(argv, values, __doc__) or ["*"]
    cli.import_tensorflow()
    found = {pattern: recycle_tf.list_models(pattern) for pattern in patterns}
    for pattern in patterns:
        if not found[pattern]:
            similar = did_you_mean(pattern, recycle_tf.list_models())
            raise UserError(f"{pattern}: no architecture of that name, {similar}")
    archs = [arch for pattern in patterns for arch in found[pattern]]
    _print_stages(archs) if values.layers else _print_costs(archs)


def _print_costs(archs):
    print(f"{'arch':24} {'parameters':>12} {'GMACs':>7} {'activations':>12} {'pixels':>6} {'year':>4}  paper")
    for arch in archs:
        d = recycle_tf.describe(arch)
        print(
            f"{arch:24} {d.trainable:12,} {d.macs / 1e9:7.3f} {d.activations:12,} {d.image_size:6} "
            f"{d.paper.year}  {d.paper.title}, {d.paper.source}"
        )


def _print_stages(archs):
    for arch in archs:
        print(f"{arch}\n  {'stage':8} {'output':>16} {'blocks':>6} {'parameters':>12}  last block")
        for stage in recycle_tf.stages(arch):
            shape = " x ".join(str(size) for size in stage.output_shape)
            convs = ", ".join(stage.convs)
            print(f"  {stage.name:8} {shape:>16} {stage.blocks:6} {stage.parameters:12,}  {convs}")

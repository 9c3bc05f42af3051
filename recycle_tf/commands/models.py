"""Lists the architectures: `python -m recycle_tf models [PATTERN …] [--layers]`.

For example, `python -m recycle_tf models 'efficientnet*'`, or `python -m recycle_tf models resnet50 --layers`
for its stages as the paper's table has them.
"""

from absl import flags

from recycle_tf import cli
from recycle_tf.errors import UserError, did_you_mean


@cli.command
def main(argv):
    """Prints a line an architecture, or its stages."""
    values = flags.FlagValues()
    flags.DEFINE_bool("layers", False, "print the stages of each", flag_values=values)
    patterns = cli.parse(argv, values, __doc__) or ["*"]
    cli.import_tensorflow()
    from recycle_tf import list_models

    archs = [arch for pattern in patterns for arch in list_models(pattern)]
    if not archs:
        near = did_you_mean(patterns[0], list_models())
        raise UserError(f"{patterns[0]}: no architecture of that name, {near}")
    _print_stages(archs) if values.layers else _print_costs(archs)


def _print_costs(archs):
    from recycle_tf import describe

    print(f"{'arch':24} {'parameters':>12} {'GMACs':>7} {'activations':>12} {'pixels':>6} {'year':>4}  paper")
    for arch in archs:
        d = describe(arch)
        print(
            f"{arch:24} {d.trainable:12,} {d.macs / 1e9:7.3f} {d.activations:12,} {d.image_size:6} "
            f"{d.paper.year}  {d.paper.title}, {d.paper.source}"
        )


def _print_stages(archs):
    from recycle_tf.models.registry import stages

    for arch in archs:
        print(f"{arch}\n  {'stage':8} {'output':>16} {'blocks':>6} {'parameters':>12}  in the last block")
        for stage in stages(arch):
            shape = " x ".join(str(size) for size in stage.output_shape)
            convs = ", ".join(stage.convs)
            print(f"  {stage.name:8} {shape:>16} {stage.blocks:6} {stage.parameters:12,}  {convs}")

"""How large the gradient is in each stage, epoch by epoch, of runs side by side.

python benchmarks/gradient_norms.py --picture=gradients.png runs/plain56 runs/resnet56
"""

import argparse
import pathlib

from recycle_tf import cli


def main():
    """Draws a PNG, and prints how many times the norm of the logits that of the stem is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--picture", required=True)
    flags = parser.parse_args()

    cli.import_tensorflow()
    from matplotlib import pyplot as plt

    from recycle_tf.runs import open_run

    figure, panels = plt.subplots(
        1,
        len(flags.runs),
        figsize=(3.8 * len(flags.runs), 4),
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for axes, path in zip(panels.flat, flags.runs, strict=True):
        run = open_run(path)
        stages = norms(run.tensorboard)
        for number, (stage, values) in enumerate(stages.items()):
            colour = plt.cm.viridis(0.9 * number / max(1, len(stages) - 1))
            axes.plot(range(1, len(values) + 1), values, "o-", color=colour, markersize=3, label=stage)
        accuracy = run.history_rows()[-1]["accuracy"]
        axes.set(yscale="log", xlabel="epoch", title=f"{run.config['arch']}, learned {accuracy:.0%}")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.14))
        ratios = [first / last for first, last in zip(stages["stem"], stages["logits"], strict=True)]
        print(
            f"{run.config['arch']}: stem / logits {ratios[0]:.3g} after an epoch, {ratios[-1]:.3g} at the end"
        )
    panels[0, 0].set_ylabel("norm of the gradient")
    figure.savefig(pathlib.Path(flags.picture), dpi=110)


def norms(folder):
    """`{stage: norm after each epoch}`, as the event files in a folder hold them, from stem to logits."""
    import tensorflow as tf
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), {"tensors": 0})
    events.Reload()
    tags = [tag for tag in events.Tags()["tensors"] if tag.startswith("gradient_norm/")]
    return {
        tag.partition("/")[2]: [float(tf.make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)]
        for tag in tags
    }


if __name__ == "__main__":
    main()

"""Plots the gradient norm of each stage over the epochs, for several runs.

python benchmarks/claims/gradient_norms.py --out=gradients.png runs/plain56 runs/resnet56
"""

import argparse
import pathlib

from recycle_tf import cli


def main():
    """Writes a PNG, and prints the ratio of the gradient norms of stem and logits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", help="folders of runs")
    parser.add_argument("--out", required=True, help="PNG file to write")
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
            color = plt.cm.viridis(0.9 * number / max(1, len(stages) - 1))
            axes.plot(range(1, len(values) + 1), values, "o-", color=color, markersize=3, label=stage)
        accuracy = run.history_rows()[-1]["accuracy"]
        axes.set(yscale="log", xlabel="epoch", title=f"{run.config['arch']}, accuracy {accuracy:.0%}")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.14))
        ratios = [first / last for first, last in zip(stages["stem"], stages["logits"], strict=True)]
        print(
            f"{run.config['arch']}: stem / logits {ratios[0]:.3g} after one epoch, "
            f"{ratios[-1]:.3g} at the end"
        )
    panels[0, 0].set_ylabel("gradient norm")
    figure.savefig(pathlib.Path(flags.out), dpi=110)


def norms(folder):
    """Reads `{stage: gradient norm after each epoch}` from TensorBoard's event files, from stem to logits."""
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

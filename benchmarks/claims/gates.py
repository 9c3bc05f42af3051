"""Claim 6: squeeze-and-excitation treats classes alike in early stages and differently in late ones.

    python benchmarks/claims/textbook.py --dataset=trashnet --manual_dir=trashnet --archs=resnet18,se_resnet18
    python benchmarks/claims/gates.py claims/textbook/trashnet/se_resnet18_25_0

Hu et al., arXiv 1709.01507, figure 5: the mean gate of each channel, by class, for blocks at several depths;
the classes' curves separate with depth. With and without the gates: the table of textbook.py.
"""

import sys

import experiment

from recycle_tf import cli


def main():
    """Prints how far the classes' gates lie apart in each block of a run, and draws the curves."""
    parser = experiment.parser(__doc__)
    parser.add_argument("run", help="a run with squeeze-and-excitation")
    values = experiment.parse(parser)
    cli.import_tensorflow()
    found, labels = measure(values.run)
    if not found:
        sys.exit(f"error: {values.run}: its network has no squeeze-and-excitation")
    lines = [
        [
            name,
            gates.shape[1],
            f"{gates.mean():.2f}",
            f"{gates.std(axis=1).mean():.3f}",
            f"{apart(gates):.3f}",
        ]
        for name, gates in found.items()
    ]
    titles = ["block", "channels", "mean gate", "spread over channels", "spread over classes"]
    experiment.table(titles, lines)
    from recycle_tf.evaluation import explain

    figure = explain.draw_gates(found, labels)
    figure.savefig(values.out / "gates.png", dpi=120)
    print(f"figure {values.out / 'gates.png'}")


def measure(path):
    """Mean gates by class on the test split, `{block: [classes, channels]}`, and the names of the classes."""
    from recycle_tf import runs
    from recycle_tf.data import cache
    from recycle_tf.evaluation import datasets, explain

    run = runs.open_run(path)
    model = run.load_model()
    split = datasets.open_source(run).splits["test"]
    pixels = cache.decode_all(split, model.input_shape[1], run.config["resize"])
    return explain.gates(model, pixels, split.labels, len(run.labels)), run.labels


def apart(gates):
    """Standard deviation of a channel's gate over the classes, mean over the channels."""
    return gates.std(axis=0).mean()


if __name__ == "__main__":
    main()

"""Claim 6: squeeze-and-excitation treats classes alike in early stages and differently in late ones.

    python benchmarks/claims/textbook.py --images=trashnet.zip --archs=resnet18,se_resnet18   # trains them
    python benchmarks/claims/gates.py

Hu et al., arXiv 1709.01507, figure 5: the mean gate of each channel, by class, for blocks at several depths;
the classes' curves separate with depth. With and without the gates: the table of textbook.py.
"""

import json

import experiment
import numpy as np

ARCH = "se_resnet18"


def main():
    """Prints how far the classes' gates lie apart in each block, and draws the curves."""
    values = experiment.parse(experiment.parser(__doc__))
    rows = map(json.loads, (values.out / "textbook.jsonl").read_text(encoding="utf-8").splitlines())
    blocks = next(row["result"]["gates"] for row in rows if row["key"][0] == ARCH)
    found = {name: np.array(gates) for name, gates in blocks.items()}
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
    chosen = dict(list(found.items())[1::2])
    experiment.save(
        lambda axes: draw(axes.flat, chosen), values.out / "gates.png", rows=2, columns=2, size=(11, 6)
    )


def apart(gates):
    """Standard deviation of a channel's gate over the classes, mean over the channels."""
    return gates.std(axis=0).mean()


def draw(axes, found):
    """Gates over channels, one line per class."""
    for panel, (name, gates) in zip(axes, found.items(), strict=True):
        for label, curve in enumerate(gates):
            panel.plot(curve[:64], linewidth=0.9, label=f"class {label}")
        panel.set(title=name, xlabel="channel (the first 64)", ylabel="gate", ylim=(0, 1))
    panel.legend(fontsize=7, ncols=3)


if __name__ == "__main__":
    main()

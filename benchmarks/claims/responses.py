"""Claim 3: residual branches respond weakly, and more weakly the deeper the network.

    python benchmarks/claims/degradation.py --quick --cifar=cifar10.zip     # trains the networks
    python benchmarks/claims/responses.py --quick

He et al., arXiv 1512.03385, figure 7: the standard deviation of the output of each 3x3 convolution, after its
norm and before the nonlinearity, in networks trained on CIFAR-10.
"""

import json
import sys

import degradation
import experiment
import numpy as np
import training


def main():
    """Prints the means and draws the curves of the networks that degradation.py trained."""
    values = experiment.parse(experiment.parser(__doc__))
    size = degradation.QUICK if values.quick else degradation.FULL
    found = {}
    for line in (values.out / "degradation.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        recipe, arch, *trained = row["key"][:4]
        if (recipe, *trained) != (training.RECIPE, *size):
            continue
        found.setdefault(arch, []).append(row["result"]["responses"])
    if not found:
        sys.exit(f"error: {values.out}: no networks of this size; run degradation.py first")
    means = {arch: np.mean(runs, axis=0) for arch, runs in found.items()}
    titles = ["network", "mean response", "of the last third"]
    experiment.table(
        titles, [[arch, f"{m.mean():.2f}", f"{m[-len(m) // 3 :].mean():.2f}"] for arch, m in means.items()]
    )
    experiment.save(lambda axes: draw(axes, means), values.out / "responses.png", columns=2, size=(11, 4))


def draw(axes, means):
    """Responses by layer, and sorted by size, as in the figure of the paper."""
    for arch, curve in means.items():
        style = "--" if arch.startswith("plain") else "-"
        color = "#1f6f8b" if arch.endswith("20") else "#c1440e"
        axes[0].plot(np.linspace(0, 1, len(curve)), curve, style, color=color, label=arch)
        axes[1].plot(np.linspace(0, 1, len(curve)), np.sort(curve)[::-1], style, color=color, label=arch)
    for panel, title in zip(axes, ("depth (0: first layer, 1: last)", "rank (0: largest)"), strict=True):
        panel.set(xlabel=title, ylabel="standard deviation", ylim=(0, None))
        panel.grid(alpha=0.3)
        panel.legend()


if __name__ == "__main__":
    main()

"""Claim 5: depth, width and resolution scaled together, at the same cost as one of them alone.

    python benchmarks/claims/compound.py

Tan and Le, arXiv 1905.11946, equations 2 and 3 and figure 8: alpha beta^2 gamma^2 is about 2, so
multiply-adds double with each step of phi; scaling one dimension alone saturates. This counts: multiply-adds
for phi, and the factors that reach the same multiply-adds with depth, width or resolution alone. The
accuracies of these four networks must be trained:

    python train.py --arch=efficientnet_b0 --overrides=phi=1
"""

import experiment

from recycle_tf import cli

PHIS = (-2, -1, 0, 1, 2)
STEPS = 6
"""Halvings of the interval in which a factor is searched."""


def main():
    """Prints two tables and draws multiply-adds over phi."""
    values = experiment.parse(experiment.parser(__doc__))
    cli.import_tensorflow()
    from recycle_tf.models import efficientnet

    rows = experiment.Rows(values.out / "compound.jsonl")
    phis = PHIS[1:4] if values.quick else PHIS
    counted = {phi: rows.once([phi], lambda p=phi: macs(phi=float(p))) for phi in phis}
    growth = efficientnet.ALPHA * efficientnet.BETA**2 * efficientnet.GAMMA**2
    lines = [
        [phi, f"{count / 1e6:.0f}", f"{count / counted[0]:.2f}", f"{growth**phi:.2f}"]
        for phi, count in counted.items()
    ]
    experiment.table(["phi", "MMACs", "of B0", "by equation 3"], lines)
    target, scaled = counted[1], efficientnet.compound_scaling(1)
    alone = {
        name: rows.once(["alone", name], lambda n=name: factor(n, target))
        for name in ("depth", "width", "image_size")
    }
    print(f"\nThe multiply-adds of phi = 1, {target / 1e6:.0f} million, reached by one dimension alone:\n")
    lines = [
        [
            name,
            f"{scaled[name] / (224 if name == 'image_size' else 1):.2f}",
            f"{found:.2f}",
            f"{count / 1e6:.0f}",
        ]
        for name, (found, count) in alone.items()
    ]
    experiment.table(["dimension", "factor, all together", "factor, alone", "MMACs, alone"], lines)
    experiment.save(lambda axes: draw(axes, counted, growth), values.out / "compound.png", size=(6, 4))


def macs(**overrides):
    """Multiply-adds of a scaled B0."""
    from recycle_tf import describe

    return describe("efficientnet_b0", 10, **overrides).macs


def factor(name, target):
    """The factor on one dimension that comes closest to some multiply-adds, and the multiply-adds it has."""
    low, high, best = 1.0, 2.5, None
    for _ in range(STEPS):
        middle = (low + high) / 2
        count = macs(**{name: round(224 * middle) if name == "image_size" else middle})
        if best is None or abs(count - target) < abs(best[1] - target):
            best = [middle, count]
        low, high = (middle, high) if count < target else (low, middle)
    return best


def draw(axes, counted, growth):
    """Multiply-adds over phi, counted and by equation 3."""
    axes.plot(
        list(counted), [count / 1e6 for count in counted.values()], "o", label="counted", color="#1f6f8b"
    )
    line = [counted[0] / 1e6 * growth**phi for phi in counted]
    axes.plot(list(counted), line, "--", label="B0 times (alpha beta² gamma²)^phi", color="#888888")
    axes.set(yscale="log", xlabel="phi", ylabel="multiply-adds, millions")
    axes.grid(alpha=0.3)
    axes.legend()


if __name__ == "__main__":
    main()

"""What several devices cost: bytes that a step sends, and how much of a step that is, by speed of the link.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --devices=32 --share=128 --tflops=100

Computed, not measured: in a ring all-reduce each device sends 2 (n - 1) / n times the gradient; a step takes
three times the forward pass's multiply-adds, two operations each, at `--tflops`. Nothing is assumed to
overlap, which is the worst case: NCCL sends while the backward pass goes on.
"""

import argparse

from recycle_tf import cli

NETWORKS = ("resnet50", "densenet121", "efficientnet_b0")
LINKS = (1, 10, 25, 100, 2400)
"""Gigabits a second in each direction: Ethernet, faster networks, NVLink."""


def main():
    """Prints a row a network and link."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=8, help="devices over all hosts")
    parser.add_argument("--share", type=int, default=64, help="pictures of a batch on each device")
    parser.add_argument("--tflops", type=float, default=20, help="10^12 operations a second of a device")
    arguments = parser.parse_args()
    cli.import_tensorflow()
    import keras

    from recycle_tf import create_model, describe

    ring = 2 * (arguments.devices - 1) / arguments.devices
    titles = [
        "network",
        "norms",
        "gradient, MB",
        "sent, MB",
        "computing, ms",
        *(f"{gb} Gb/s" for gb in LINKS),
    ]
    print(f"| {' | '.join(titles)} |")
    print("| --- " * len(titles) + "|")
    for arch in NETWORKS:
        told = describe(arch)
        layers = create_model(arch, 1000).layers
        norms = sum(isinstance(layer, keras.layers.BatchNormalization) for layer in layers)
        # Gradients are float32 whatever the precision that layers compute in.
        gradient = 4 * told.trainable
        computing = 3 * 2 * told.macs * arguments.share / (arguments.tflops * 1e12)
        sending = [8 * ring * gradient / (gigabits * 1e9) for gigabits in LINKS]
        shares = [f"{1e3 * time:.1f} ms, {computing / (computing + time):.0%}" for time in sending]
        figures = [gradient / 1e6, ring * gradient / 1e6, 1e3 * computing]
        print(f"| {' | '.join([arch, str(norms), *(f'{figure:.1f}' for figure in figures), *shares])} |")


if __name__ == "__main__":
    main()

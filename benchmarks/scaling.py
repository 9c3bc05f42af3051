"""Computes what several devices cost: bytes sent per step, and their share of a step, by link speed.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --devices=32 --device_batch=128 --tflops=100

These are calculations, not measurements. In a ring all-reduce each device sends 2 (n - 1) / n times the
gradient. A step takes three times the multiply-adds of the forward pass, of two operations each, at
`--tflops`. Computation and communication are assumed not to overlap, which is the worst case: NCCL sends
during the backward pass.
"""

import argparse

from recycle_tf import cli

NETWORKS = ("resnet50", "densenet121", "efficientnet_b0")
LINKS = (1, 10, 25, 100, 2400)
"""Gigabits per second in each direction: Ethernet, faster networks, NVLink."""


def main():
    """Prints one row per network, with one column per link speed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=8, help="devices over all hosts")
    parser.add_argument("--device_batch", type=int, default=64, help="images of a batch on each device")
    parser.add_argument("--tflops", type=float, default=20, help="10^12 operations per second of a device")
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
        "computation, ms",
        *(f"{gb} Gb/s" for gb in LINKS),
    ]
    print(f"| {' | '.join(titles)} |")
    print("| --- " * len(titles) + "|")
    for arch in NETWORKS:
        description = describe(arch)
        layers = create_model(arch, 1000).layers
        norms = sum(isinstance(layer, keras.layers.BatchNormalization) for layer in layers)
        # Gradients are float32 whatever the precision of computation.
        gradient = 4 * description.trainable
        computing = 3 * 2 * description.macs * arguments.device_batch / (arguments.tflops * 1e12)
        sending = [8 * ring * gradient / (gigabits * 1e9) for gigabits in LINKS]
        shares = [f"{1e3 * time:.1f} ms, {computing / (computing + time):.0%}" for time in sending]
        figures = [gradient / 1e6, ring * gradient / 1e6, 1e3 * computing]
        print(f"| {' | '.join([arch, str(norms), *(f'{figure:.1f}' for figure in figures), *shares])} |")


if __name__ == "__main__":
    main()

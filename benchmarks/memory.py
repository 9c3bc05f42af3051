"""Compares the estimated memory of a training run with the peak after some steps, one process per network.

python benchmarks/memory.py
"""

import argparse
import re
import resource
import subprocess
import sys

from recycle_tf import cli

BATCH = 32

CASES = (
    # architecture, image size, remat
    ("resnet18", 64, False),
    ("resnet18", 128, False),
    ("densenet121", 64, False),
    ("densenet121", 128, False),
    ("densenet121", 128, True),
    ("efficientnet_b0", 128, False),
)


def measure(arch, image_size, remat):
    """(estimated GB, peak GB) of this process."""
    tf = cli.import_tensorflow()
    import numpy as np

    from recycle_tf import create_model
    from recycle_tf.config import TrainConfig
    from recycle_tf.training import loop, preflight

    inference_model, config = create_model(arch, 6, image_size), TrainConfig(remat=remat)
    training = loop.prepare(inference_model, config, tf.distribute.get_strategy(), np.ones(6), 1, None)
    expected = re.match(r"([\d.]+) GB", preflight.expected_memory(training, BATCH, remat))[1]
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (BATCH, image_size, image_size, 3)).astype(np.float32)
    labels = np.eye(6, dtype=np.float32)[np.arange(BATCH) % 6]
    training.model.fit(images, labels, batch_size=BATCH, epochs=4, verbose=0)
    return expected, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main():
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", type=int, help="print only the numbers of this case")
    flags = parser.parse_args()
    if flags.case is not None:
        expected, peak = measure(*CASES[flags.case])
        print(f"{expected} | {peak:.1f}")
        return
    print(f"| network | estimate, GB | peak at batch {BATCH}, GB |\n| --- | --- | --- |")
    for number, (arch, image_size, remat) in enumerate(CASES):
        command = [sys.executable, __file__, f"--case={number}"]
        figures = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
        print(f"| {arch} at {image_size} px{', `--remat`' if remat else ''} | {figures} |", flush=True)


if __name__ == "__main__":
    main()

"""Trains the networks that `benchmarks/quantization.py` measures, one after another.

    python benchmarks/real_networks.py --manual_dir=TRASHNET --weights=WEIGHTS --runs=RUNS
    python benchmarks/real_networks.py --manual_dir=TRASHNET --weights=WEIGHTS --runs=RUNS --only=resnet18

Random weights say nothing about quantization: the ranges of a trained network differ by orders of magnitude
from layer to layer. The settings are the smallest that give a usable classifier on a CPU. A finished run is
skipped and an interrupted one resumed, so that the command can be repeated until it succeeds.
"""

import argparse
import pathlib
import subprocess
import sys

FINETUNED = ("--recipe=finetune", "--image_size=160")
FROM_SCRATCH = ("--recipe=quick", "--image_size=96")
NETWORKS = {
    "efficientnet_lite0": (*FINETUNED, "--epochs=15"),
    "efficientnet_lite1": (*FINETUNED, "--epochs=8"),
    "efficientnet_lite2": (*FINETUNED, "--epochs=8"),
    "resnet18": (*FROM_SCRATCH, "--epochs=15", "--overrides=filters=32"),
    "se_resnet18": (*FROM_SCRATCH, "--epochs=8", "--overrides=filters=32"),
    "densenet121": (*FROM_SCRATCH, "--epochs=4"),
    "efficientnet_b0": (*FROM_SCRATCH, "--epochs=6"),
}
"""Architecture -> the flags of `train.py`. Fine-tuned ones start from `WEIGHTS/ARCHITECTURE.safetensors`."""


def command(arch, flags):
    """The command line that trains `arch`; `flags` are those of this script."""
    settings = NETWORKS[arch]
    root = pathlib.Path(__file__).resolve().parents[1]
    line = [sys.executable, str(root / "train.py"), f"--arch={arch}", "--dataset=trashnet", *settings]
    line += [f"--manual_dir={flags.manual_dir}", f"--run_dir={flags.runs / arch}"]
    if flags.data_dir:
        line.append(f"--data_dir={flags.data_dir}")
    if "--recipe=finetune" in settings:
        line.append(f"--weights={flags.weights / f'{arch}.safetensors'}")
    return line


def main():
    """Trains what is missing; returns 1 if a run failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--manual_dir", required=True, help="folder of TrashNet's archive")
    parser.add_argument("--data_dir", help="where TensorFlow Datasets keeps the prepared data")
    parser.add_argument("--weights", type=pathlib.Path, required=True, help="folder of published weights")
    parser.add_argument("--runs", type=pathlib.Path, required=True, help="folder of the runs")
    parser.add_argument("--only", nargs="*", choices=NETWORKS, default=list(NETWORKS))
    flags = parser.parse_args()
    flags.runs.mkdir(parents=True, exist_ok=True)
    failed = []
    for arch in flags.only:
        print(f"{arch}: log in {flags.runs / arch}.log", flush=True)
        with open(flags.runs / f"{arch}.log", "a", encoding="utf-8") as log:
            finished = subprocess.run(command(arch, flags), stdout=log, stderr=log, check=False)
        if finished.returncode:
            failed.append(arch)
    print(f"failed: {', '.join(failed)}" if failed else "all runs are complete")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())

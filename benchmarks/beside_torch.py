"""Speed of a training step on a CPU: TensorFlow, this package, and PyTorch.

    python -m venv torch && torch/bin/pip install torch torchvision timm
    python benchmarks/beside_torch.py --torch=torch/bin/python
    python benchmarks/beside_torch.py --torch=torch/bin/python --bfloat16

Processes alternate: in each round, every variant of a network trains some steps in a process of its own, on
random images with AdamW, and the median step counts. Ratios are medians over rounds.
"""

import argparse
import os
import statistics
import subprocess
import sys

from tqdm import tqdm

NETWORKS = {
    # ours: the same network in torchvision or timm
    "resnet18": "torchvision resnet18",
    "resnet50": "torchvision resnet50",
    "densenet121": "torchvision densenet121",
    "efficientnet_lite0": "timm efficientnet_lite0",
}

VARIANTS = ("tensorflow", "onednn", "ours", "torch")
"""TensorFlow without oneDNN, with it, with our batch norms too (as `train.py`), and PyTorch; all in float32.

TensorFlow itself chooses oneDNN only on processors with AVX-512 and VNNI.
"""

BFLOAT16_VARIANTS = ("ours", "onednn_bfloat16", "bfloat16", "torch", "torch_bfloat16")
"""`train.py` in float32 and in two values of `--mixed_precision`; PyTorch in float32 and with autocast."""

OURS = """
import sys, time, keras, numpy as np, tensorflow as tf
from recycle_tf import create_model
from recycle_tf.data.parallel import without_autotune
from recycle_tf.training import precision
from recycle_tf.training.batch_norm import fuse_batch_norm
variant, name, size, batch, steps = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
keras.utils.set_random_seed(0)
precision.set_policy(variant)
model = create_model(name, 6, size)
if variant not in ("tensorflow", "onednn"):
    fuse_batch_norm(model)
model.compile(keras.optimizers.AdamW(1e-3), keras.losses.CategoricalCrossentropy(True), jit_compile=False)
rng = np.random.default_rng(0)
images = rng.uniform(0, 255, (batch, size, size, 3)).astype("float32")
labels = np.eye(6, dtype="float32")[rng.integers(0, 6, batch)]
class Clock(keras.callbacks.Callback):
    times = []
    def on_train_batch_end(self, batch, logs=None):
        self.times.append(time.perf_counter())
data = without_autotune(tf.data.Dataset.from_tensors((images, labels)).repeat())
with precision.graph_option(variant):
    model.fit(data, steps_per_epoch=steps + 3, verbose=0, callbacks=[Clock()])
print(np.median(np.diff(Clock.times)[2:]))
"""

TORCH = """
import sys, time, torch, numpy as np
variant, name, size, batch, steps = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
library, name = name.split()
torch.manual_seed(0)
if library == "timm":
    import timm
    model = timm.create_model(name, num_classes=6)
else:
    import torchvision
    model = getattr(torchvision.models, name)(num_classes=6)
model = model.to(memory_format=torch.channels_last).train()
optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
images = torch.rand(batch, 3, size, size).to(memory_format=torch.channels_last)
labels = torch.randint(0, 6, (batch,))
times = []
for _ in range(steps + 3):
    optimizer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=variant == "torch_bfloat16"):
        loss = torch.nn.functional.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    times.append(time.perf_counter())
print(np.median(np.diff(times)[2:]))
"""


def seconds(variant, name, flags):
    """Median seconds of a step of a network, in a process of its own."""
    python, code, named = (
        (flags.torch, TORCH, NETWORKS[name]) if variant.startswith("torch") else (sys.executable, OURS, name)
    )
    onednn = "0" if variant == "tensorflow" else "1"
    numbers = map(str, (flags.image_size, flags.batch, flags.steps))
    output = subprocess.run(
        [python, "-c", code, variant, named, *numbers],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": onednn},
    ).stdout
    return float(output.splitlines()[-1])


def main():
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", help="Python of an environment with PyTorch; without it, only ours")
    parser.add_argument("--only", default=",".join(NETWORKS), help="networks, with commas between")
    parser.add_argument("--bfloat16", action="store_true", help="compare the ways to compute in bfloat16")
    parser.add_argument("--image_size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    flags = parser.parse_args()

    variants = BFLOAT16_VARIANTS if flags.bfloat16 else VARIANTS
    if not flags.torch:
        variants = [variant for variant in variants if not variant.startswith("torch")]
    print(f"{flags.image_size} px, batch {flags.batch}; images/s, and ratios to the first")
    compared = " | ".join(f"{name} / {variants[0]}" for name in variants[1:])
    print(f"| network | {' | '.join(variants)} | {compared} |")
    print("| --- |" + " --- |" * (2 * len(variants) - 1))
    for name in flags.only.split(","):
        times = {variant: [] for variant in variants}
        for _ in tqdm(range(flags.rounds), name, leave=False, disable=None):
            for variant in variants:
                times[variant].append(seconds(variant, name, flags))
        rates = [f"{flags.batch / statistics.median(times[variant]):.1f}" for variant in variants]
        ratios = [
            f"{statistics.median(a / b for a, b in zip(times[variants[0]], times[variant], strict=True)):.2f}"
            for variant in variants[1:]
        ]
        print(f"| {name} | {' | '.join(rates)} | {' | '.join(ratios)} |", flush=True)


if __name__ == "__main__":
    main()

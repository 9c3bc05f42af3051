"""Time and memory of a training step, compared with keras.applications and with recomputation.

    python benchmarks/train_step.py

Time: medians over steps of both networks, which alternate in one process. Memory: the peak of a process per
network at three times the batch size, and the memory per additional image (activations and their gradients,
not weights and libraries), from the difference between the two batch sizes.
"""

import argparse
import gc
import os
import statistics
import subprocess
import sys
import time

from tqdm import tqdm

PAIRS = {
    # ours: function in keras.applications
    "resnet50": "ResNet50",
    "resnet50_v1": "ResNet50",
    "densenet121": "DenseNet121",
    "efficientnet_b0": "EfficientNetB0",
    "vgg16": "VGG16",
}


def make(name, image_size):
    """Builds and compiles a network: `ARCH`, `ARCH remat` (with recomputation) or `keras NAME`."""
    import keras

    from recycle_tf import create_model

    keras.utils.set_random_seed(0)
    first, _, second = name.partition(" ")
    if first == "keras":
        model = getattr(keras.applications, second)(
            weights=None, input_shape=(image_size, image_size, 3), classifier_activation=None
        )
    else:
        model = create_model(first, 1000, image_size, remat=second == "remat")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1e-3, momentum=0.9), loss, jit_compile=False)
    return model


def batch(size, image_size):
    """Random images and labels."""
    import numpy as np

    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (size, image_size, image_size, 3)).astype("float32")
    return images, rng.integers(0, 1000, size)


def step_times(names, image_size, batch_size, steps):
    """Seconds per training step of each network; they alternate, after two steps that build the graphs."""
    import keras

    models = {name: make(name, image_size) for name in names}
    images, labels = batch(batch_size, image_size)
    times = {name: [] for name in names}
    for step in range(-2, steps):
        for name, model in models.items():
            start = time.perf_counter()
            model.train_on_batch(images, labels)
            if step >= 0:
                times[name].append(time.perf_counter() - start)
    del models
    keras.backend.clear_session()
    gc.collect()
    return times


def peak_memory(name, image_size, batch_size):
    """Peak memory of a process that trains this network, in bytes."""
    sizes = [f"--image_size={image_size}", f"--batch={batch_size}"]
    # With more than one malloc arena, the peak depends on which thread allocates.
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    output = subprocess.run(
        [sys.executable, __file__, f"--peak={name}", *sizes],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    ).stdout
    return int(output.splitlines()[-1])


def memory(name, image_size, batch_size):
    """(peak bytes at three times `batch_size`, bytes per additional image)."""
    small, large = (peak_memory(name, image_size, size) for size in (batch_size, 3 * batch_size))
    return large, (large - small) / (2 * batch_size)


def main():
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image_size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--peak", help="print only the peak memory of this network")
    flags = parser.parse_args()

    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    if flags.peak:
        import resource

        model = make(flags.peak, flags.image_size)
        for _ in range(2):
            model.train_on_batch(*batch(flags.batch, flags.image_size))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
        return

    pairs = [(ours, f"keras {theirs}") for ours, theirs in PAIRS.items()]
    pairs += [(f"{arch} remat", arch) for arch in ("densenet121", "efficientnet_b0")]
    # First, while this process is small: Linux counts the memory of a parent in the peak of its child.
    used = {
        name: memory(name, flags.image_size, flags.batch)
        for name in tqdm(dict.fromkeys(sum(pairs, ())), "memory", disable=None)
    }
    print(
        f"{flags.image_size} px, float32; steps at batch {flags.batch}, median of {flags.steps}; "
        f"peak at batch {3 * flags.batch}\n"
    )
    print("| network | compared with | step, s | ratio | peak, GB | ratio | MB per image | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for pair in pairs:
        times = step_times(pair, flags.image_size, flags.batch, flags.steps)
        # The ratio of consecutive steps: other load on the machine affects both.
        ratio = statistics.median(a / b for a, b in zip(*times.values(), strict=True))
        step = [statistics.median(times[name]) for name in pair]
        (peak, image), (other_peak, other_image) = (used[name] for name in pair)
        print(
            f"| {pair[0]} | {pair[1]} | {step[0]:.2f}, {step[1]:.2f} | {ratio:.3f} "
            f"| {peak / 1e9:.2f}, {other_peak / 1e9:.2f} | {peak / other_peak:.2f} "
            f"| {image / 1e6:.1f}, {other_image / 1e6:.1f} | {image / other_image:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

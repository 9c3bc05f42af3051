"""A training step of ours beside the same network of keras.applications, and what recomputation costs.

    python benchmarks/train_step.py

Time: both networks in one process, their steps alternating, medians. Memory: a process each, its peak at
three times the batch, and the slope between both batches, which is what one more picture needs (activations
and their gradients) without what weights and libraries take.
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
    # ours: (builder of keras.applications, its other arguments)
    "resnet50": "ResNet50",
    "resnet50_v1": "ResNet50",
    "densenet121": "DenseNet121",
    "efficientnet_b0": "EfficientNetB0",
    "vgg16": "VGG16",
}


def make(name, image_size):
    """Compiles a network: ours, ours with ` remat` behind its name, or `keras NAME`."""
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
    """Random pictures and labels."""
    import numpy as np

    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (size, image_size, image_size, 3)).astype("float32")
    return images, rng.integers(0, 1000, size)


def step_times(names, image_size, batch_size, steps):
    """Seconds of `steps` training steps of each network, alternating, after two that build the graph."""
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
    """Bytes that a process training this network had at most."""
    sizes = [f"--image_size={image_size}", f"--batch={batch_size}"]
    # One arena: with several, the peak depends on which thread allocates what.
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
    """(peak bytes at three times `batch_size`, bytes that one more picture needs)."""
    small, large = (peak_memory(name, image_size, size) for size in (batch_size, 3 * batch_size))
    return large, (large - small) / (2 * batch_size)


def main():
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image_size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--peak", help="only print the peak memory of this network")
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
    # Before this process grows: Linux counts a parent's memory as a child's peak.
    used = {
        name: memory(name, flags.image_size, flags.batch)
        for name in tqdm(dict.fromkeys(sum(pairs, ())), "memory", disable=None)
    }
    print(
        f"{flags.image_size} px, float32; steps at batch {flags.batch}, median of {flags.steps}; "
        f"peak at batch {3 * flags.batch}\n"
    )
    print("| network | beside | step, s | time | peak, GB | peak | MB a picture | a picture |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for pair in pairs:
        times = step_times(pair, flags.image_size, flags.batch, flags.steps)
        # The ratio of neighbouring steps: what else the machine does, it does to both.
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

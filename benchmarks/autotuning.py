"""What tf.data's autotuning costs at the end of an iteration, and what it gives.

    python benchmarks/autotuning.py --dataset=PHOTOS

First: `fit` of some training steps with a dataset that is autotuned and with one that is not; the seconds
from the last step to the return of `fit`. Second: images/s of the training pipeline at 224 px, in turn.
"""

import argparse
import os
import statistics
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from recycle_tf import create_model
from recycle_tf.data import pipeline, sources
from recycle_tf.data.parallel import without_autotune


def autotuned(dataset):
    """The dataset as tf.data runs it by default."""
    options = tf.data.Options()
    options.autotune.enabled = True
    return dataset.with_options(options)


WAYS = {"autotuned": autotuned, "without autotuning": without_autotune}


class LastStep(keras.callbacks.Callback):
    """Keeps the time at which the last step ended."""

    def on_train_batch_end(self, batch, logs=None):
        """Keeps the time."""
        self.time = time.perf_counter()


def ends(steps):
    """`{way: (seconds until the last step, seconds from there to the return of fit)}`."""
    model = create_model("resnet18", 6, 64)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, jit_compile=False)
    batch = np.zeros((32, 64, 64, 3), np.float32), np.eye(6, dtype=np.float32)[np.zeros(32, int)]
    data = tf.data.Dataset.from_tensors(batch).repeat()
    model.fit(without_autotune(data), steps_per_epoch=2, verbose=0)
    found = {}
    for way, wrap in WAYS.items():
        last, start = LastStep(), time.perf_counter()
        model.fit(wrap(data), steps_per_epoch=steps, verbose=0, callbacks=[last])
        found[way] = last.time - start, time.perf_counter() - last.time
    return found


def rate(dataset, seconds):
    """Images per second over some seconds, after the first batch."""
    iterator = iter(dataset)
    size, number, start = len(next(iterator)[0]), 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        next(iterator)
        number += size
    return number / (time.perf_counter() - start)


def main():
    """Prints two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", help="a folder of photographs; without it only the first table")
    parser.add_argument("--rounds", type=int, default=5)
    flags = parser.parse_args()

    print("| steps | way | until the last step, s | to the return of fit, s |\n| --- | --- | --- | --- |")
    for steps in (5, 15, 30):
        for way, (before, after) in ends(steps).items():
            print(f"| {steps} | {way} | {before:.2f} | {after:.2f} |", flush=True)
    if flags.dataset is None:
        return
    split = sources.open_source(flags.dataset).splits["train"]
    print(f"\n| cache | {' | '.join(WAYS)} | ratio |\n| --- | --- | --- | --- |")
    for cache in ("memory", "off"):
        batches = pipeline.training_batches(split, 6, 224, 32, mix="both", epochs=10000, cache=cache)
        rates = {way: [] for way in WAYS}
        for _ in tqdm(range(flags.rounds), cache, leave=False, disable=None):
            for way, wrap in WAYS.items():
                rates[way].append(rate(wrap(batches(0)), 3))
        ratio = statistics.median(b / a for a, b in zip(*rates.values(), strict=True))
        middle = " | ".join(f"{statistics.median(values):.0f}" for values in rates.values())
        print(f"| {cache} | {middle} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()

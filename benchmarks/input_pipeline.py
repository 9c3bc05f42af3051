"""Images per second of this package's input pipeline, beside what a Keras user would write today.

    python benchmarks/input_pipeline.py --manual_dir=FOLDER_OF_TRASHNET
    python benchmarks/input_pipeline.py --first_batch=PHOTOS --size=224

The first command compares variants on TrashNet's training split (512x384) at batch 32 and 224 px, and on
JPEGs of 12 megapixels that the program makes. Every variant runs for some seconds, five times in turn. The
ratios are medians over neighboring runs, so that other load on the machine affects all variants alike.
`--torch=torch/bin/python` adds PyTorch, of the environment of `beside_torch.py`.

The second command measures the time from opening a folder to the first batch.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import keras_cv
import numpy as np
import psutil
import tensorflow as tf
from PIL import Image
from tqdm import tqdm

from recycle_tf import options
from recycle_tf.data import audit, cache, decode, parallel, pipeline, sources

SIZE, BATCH = 224, 32
AUTOTUNE = tf.data.AUTOTUNE

FOUR_LAYERS = "(a) folder + Flip, Rotation, Zoom, Contrast"
RANDAUGMENT = "(b) folder + Keras' RandAugment"
KERAS_CV = "(c) TFDS + keras-cv's RandAugment"
PYTORCH = "(d) PyTorch's DataLoader, Pillow, TrivialAugment"
DECODING = "(e) decoding alone"
CROP_AND_RESIZE = "(f) crop_and_resize alone, from memory"

TORCH = """
import itertools, sys, time, torch
from torchvision import datasets, transforms
folder, size, batch, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
crop, flip = transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip()
change = transforms.Compose([crop, flip, transforms.TrivialAugmentWide(), transforms.ToTensor()])
data = datasets.ImageFolder(folder, change)
loader = torch.utils.data.DataLoader(
    data, batch, shuffle=True, num_workers=2, drop_last=True, persistent_workers=True
)
batches = itertools.chain.from_iterable(itertools.repeat(loader))
# What the two workers have prepared before anybody waits.
for _ in range(6):
    next(batches)
start, seen = time.perf_counter(), 0
while time.perf_counter() - start < seconds:
    seen += len(next(batches)[0])
print(seen / (time.perf_counter() - start))
"""
"""What tutorials of PyTorch use: Pillow, two workers, and torchvision's usual transforms."""


def from_directory(folder, layers):
    """What the tutorials show: `image_dataset_from_directory`, then layers of Keras."""
    dataset = keras.utils.image_dataset_from_directory(
        folder, image_size=(SIZE, SIZE), batch_size=BATCH, label_mode="categorical", verbose=False
    )
    model = keras.Sequential(layers)
    return dataset.map(lambda x, y: (model(x, training=True), y), num_parallel_calls=AUTOTUNE).prefetch(
        AUTOTUNE
    )


def four_layers():
    """The four layers that the tutorials use."""
    return [
        keras.layers.RandomFlip("horizontal_and_vertical"),
        keras.layers.RandomRotation(0.1),
        keras.layers.RandomZoom(0.2),
        keras.layers.RandomContrast(0.2),
    ]


def tfds_and_keras_cv(split):
    """A prepared dataset, decoded and resized, then keras-cv's RandAugment."""
    layer = keras_cv.layers.RandAugment(value_range=(0, 255))

    def read(example):
        image = tf.io.decode_jpeg(example["image"], channels=3)
        return {"images": tf.image.resize(image, (SIZE, SIZE)), "labels": tf.one_hot(example["label"], 6)}

    dataset = encoded(split).map(read, num_parallel_calls=AUTOTUNE).batch(BATCH, drop_remainder=True)
    return dataset.map(lambda x: layer(x, training=True), num_parallel_calls=AUTOTUNE).prefetch(AUTOTUNE)


def encoded(split):
    """Encoded images and labels, shuffled, as `tfds.load` gives them with `SkipDecoding`."""
    labels = tf.constant(split.labels)
    dataset = tf.data.Dataset.range(len(split)).shuffle(len(split))
    return dataset.map(lambda i: {"image": split.encoded(i), "label": labels[i]}, num_parallel_calls=AUTOTUNE)


def pytorch(folder, python):
    """Images per second of PyTorch, measured in a process of its own; a function of seconds."""

    def measured(seconds):
        command = [python, "-c", TORCH, str(folder), str(SIZE), str(BATCH), str(seconds)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    return measured


def decoding(split):
    """Only reading, and decoding at full size."""
    dataset = tf.data.Dataset.range(len(split))
    dataset = dataset.map(
        lambda i: tf.io.decode_jpeg(split.encoded(i), channels=3), num_parallel_calls=AUTOTUNE
    )
    return dataset.prefetch(64)


def working(split, batch_size=cache.BATCH):
    """What fills the cache: decoded, upright, at working size."""
    side = round(pipeline.WORKING_SCALE * SIZE)
    dataset = tf.data.Dataset.range(len(split))
    dataset = dataset.map(
        lambda i: decode.decode_quickly(split.encoded(i), side), num_parallel_calls=AUTOTUNE
    )
    return parallel.without_autotune(dataset.batch(batch_size))


def crop_and_resize(images):
    """`tf.image.crop_and_resize` alone: a random box of each image, from memory."""

    def crop(indices):
        box = tf.random.stateless_uniform((BATCH, 2), tf.stack([0, indices[0]]), 0.0, 0.3)
        boxes = tf.concat([box, box + 0.7], axis=1)
        return tf.image.crop_and_resize(tf.gather(images, indices), boxes, tf.range(BATCH), (SIZE, SIZE))

    dataset = tf.data.Dataset.range(len(images)).batch(BATCH, drop_remainder=True)
    return dataset.map(crop, num_parallel_calls=AUTOTUNE).prefetch(AUTOTUNE)


def ours(split, policy, place, mix="none", batch_size=BATCH):
    """`recycle_tf`'s training batches, practically endless."""
    return pipeline.build_training(
        split, 6, SIZE, batch_size, augment=policy, mix=mix, epochs=1_000_000, cache=place
    )


def rate(dataset, seconds):
    """Images per second, after two elements of warm-up; starts again when the dataset ends.

    Args:
        dataset: a `tf.data.Dataset`, or a function of seconds that measures something else.
        seconds: duration.
    """
    if callable(dataset):
        return dataset(seconds)
    iterator, skipped, seen = iter(dataset), 0, 0
    while True:
        try:
            element = next(iterator)
        except StopIteration:
            iterator = iter(dataset)
            continue
        if skipped < 2:
            skipped, start = skipped + 1, time.perf_counter()
            continue
        shape = tf.nest.flatten(element)[0].shape
        seen += shape[0] if len(shape) == 4 else 1
        if time.perf_counter() - start > seconds:
            return seen / (time.perf_counter() - start)


def table(variants, seconds, rounds, columns):
    """Runs all variants in turn; prints images per second and ratios to the variants in `columns`."""
    rates = {name: [] for name in variants}
    for _ in tqdm(range(rounds), "rounds", disable=None):
        for name, dataset in variants.items():
            rates[name].append(rate(dataset, seconds))
    print("| variant | images per second | " + " | ".join(f"to ({column[1]})" for column in columns) + " |")
    print("| --- |" + " --- |" * (1 + len(columns)))
    for name, found in rates.items():
        ratios = [
            statistics.median(a / b for a, b in zip(found, rates[column], strict=True)) for column in columns
        ]
        print(
            f"| {name} | {statistics.median(found):,.0f} | " + " | ".join(f"{r:.2f}" for r in ratios) + " |"
        )
    print(flush=True)


def write_folder(split, labels, folder):
    """Writes the split's files into one folder per class, for variants that read folders."""
    for index in range(len(split)):
        place = folder / labels[split.labels[index]]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{index}.jpg").write_bytes(split.encoded(tf.constant(index, tf.int64)).numpy())


def write_large(split, labels, folder, number=48):
    """Writes some of the images as a phone would take them: 4000 x 3000."""
    # Equally many per class.
    chosen = pipeline.class_balanced(split, number, seed=0)
    for index in [split.ids.index(example) for example in chosen.ids]:
        place = folder / labels[split.labels[index]]
        place.mkdir(parents=True, exist_ok=True)
        pixels = decode.decode_pixels(split.encoded(tf.constant(index, tf.int64))).numpy()
        image = Image.fromarray(pixels).resize((4000, 3000), Image.Resampling.BICUBIC)
        grain = np.random.default_rng(index).normal(0, 4, (3000, 4000, 1))
        pixels = np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(place / f"{index}.jpg", quality=90)


def compare(split, folder, seconds, rounds, torch):
    """Prints the memory that a cache takes, and the table of TrashNet's images."""
    before = psutil.Process().memory_info().rss
    side = round(pipeline.WORKING_SCALE * SIZE)
    free = psutil.virtual_memory().available
    _, many = cache.reader(split, side, "stretch", "memory", decode.decode_quickly)
    used = psutil.Process().memory_info().rss - before
    print(
        f"memory: {len(split) * side * side * 3 / 1e9:.2f} GB of images, {used / 1e9:.2f} GB taken, "
        f"twice {free * cache.MEMORY_SHARE / 1e9:.2f} GB allowed\n"
    )
    variants = {
        FOUR_LAYERS: from_directory(folder, four_layers()),
        RANDAUGMENT: from_directory(folder, [keras.layers.RandAugment((0, 255))]),
        KERAS_CV: tfds_and_keras_cv(split),
        **({PYTORCH: pytorch(folder, torch)} if torch else {}),
        DECODING: decoding(split),
        CROP_AND_RESIZE: crop_and_resize(many(tf.range(len(split)))),
        "ours, filling the cache": working(split),
        "ours, trivial, no cache": ours(split, "trivial", "off"),
        **{f"ours, {name}": ours(split, name, "memory") for name in options.POLICIES},
        "ours, trivial and both mixes": ours(split, "trivial", "memory", mix="both"),
    }
    columns = [FOUR_LAYERS, RANDAUGMENT, KERAS_CV, *([PYTORCH] if torch else []), DECODING, CROP_AND_RESIZE]
    table(variants, seconds, rounds, columns)


def compare_large(folder, seconds, rounds):
    """Prints the table of images of 12 megapixels."""
    split = sources.open_source(folder).splits["train"]
    variants = {
        FOUR_LAYERS: from_directory(folder, four_layers()),
        DECODING: decoding(split),
        "ours, filling the cache": working(split, 8),
        "ours, trivial, no cache": ours(split, "trivial", "off", batch_size=8),
    }
    print("12 megapixels\n")
    table(variants, 2 * seconds, rounds, (FOUR_LAYERS, DECODING))


def first_batch(folder, size, rounds):
    """Prints seconds, and seconds of CPU time over all threads, from opening a folder to the first batch."""
    phases = ("opening", "search for near-duplicates", "decoding, first batch")
    found = []
    for _ in tqdm(range(rounds), "rounds", disable=None):
        times = [(time.perf_counter(), time.process_time())]
        source = sources.open_source(folder)
        times.append((time.perf_counter(), time.process_time()))
        audit.leaks(source)
        times.append((time.perf_counter(), time.process_time()))
        batches = pipeline.training_batches(
            source.splits["train"], len(source.labels), size, BATCH, mix="both"
        )
        next(iter(batches(0)))
        times.append((time.perf_counter(), time.process_time()))
        found.append(np.diff(times, axis=0))
    seconds = np.median(found, axis=0)
    print(f"{source.num_examples:,} images, {size} px, medians of {rounds} rounds\n")
    print("| | seconds | CPU seconds |\n| --- | --- | --- |")
    for phase, (wall, processor) in zip((*phases, "all"), [*seconds, seconds.sum(axis=0)], strict=True):
        print(f"| {phase} | {wall:.2f} | {processor:.2f} |")


def main():
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--manual_dir", help="folder with TrashNet's files")
    parser.add_argument("--torch", metavar="PYTHON", help="interpreter that has torch and torchvision")
    parser.add_argument("--first_batch", metavar="FOLDER", help="measure the time to the first batch instead")
    parser.add_argument("--size", type=int, default=SIZE, help="image size for --first_batch")
    parser.add_argument("--seconds", type=float, default=2.5, help="duration of each run")
    parser.add_argument("--rounds", type=int, default=5, help="number of runs of each variant")
    flags = parser.parse_args()
    if flags.first_batch:
        first_batch(flags.first_batch, flags.size, flags.rounds)
        return
    source = sources.open_source("trashnet", manual_dir=flags.manual_dir)
    split = source.splits["train"]
    with tempfile.TemporaryDirectory() as place:
        folder, large_folder = pathlib.Path(place) / "photos", pathlib.Path(place) / "large"
        write_folder(split, source.labels, folder)
        write_large(split, source.labels, large_folder)
        compare(split, folder, flags.seconds, flags.rounds, flags.torch)
        compare_large(large_folder, flags.seconds, flags.rounds)


if __name__ == "__main__":
    main()

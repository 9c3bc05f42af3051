"""Pictures a second of this package's input pipeline, beside what a Keras user would write today.

    python benchmarks/input_pipeline.py --manual_dir=FOLDER_OF_TRASHNET

Every variant runs for some seconds, five times in turn; medians of the ratios of neighbouring runs, so that
what else the machine does falls on all alike. TrashNet's training split (512 x 384), batch 32, 224 px, and
JPEGs of 12 megapixels that the program makes itself.
"""

import argparse
import os
import pathlib
import statistics
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

from recycle_tf.data import augment, cache, decode, pipeline, sources

SIZE, BATCH = 224, 32
AUTOTUNE = tf.data.AUTOTUNE


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
    """The usual four."""
    return [
        keras.layers.RandomFlip("horizontal_and_vertical"),
        keras.layers.RandomRotation(0.1),
        keras.layers.RandomZoom(0.2),
        keras.layers.RandomContrast(0.2),
    ]


def tfds_and_keras_cv(split):
    """A prepared data set, decoded and resized, then keras-cv's RandAugment."""
    layer = keras_cv.layers.RandAugment(value_range=(0, 255))

    def read(example):
        image = tf.io.decode_jpeg(example["image"], channels=3)
        return {"images": tf.image.resize(image, (SIZE, SIZE)), "labels": tf.one_hot(example["label"], 6)}

    dataset = encoded(split).map(read, num_parallel_calls=AUTOTUNE).batch(BATCH, drop_remainder=True)
    return dataset.map(lambda x: layer(x, training=True), num_parallel_calls=AUTOTUNE).prefetch(AUTOTUNE)


def encoded(split):
    """Encoded pictures and labels, shuffled, as `tfds.load` gives them with `SkipDecoding`."""
    labels = tf.constant(split.labels)
    dataset = tf.data.Dataset.range(len(split)).shuffle(len(split))
    return dataset.map(lambda i: {"image": split.encoded(i), "label": labels[i]}, num_parallel_calls=AUTOTUNE)


def pytorch(folder):
    """A DataLoader with two workers, Pillow and torchvision's usual transforms; None without them."""
    try:
        import torch
        from torchvision import datasets, transforms
    except ImportError:
        return None
    usual = [
        transforms.RandomResizedCrop(SIZE),
        transforms.RandomHorizontalFlip(),
        transforms.TrivialAugmentWide(),
    ]
    data = datasets.ImageFolder(folder, transforms.Compose([*usual, transforms.ToTensor()]))
    return torch.utils.data.DataLoader(data, BATCH, shuffle=True, num_workers=2, drop_last=True)


def decoding(split):
    """Nothing but reading and decoding at full size."""
    dataset = tf.data.Dataset.range(len(split))
    dataset = dataset.map(
        lambda i: tf.io.decode_jpeg(split.encoded(i), channels=3), num_parallel_calls=AUTOTUNE
    )
    return dataset.prefetch(64)


def working(split):
    """What fills the cache: decoded, upright, at working size."""
    side = round(pipeline.WORKING_SCALE * SIZE)
    dataset = tf.data.Dataset.range(len(split))
    dataset = dataset.map(
        lambda i: decode.decode_quickly(split.encoded(i), side), num_parallel_calls=AUTOTUNE
    )
    return dataset.prefetch(64)


def crop_and_resize(pictures):
    """`tf.image.crop_and_resize` alone, a random box of each picture from memory."""

    def crop(indices):
        box = tf.random.stateless_uniform((BATCH, 2), tf.stack([0, indices[0]]), 0.0, 0.3)
        boxes = tf.concat([box, box + 0.7], axis=1)
        return tf.image.crop_and_resize(tf.gather(pictures, indices), boxes, tf.range(BATCH), (SIZE, SIZE))

    dataset = tf.data.Dataset.range(len(pictures)).batch(BATCH, drop_remainder=True)
    return dataset.map(crop, num_parallel_calls=AUTOTUNE).prefetch(AUTOTUNE)


def ours(split, policy, place, mix="none"):
    """`recycle_tf`'s training batches, without end."""
    return pipeline.build_training(
        split, 6, SIZE, BATCH, augment=policy, mix=mix, epochs=1_000_000, cache=place
    )


def rate(dataset, seconds):
    """Pictures a second, after two elements that build what is needed; from the start again at the end."""
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
    """Runs all in turn and prints pictures a second and the ratios to the variants named in `columns`."""
    rates = {name: [] for name in variants}
    for _ in tqdm(range(rounds), "rounds", disable=None):
        for name, dataset in variants.items():
            rates[name].append(rate(dataset, seconds))
    print("| variant | pictures a second | " + " | ".join(f"to ({column[1]})" for column in columns) + " |")
    print("| --- |" + " --- |" * (1 + len(columns)))
    for name, found in rates.items():
        ratios = [
            statistics.median(a / b for a, b in zip(found, rates[column], strict=True)) for column in columns
        ]
        print(
            f"| {name} | {statistics.median(found):,.0f} | " + " | ".join(f"{r:.2f}" for r in ratios) + " |"
        )
    print(flush=True)


def write_folder(split, labels, folder, limit=None):
    """The split's files as a folder a class, for those who read folders."""
    for index in range(len(split))[:limit]:
        place = folder / labels[split.labels[index]]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{index}.jpg").write_bytes(split.encoded(tf.constant(index, tf.int64)).numpy())


def write_large(split, labels, folder, number=48):
    """Some of the pictures as a telephone would give them: 4000 x 3000."""
    # Of each class as many.
    chosen = pipeline.class_balanced(split, number, seed=0)
    for index in [split.ids.index(example) for example in chosen.ids]:
        place = folder / labels[split.labels[index]]
        place.mkdir(parents=True, exist_ok=True)
        pixels = decode.decode_pixels(split.encoded(tf.constant(index, tf.int64))).numpy()
        picture = Image.fromarray(pixels).resize((4000, 3000), Image.Resampling.BICUBIC)
        grain = np.random.default_rng(index).normal(0, 4, (3000, 4000, 1))
        pixels = np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(place / f"{index}.jpg", quality=90)


def main():
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--manual_dir", help="folder with TrashNet's files")
    parser.add_argument("--seconds", type=float, default=2.5)
    parser.add_argument("--rounds", type=int, default=5)
    flags = parser.parse_args()

    source = sources.open_source("trashnet", manual_dir=flags.manual_dir)
    split = source.splits["train"]
    with tempfile.TemporaryDirectory() as place:
        folder, large_folder = pathlib.Path(place) / "photos", pathlib.Path(place) / "large"
        write_folder(split, source.labels, folder)
        write_large(split, source.labels, large_folder)

        before = psutil.Process().memory_info().rss
        side = round(pipeline.WORKING_SCALE * SIZE)
        free = psutil.virtual_memory().available
        one, many = cache.reader(split, side, "stretch", "memory", decode.decode_quickly)
        used = psutil.Process().memory_info().rss - before
        budget = free * cache.MEMORY_SHARE
        print(
            f"memory: {len(split) * side * side * 3 / 1e9:.2f} GB of pictures, {used / 1e9:.2f} GB taken, "
            f"twice {budget / 1e9:.2f} GB allowed\n"
        )
        a, b = "(a) folder + Flip, Rotation, Zoom, Contrast", "(b) folder + Keras' RandAugment"
        c, e = "(c) TFDS + keras-cv's RandAugment", "(e) decoding alone"
        f = "(f) crop_and_resize alone, from memory"
        variants = {
            a: from_directory(folder, four_layers()),
            b: from_directory(folder, [keras.layers.RandAugment((0, 255))]),
            c: tfds_and_keras_cv(split),
            "(d) PyTorch's DataLoader, Pillow, TrivialAugment": pytorch(folder),
            e: decoding(split),
            f: crop_and_resize(many(tf.range(len(split)))),
            "ours, filling the cache": working(split),
            "ours, trivial, no cache": ours(split, "trivial", "off"),
            **{f"ours, {name}": ours(split, name, "memory") for name in augment.policies()},
            "ours, trivial and both mixes": ours(split, "trivial", "memory", mix="both"),
        }
        table(
            {name: dataset for name, dataset in variants.items() if dataset is not None},
            flags.seconds,
            flags.rounds,
            (a, b, c, e, f),
        )

        large = sources.open_source(str(large_folder)).splits["train"]
        variants = {
            a: from_directory(large_folder, four_layers()),
            e: decoding(large),
            "ours, filling the cache": working(large),
            "ours, trivial, no cache": pipeline.build_training(
                large, 6, SIZE, 8, augment="trivial", epochs=1_000_000, cache="off"
            ),
        }
        print("12 megapixels\n")
        table(variants, 2 * flags.seconds, flags.rounds, (a, e))


if __name__ == "__main__":
    main()

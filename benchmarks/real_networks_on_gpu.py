"""Trains the networks of `benchmarks/real_networks.py` on a GPU that only JAX can use.

    python benchmarks/real_networks_on_gpu.py pack --manual_dir=TRASHNET --weights=WEIGHTS --folder=PACK
    KERAS_BACKEND=jax python benchmarks/real_networks_on_gpu.py train --folder=PACK --arch=resnet18
    python benchmarks/real_networks_on_gpu.py unpack --manual_dir=TRASHNET --folder=PACK --runs=RUNS

Networks build on every backend of Keras, but `train.py` needs TensorFlow, and TensorFlow's packages do not
fit every GPU's driver. `pack` writes the images and initial weights that training needs into one folder,
`train` needs nothing else but Keras and JAX, and `unpack` makes ordinary run folders from the weights that
`train` leaves: one step of `train.py` at a learning rate of 1e-9, then calibration and report.
"""

import argparse
import io
import pathlib
import subprocess
import sys
import time

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

CLASSES = 6
SIDE, SIZE = 200, 160
"""Sides of the packed images and of the crops that are trained on, in pixels."""
BATCH = 64
SCRATCH = {"epochs": 80, "rate": 2e-3}
FINETUNED = {"epochs": 24, "rate": 5e-4}
NETWORKS = {
    "efficientnet_lite0": ({}, FINETUNED),
    "resnet18": ({"filters": 32}, SCRATCH),
    "efficientnet_lite1": ({}, FINETUNED),
    "efficientnet_lite2": ({}, FINETUNED),
    "efficientnet_b0": ({}, SCRATCH),
    "densenet121": ({}, SCRATCH),
    "se_resnet18": ({"filters": 32}, SCRATCH),
    "vgg11_bn": ({"filters": (32, 64, 128, 256, 256), "units": 256}, SCRATCH),
    "deformable_resnet50": ({"filters": 32}, SCRATCH),
}
"""Architecture -> overrides, and how it is trained. Fine-tuned ones start from published weights."""
LARGEST = 15_000_000
"""Bytes of a file of weights; more are divided."""


def pack(flags):
    """Writes images as JPEG, labels and initial weights."""
    from recycle_tf import cli

    cli.import_tensorflow()
    from recycle_tf import create_model
    from recycle_tf.data import cache, sources

    flags.folder.mkdir(parents=True, exist_ok=True)
    source = sources.open_source("trashnet", manual_dir=flags.manual_dir, data_dir=flags.data_dir)
    for name, side in (("train", SIDE), ("validation", SIZE)):
        split = source.splits[name]
        jpegs = []
        for image in cache.decode_all(split, side, "stretch"):
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "JPEG", quality=93)
            jpegs.append(buffer.getvalue())
        lengths = np.array([len(one) for one in jpegs])
        np.savez(
            flags.folder / f"{name}.npz",
            bytes=np.frombuffer(b"".join(jpegs), np.uint8),
            lengths=lengths,
            labels=split.labels,
        )
    for arch, (overrides, settings) in NETWORKS.items():
        if settings is FINETUNED:
            model = create_model(arch, CLASSES, SIZE, flags.weights / f"{arch}.safetensors", **overrides)
            save(flags.folder / f"{arch}_initial", model, np.float16)


def save(path, model, kind=np.float32):
    """Writes weights and the normalization of pixels into files of limited size."""
    layer = model.get_layer("preprocess")
    arrays = [np.float32(layer.scale), np.float32(layer.offset), *model.get_weights()]
    parts, size = [[]], 0
    for array in arrays:
        array = np.asarray(array, kind if array.dtype == np.float32 else array.dtype)
        size += array.nbytes
        if size > LARGEST:
            parts, size = [*parts, []], array.nbytes
        parts[-1].append(array)
    for number, part in enumerate(parts):
        np.savez(f"{path}_{number}.npz", **{f"{index:04d}": array for index, array in enumerate(part)})


def load(path, model):
    """Reads what `save` wrote into a model."""
    arrays = []
    for part in sorted(path.parent.glob(f"{path.name}_[0-9].npz")):
        with np.load(part) as values:
            arrays += [values[name] for name in sorted(values)]
    scale, offset, *weights = arrays
    model.get_layer("preprocess").scale = np.float32(scale)
    model.get_layer("preprocess").offset = np.float32(offset)
    model.set_weights(weights)


def read(path):
    """Images uint8 and labels of a split that was packed."""
    with np.load(path) as values:
        ends = np.cumsum(values["lengths"])
        data, labels = values["bytes"].tobytes(), values["labels"]
    starts = [0, *ends[:-1]]
    images = [Image.open(io.BytesIO(data[a:b])) for a, b in zip(starts, ends, strict=True)]
    return np.stack([np.asarray(image.convert("RGB")) for image in images]), labels


def batches(images, labels, rng):
    """Endless batches: crops in one of eight orientations; three of four are mixed (MixUp, CutMix)."""
    hot = np.eye(CLASSES, dtype=np.float32)[labels]
    while True:
        order = rng.permutation(len(images))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            x = np.empty((BATCH, SIZE, SIZE, 3), np.float32)
            for place, index in enumerate(chosen):
                top, left = rng.integers(0, SIDE - SIZE + 1, 2)
                one = images[index, top : top + SIZE, left : left + SIZE]
                one = np.rot90(one, rng.integers(4))
                x[place] = one[:, ::-1] if rng.integers(2) else one
            x = np.clip(x * rng.uniform(0.7, 1.3, (BATCH, 1, 1, 1)).astype(np.float32), 0, 255)
            y, share = hot[chosen], np.float32(rng.uniform())
            if rng.integers(2):
                x, y = share * x + (1 - share) * x[::-1], share * y + (1 - share) * y[::-1]
            elif rng.integers(2):
                side = int(SIZE * np.sqrt(1 - share))
                top, left = rng.integers(0, SIZE - side + 1, 2)
                x[:, top : top + side, left : left + side] = x[::-1, top : top + side, left : left + side]
                own = np.float32(1 - (side / SIZE) ** 2)
                y = own * y + (1 - own) * y[::-1]
            yield x, 0.9 * y + 0.1 / CLASSES


def train(flags):
    """Trains one network until its last epoch or the limit of time."""
    import keras

    from recycle_tf import create_model

    overrides, settings = NETWORKS[flags.arch]
    keras.utils.set_random_seed(0)
    started, rng = time.monotonic(), np.random.default_rng(0)
    images, labels = read(flags.folder / "train.npz")
    model = create_model(flags.arch, CLASSES, SIZE, **overrides)
    finetuned = settings is FINETUNED
    if finetuned:
        load(flags.folder / f"{flags.arch}_initial", model)
        for layer in model.layers:
            # The statistics of the published weights stay, as with the recipe `finetune`.
            layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    optimizer = keras.optimizers.AdamW(settings["rate"], weight_decay=0.05)
    model.compile(optimizer, keras.losses.CategoricalCrossentropy(from_logits=True))
    steps = settings["epochs"] * (len(images) // BATCH)
    total, first = 0.0, None
    for step, (x, y) in enumerate(batches(images, labels, rng)):
        if step == 1:
            first = time.monotonic()  # compiled
        elapsed = (time.monotonic() - started) / flags.seconds
        done = max(step / steps, elapsed)
        if done >= 1:
            break
        optimizer.learning_rate = (
            settings["rate"] * min(1, (step + 1) / 100) * 0.5 * (1 + np.cos(np.pi * done))
        )
        total += float(model.train_on_batch(x, y))
        if step % 100 == 99:
            rate = (time.monotonic() - first) / step
            print(
                f"{flags.arch} step {step + 1} of {steps}: loss {total / 100:.3f}, {rate:.3f} s", flush=True
            )
            total = 0.0
    flags.out.mkdir(parents=True, exist_ok=True)
    save(flags.out / flags.arch, model)
    images, labels = read(flags.folder / "validation.npz")
    found = model.predict(np.float32(images), batch_size=BATCH, verbose=0).argmax(axis=1)
    seconds = time.monotonic() - started
    print(f"{flags.arch}: validation {np.mean(found == labels):.4f} after {seconds:.0f} s, {step} steps")


def unpack(flags):
    """Makes run folders from the weights in `out`."""
    from recycle_tf import cli

    cli.import_tensorflow()
    from recycle_tf import create_model

    for first in sorted(flags.out.glob("*_0.npz")):
        arch = first.name.removesuffix("_0.npz")
        overrides, _ = NETWORKS[arch]
        model = create_model(arch, CLASSES, SIZE, **overrides)
        load(flags.out / arch, model)
        file = flags.out / f"{arch}.keras"
        model.save(file)
        line = [sys.executable, str(ROOT / "train.py"), f"--arch={arch}", "--dataset=trashnet"]
        line += [f"--weights={file}", f"--image_size={SIZE}", f"--manual_dir={flags.manual_dir}"]
        line += [f"--data_dir={flags.data_dir}"] if flags.data_dir else []
        text = ",".join(f"{name}={value}" for name, value in overrides.items()).replace(" ", "")
        line += [f"--overrides={text}", f"--run_dir={flags.runs / arch}"]
        line += ["--epochs=1steps", "--learning_rate=1e-9", "--weight_decay=0", "--freeze_norms"]
        subprocess.run(line, check=True)


def main():
    """Runs one of the three parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("pack", "train", "unpack"))
    parser.add_argument("--folder", type=pathlib.Path, default="pack", help="what `pack` writes")
    parser.add_argument("--out", type=pathlib.Path, default="trained", help="what `train` writes")
    parser.add_argument("--runs", type=pathlib.Path, default="runs")
    parser.add_argument("--manual_dir", help="folder of TrashNet's archive")
    parser.add_argument("--data_dir", help="where TensorFlow Datasets keeps the prepared data")
    parser.add_argument("--weights", type=pathlib.Path, help="folder of published weights")
    parser.add_argument("--arch", choices=NETWORKS)
    parser.add_argument("--seconds", type=float, default=400, help="when training ends at the latest")
    flags = parser.parse_args()
    {"pack": pack, "train": train, "unpack": unpack}[flags.part](flags)


if __name__ == "__main__":
    main()

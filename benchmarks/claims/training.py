"""What the claims are measured on: runs of train.py, and a folder with some of the images of CIFAR-10."""

import pathlib
import subprocess
import sys
import zipfile

import numpy as np

from recycle_tf import runs

RECIPE = "paper"
"""Of `train_on_cifar`."""

ROOT = pathlib.Path(__file__).resolve().parents[2]


def train(folder, *flags):
    """Trains a run, unless it is complete; an interrupted one is resumed.

    Args:
        folder: of the run.
        *flags: of `train.py`.

    Returns:
        A `runs.Run`.

    Raises:
        SystemExit: the training failed; it has printed why.
    """
    # In float32 on every machine: `auto` measures, and what it measures must not decide a claim.
    line = [sys.executable, str(ROOT / "train.py"), f"--run_dir={folder}", "--mixed_precision=off", *flags]
    status = subprocess.run(line, check=False).returncode
    if status:
        sys.exit(status)
    return runs.open_run(folder)


def train_on_cifar(images, folder, arch, epochs, seed):
    """Trains a network of the CIFAR tables as its paper does, for fewer epochs; see `train`.

    Args:
        images: folder of `choose_images`.
        folder: of the run.
        arch: name of the architecture.
        epochs: number of epochs.
        seed: of the run.

    Returns:
        A `runs.Run`.
    """
    length = (f"--epochs={epochs}", "--warmup=1", f"--seed={seed}")
    return train(
        folder, f"--arch={arch}", f"--dataset={images}", "--image_size=32", f"--recipe={RECIPE}", *length
    )


def place(values):
    """The flags of `train.py` that say where a dataset is, those of them that were given.

    Args:
        values: of the program's flags, with `manual_dir` and `data_dir`.
    """
    given = {name: getattr(values, name) for name in ("manual_dir", "data_dir")}
    return [f"--{name}={value}" for name, value in given.items() if value]


def labels(finished):
    """Labels of a run's training images, as indices."""
    from recycle_tf.evaluation import datasets

    return datasets.open_source(finished).splits["train"].labels


def choose_images(source, per_class, folder):
    """Copies the first images of each class, by name, unless that was done before.

    Args:
        source: zip archive or folder with `train/CLASS/*.jpg` and `test/CLASS/*.jpg`.
        per_class: number of images of each class in `train/`, of which `train.py` keeps 15 % for validation;
            half as many in `test/`, or all that there are.
        folder: for the copies, as `--dataset` takes it.

    Raises:
        SystemExit: the source does not look like that.
    """
    if folder.exists():
        return
    source = pathlib.Path(source).expanduser()
    root = zipfile.Path(source) if source.is_file() else source
    unfinished = folder.with_name(f"{folder.name}.part")
    for split, count in (("train", per_class), ("test", per_class // 2)):
        if not (root / split).is_dir():
            sys.exit(f"error: {source}: no {split}/; expected train/CLASS/*.jpg and test/CLASS/*.jpg")
        for label in (root / split).iterdir():
            copies = unfinished / split / label.name
            copies.mkdir(parents=True, exist_ok=True)
            for file in sorted(label.iterdir(), key=lambda one: one.name)[:count]:
                (copies / file.name).write_bytes(file.read_bytes())
    unfinished.rename(folder)


def batch(folder, names, examples):
    """Images in `train/` of `choose_images`, the same at every call.

    Args:
        folder: of the copies.
        names: of the classes, in index order.
        examples: number of images.

    Returns:
        float32 `[examples, height, width, 3]`, 0..255, and labels, `[examples]`.
    """
    import keras

    files = sorted((folder / "train").glob("*/*"))
    chosen = [files[index] for index in np.random.default_rng(0).permutation(len(files))[:examples]]
    images = [keras.utils.img_to_array(keras.utils.load_img(file)) for file in chosen]
    return np.stack(images), np.array([names.index(file.parent.name) for file in chosen])

"""How far a trained network's answers move when a phone shrinks pictures in another way than training did.

    python benchmarks/resizes.py --run=runs/trashnet

Each line is a way in which the runtimes of phones and browsers shrink a bitmap; the network is the run's own.
"""

import argparse
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
from PIL import Image
from tqdm import tqdm

from recycle_tf import runs
from recycle_tf.data import decode
from recycle_tf.evaluation import datasets, metrics


def pillow(method):
    """Pillow's filters cover as many pixels as are shrunk into one."""
    return lambda pixels, size: np.asarray(Image.fromarray(pixels).resize((size, size), method))


def tensorflow(method, antialias=False):
    """TensorFlow's; without antialiasing two by two pixels are looked at, however many there are."""

    def resize(pixels, size):
        found = tf.image.resize(pixels, (size, size), method, antialias=antialias)
        return tf.saturate_cast(tf.round(found), tf.uint8).numpy()

    return resize


WAYS = {
    "bilinear, antialiased: training, export, golden files": tensorflow("bilinear", antialias=True),
    "the same of Pillow": pillow(Image.Resampling.BILINEAR),
    "bilinear, 2x2 pixels: Android's createScaledBitmap, OpenCV's INTER_LINEAR": tensorflow("bilinear"),
    "nearest pixel: a fast canvas": tensorflow("nearest"),
    "mean of the area: OpenCV's INTER_AREA": tensorflow("area"),
    "bicubic, antialiased: a smooth canvas": pillow(Image.Resampling.BICUBIC),
    "Lanczos: Core Graphics, vImage": pillow(Image.Resampling.LANCZOS),
}


def main():
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", required=True)
    parser.add_argument("--manual_dir")
    flags = parser.parse_args()

    run = runs.open_run(flags.run)
    model, size = run.load_model(), run.load_model().input_shape[1]
    test = datasets.open_source(run, manual_dir=flags.manual_dir).splits["test"]
    pictures = [
        decode.decode_pixels(test.encoded(tf.constant(i, tf.int64))).numpy() for i in range(len(test))
    ]
    print("| resized by | accuracy | same answer | largest and mean difference of a probability |")
    print("| --- | --- | --- | --- |")
    first = None
    for name, resize in tqdm(WAYS.items(), "resizes", disable=None):
        images = np.stack([resize(picture, size) for picture in pictures])
        logits = model.predict(images.astype(np.float32), verbose=0)
        found = tf.nn.softmax(logits).numpy()
        first = found if first is None else first
        summary = metrics.summarise(found, test.labels, run.labels)
        same = (found.argmax(1) == first.argmax(1)).mean()
        gap = np.abs(found - first)
        print(f"| {name} | {summary['accuracy']:.4f} | {same:.4f} | {gap.max():.2f}, {gap.mean():.4f} |")


if __name__ == "__main__":
    main()

"""How much a trained network's answers change if a phone resizes images differently from training.

    python benchmarks/resizes.py --run=runs/trashnet

Each row is a way in which runtimes of phones and browsers shrink an image. The network is that of the run,
without its calibration.
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
    """A filter of Pillow: antialiased, it covers all pixels that one output pixel represents."""
    return lambda pixels, size: np.asarray(Image.fromarray(pixels).resize((size, size), method))


def tensorflow(method, antialias=False):
    """A filter of TensorFlow; without antialiasing it reads 2x2 pixels, however much it shrinks."""

    def resize(pixels, size):
        resized = tf.image.resize(pixels, (size, size), method, antialias=antialias)
        return tf.saturate_cast(tf.round(resized), tf.uint8).numpy()

    return resize


RESIZES = {
    "bilinear, antialiased: training, export, golden files": tensorflow("bilinear", antialias=True),
    "the same in Pillow": pillow(Image.Resampling.BILINEAR),
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
    model = run.load_model()
    test = datasets.open_source(run, manual_dir=flags.manual_dir).splits["test"]
    images = [decode.decode_pixels(test.encoded(tf.constant(i, tf.int64))).numpy() for i in range(len(test))]
    print("| resized by | accuracy | same answer | largest and mean difference of a probability |")
    print("| --- | --- | --- | --- |")
    first = None
    for name, resize in tqdm(RESIZES.items(), "resizes", disable=None):
        resized = np.stack([resize(image, model.input_shape[1]) for image in images])
        found = tf.nn.softmax(model.predict(resized.astype(np.float32), verbose=0)).numpy()
        first = found if first is None else first
        accuracy = metrics.summarise(found, test.labels, run.labels)["accuracy"]
        same = (found.argmax(1) == first.argmax(1)).mean()
        gap = np.abs(found - first)
        print(f"| {name} | {accuracy:.4f} | {same:.4f} | {gap.max():.2f}, {gap.mean():.4f} |")


if __name__ == "__main__":
    main()

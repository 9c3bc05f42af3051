"""Weights and an image that can be generated anywhere from NumPy, a tensor's name and its shape.

`make_torch_golden.py` loads them into the networks of torchvision and timm, `test_torch_weights.py` into
ours.
"""

import gzip
import json
import pathlib
import zlib

import numpy as np

GOLDEN = pathlib.Path(__file__).parent / "torch_golden.json.gz"
LOGITS = 16
"""Number of logits, of 1,000, that the golden file contains, besides the norm of all."""

# Height and width of the image in pixels: small, except for AlexNet, which has a fixed size. At 120 pixels,
# GoogLeNet pools feature maps of even and of odd size, with both of its window sizes.
SIZES = {
    **{f"resnet{n}": 64 for n in (18, 34, 50, 101, 152)},
    "se_resnet50": 64,
    **{f"densenet{n}": 64 for n in (121, 161, 169, 201)},
    **{f"efficientnet_lite{n}": 96 for n in range(5)},
    "alexnet_one_tower": 224,
    "googlenet_bn_3x3": 120,
}


def tensor(name, shape):
    """Random values for a tensor of a state dict.

    They keep activations near 1, so that every tensor affects the logits, and variances so small that
    epsilons do.
    """
    rng = np.random.default_rng([zlib.crc32(name.encode()), *shape])
    leaf = name.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return np.array(100)
    if leaf == "running_var":
        values = rng.uniform(0.005, 0.015, shape)
    elif leaf in ("running_mean", "bias"):
        values = rng.normal(0, 0.2, shape)
    elif len(shape) == 1:
        # A residual branch is smaller than what it is added to; otherwise the sum would grow with the depth.
        values = rng.uniform(0.8, 1.2, shape) * (0.07 if "layer" in name else 0.1)
    else:
        values = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
    return values.astype(np.float32)


def image(size):
    """Random RGB image, 0..255, `[1, size, size, 3]`."""
    return np.random.default_rng(size).uniform(0, 255, (1, size, size, 3)).astype(np.float32)


def read():
    """Returns `{arch: {"tensors": {name: shape}, "logits": the first ones, "norm": norm of all}}`."""
    return json.loads(gzip.decompress(GOLDEN.read_bytes()))


def write(golden):
    """Writes the golden file; the same content gives the same bytes."""
    text = json.dumps(golden, separators=(",", ":"), sort_keys=True)
    GOLDEN.write_bytes(gzip.compress(text.encode(), mtime=0))

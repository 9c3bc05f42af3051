"""Weights and a picture that can be made again anywhere, from NumPy and a tensor's name and shape.

What `make_torch_golden.py` gives to torchvision's and timm's networks, and `test_torch_weights.py` to ours.
"""

import gzip
import json
import pathlib
import zlib

import numpy as np

GOLDEN = pathlib.Path(__file__).parent / "torch_golden.json.gz"
LOGITS = 16
"""How many of the 1,000 are kept, beside the norm of all."""

# Side of the picture in pixels: small, but for AlexNet, which has one size. At 120 GoogLeNet pools maps of
# even and of odd size, with both of its windows.
SIZES = {
    **{f"resnet{n}": 64 for n in (18, 34, 50, 101, 152)},
    "se_resnet50": 64,
    **{f"densenet{n}": 64 for n in (121, 161, 169, 201)},
    "efficientnet_lite0": 96,
    "alexnet_one_tower": 224,
    "googlenet_bn_3x3": 120,
}


def tensor(name, shape):
    """Random values for a tensor of a state dict.

    Activations stay near 1, so that everything shows in the logits. Variances are small enough for epsilons
    to show.
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
        # A residual branch adds less than there is, or depth would blow up the sum.
        values = rng.uniform(0.8, 1.2, shape) * (0.07 if "layer" in name else 0.1)
    else:
        values = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
    return values.astype(np.float32)


def picture(size):
    """RGB, 0..255, `[1, size, size, 3]`."""
    return np.random.default_rng(size).uniform(0, 255, (1, size, size, 3)).astype(np.float32)


def read():
    """`{arch: {"tensors": {name: shape}, "logits": the first ones, "norm": of all}}`."""
    return json.loads(gzip.decompress(GOLDEN.read_bytes()))


def write(golden):
    """Writes what `read` reads; the same bytes for the same content."""
    text = json.dumps(golden, separators=(",", ":"), sort_keys=True)
    GOLDEN.write_bytes(gzip.compress(text.encode(), mtime=0))

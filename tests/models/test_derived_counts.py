"""Golden numbers that are not published, computed by hand from published ones."""

import json
import pathlib

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden.json").read_text())


def trainable(arch):
    return GOLDEN[arch]["trainable"]


def test_offsets_of_deformable_convolutions():
    """A 3x3 convolution with bias to 18 channels, or 27 with modulation, per deformable convolution."""
    assert trainable("deformable_resnet50") == trainable("resnet50") + 3 * (9 * 512 * 18 + 18)
    modulated = 4 * (9 * 128 * 27 + 27) + 6 * (9 * 256 * 27 + 27) + 3 * (9 * 512 * 27 + 27)
    assert trainable("deformable_resnet50_v2") == trainable("resnet50") + modulated


def test_vgg_with_norms():
    """Two trainable parameters per filter, and two moving statistics."""
    filters = {"vgg11": 64 + 128 + 2 * 256 + 4 * 512, "vgg13": 2 * (64 + 128 + 256 + 512 + 512)}
    for arch, count in filters.items():
        assert trainable(f"{arch}_bn") == trainable(arch) + 2 * count
        assert GOLDEN[f"{arch}_bn"]["non_trainable"] == 2 * count


def test_squeeze_excite_of_se_googlenet():
    """C to C / 16 channels and back, with biases, after each module."""
    widths = (256, 480, 512, 512, 512, 528, 832, 832, 1024)
    gates = sum(2 * c * (c // 16) + c // 16 + c for c in widths)
    assert trainable("se_googlenet_bn") == trainable("googlenet_bn") + gates


def test_norms_of_preact_resnets():
    """The convolutions of ResNet, norms before them (the first in the stem), and a norm at the end."""
    convs = 11_689_512 - 9_600
    # Two norms per block, the first with the channels of the input.
    norms = 2 * (64 * 4 + (64 + 128) + 128 * 2 + (128 + 256) + 256 * 2 + (256 + 512) + 512 * 2 + 512)
    assert trainable("preact_resnet18") == convs + norms
    convs = 25_557_032 - 53_120
    first = (64 + 2 * 256) + (256 + 3 * 512) + (512 + 5 * 1024) + (1024 + 2 * 2048) + 2048
    inside = 2 * (3 * 64 + 4 * 128 + 6 * 256 + 3 * 512)
    assert trainable("preact_resnet50") == convs + 2 * (first + inside)


def test_highway_networks():
    """Two 3x3 with biases per gated layer, one where the shape changes, the stem, and the logits."""

    def count(per_stage):
        gated = sum(
            n * 2 * (9 * c * c + c) for n, c in ((per_stage, 16), (per_stage - 1, 32), (per_stage - 1, 64))
        )
        changing = sum(9 * (c // 2) * c + c for c in (32, 64))
        return (27 * 16 + 16) + gated + changing + 64 * 10 + 10

    assert trainable("highway20") == count(6)
    assert trainable("highway56") == count(18)


def test_fractal_networks():
    """C columns: C convolutions read the block's input, 2^C - 1 - C the block's own feature maps."""

    def count(columns):
        total, before = 512 * 10 + 10, 3
        for filters in (64, 128, 256, 512, 512):
            convs = 2**columns - 1
            total += (
                9 * before * filters * columns
                + 9 * filters * filters * (convs - columns)
                + 2 * filters * convs
            )
            before = filters
        return total

    assert trainable("fractalnet20") == count(3)
    assert trainable("fractalnet40") == count(4)

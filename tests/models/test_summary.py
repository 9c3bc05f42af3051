"""Counts of all architectures against published ones, and stage tables against those of the papers."""

import json
import pathlib

import pytest

from recycle_tf.models import describe, list_models
from recycle_tf.models.registry import find
from recycle_tf.models.summary import stages

# Published counts with 1,000 classes: the table of applications on keras.io, the metadata of torchvision and
# timm, and the tables of the papers. GMACs with the digits given there.
GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden.json").read_text())


def test_every_architecture_has_golden_numbers():
    assert set(list_models()) == set(GOLDEN)


@pytest.mark.parametrize("arch", list_models())
def test_golden_numbers(arch):
    expected = GOLDEN[arch]
    result = describe(arch, expected.get("num_classes", 1000))
    assert (result.trainable, result.non_trainable) == (expected["trainable"], expected["non_trainable"])
    digits = len(str(expected["gmacs"]).partition(".")[2])
    assert abs(result.macs / 1e9 - expected["gmacs"]) <= 0.6 * 10**-digits


@pytest.mark.parametrize(
    ("arch", "source"),
    [
        ("alexnet", "NIPS 2012"),
        ("alexnet_one_tower", "arXiv 1404.5997"),
        ("deformable_resnet50", "arXiv 1703.06211"),
        ("deformable_resnet50_v2", "arXiv 1811.11168"),
        ("se_googlenet_bn", "arXiv 1709.01507"),
    ],
)
def test_rows_of_one_family_can_have_different_papers(arch, source):
    assert find(arch).paper.source == source


def test_describe_applies_overrides():
    assert describe("resnet18", filters=32).trainable < describe("resnet18").trainable / 3


def test_resnet50_is_table_1():
    table = {stage.name: stage for stage in stages("resnet50")}
    assert [stage.blocks for stage in table.values()] == [0, 3, 4, 6, 3, 0]
    assert table["stem"].convs == ("7x7 64 /2",)
    assert table["stem"].output_shape == (56, 56, 64)
    assert table["stage2"].output_shape == (28, 28, 512)
    assert table["stage2"].convs == ("1x1 128", "3x3 128", "1x1 512")
    assert table["head"].output_shape == (1000,)
    assert sum(stage.parameters for stage in table.values()) == 25_557_032


def test_efficientnet_b0_is_table_1():
    table = [(s.output_shape, s.blocks) for s in stages("efficientnet_b0") if s.name.startswith("stage")]
    assert table == [
        ((112, 112, 16), 1),
        ((56, 56, 24), 2),
        ((28, 28, 40), 2),
        ((14, 14, 80), 3),
        ((14, 14, 112), 3),
        ((7, 7, 192), 4),
        ((7, 7, 320), 1),
    ]

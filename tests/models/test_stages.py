"""The stage table against the papers' tables."""

from recycle_tf.models.registry import stages


def test_resnet50_is_table_1():
    found = {stage.name: stage for stage in stages("resnet50")}
    assert [s.blocks for s in found.values()] == [0, 3, 4, 6, 3, 0]
    assert found["stem"].convs == ("7x7 64 /2",)
    assert found["stem"].output_shape == (56, 56, 64)
    assert found["stage2"].output_shape == (28, 28, 512)
    assert found["stage2"].convs == ("1x1 128", "3x3 128", "1x1 512")
    assert found["head"].output_shape == (1000,)
    assert sum(s.parameters for s in found.values()) == 25_557_032


def test_efficientnet_b0_is_table_1():
    found = [(s.output_shape, s.blocks) for s in stages("efficientnet_b0") if s.name.startswith("stage")]
    assert found == [
        ((112, 112, 16), 1),
        ((56, 56, 24), 2),
        ((28, 28, 40), 2),
        ((14, 14, 80), 3),
        ((14, 14, 112), 3),
        ((7, 7, 192), 4),
        ((7, 7, 320), 1),
    ]

"""Layers that integers ruin: found, left in float, and named where that does not help."""

import dataclasses

import keras
import numpy as np
import pytest

from recycle_tf import create_model


@pytest.fixture(scope="module")
def ruined():
    """A network, one channel of which is a thousand times as large as those beside it, in one place."""
    keras.utils.set_random_seed(0)
    model = create_model("test_plain", 3, image_size=32)
    norm, conv = model.get_layer("stage2_block1_conv1_norm"), model.get_layer("stage2_block1_conv2")
    scale = np.ones(norm.gamma.shape[0])
    scale[0] = 1000
    norm.gamma.assign(norm.gamma * scale)
    norm.beta.assign(norm.beta + 0.1)
    conv.kernel.assign(conv.kernel / scale[:, None])
    return model


@pytest.fixture
def pictures():
    return np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3)).astype(np.uint8)


def prepare(model, pictures, folder, max_gap):
    """`rescue`'s arguments; the gate is a gap of a probability, because nothing was learned."""
    from export import tflite, verify

    spec = dict.fromkeys(("arch", "run", "input", "output", "resize"), "") | {
        "labels": [],
        "image_size": 32,
        "batch": 1,
    }
    expected = np.array(keras.ops.softmax(model(pictures.astype("float32"))))

    def prove(artifact):
        found = tflite.load(artifact.path)(pictures)
        verdict = verify.judge(
            artifact.format, found, expected, expected.argmax(1), ["a", "b", "c"], max_drop=100
        )
        bad = abs(found - expected).max() > max_gap
        return found, dataclasses.replace(verdict, failure="too far" if bad else None)

    artifact = tflite.export(spec, model, "tflite_int8", folder, pictures)
    return model, pictures, artifact, *prove(artifact), prove


def test_the_ruined_layer_is_left_in_float(ruined, pictures, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    from export import selective_quantization

    arguments = prepare(ruined, pictures, tmp_path, 0.02)
    first, verdict = arguments[2], arguments[4]
    assert verdict.failure == "too far"
    artifact, answers, verdict = selective_quantization.rescue(*arguments)
    assert verdict.failure is None
    assert verdict.max_gap < 0.02
    assert "stage2_block1_conv1_act" in artifact.spec["float_layers"]
    assert len(artifact.spec["float_layers"]) < 6
    assert artifact.bytes > first.bytes
    image = Interpreter(model_path=str(artifact.path)).get_input_details()[0]
    assert (image["dtype"], list(image["shape"])) == (np.uint8, [1, 32, 32, 3])


def test_layers_are_named_where_float_does_not_help(ruined, pictures, tmp_path):
    from export import selective_quantization

    arguments = prepare(ruined, pictures, tmp_path, max_gap=0)
    first = arguments[2].path.read_bytes()
    artifact, answers, verdict = selective_quantization.rescue(*arguments)
    names = list(artifact.spec["worst_layers"])
    # The maps of the one, and the kernel of the next, which is as uneven.
    assert set(names[:2]) == {"stage2_block1_conv1_act", "stage2_block1_act"}
    assert artifact.spec["worst_layers"][names[0]] > 0.1
    assert verdict.failure == f"too far; float for its worst layers does not help: {', '.join(names)}"
    assert artifact.path.read_bytes() == first
    assert answers is arguments[3]

"""Layers that quantization ruins: found, kept in float, and named if that does not help."""

import dataclasses

import keras
import numpy as np
import pytest

from export import gates, int8, selective_quantization, tflite, verify
from recycle_tf import create_model, runs
from recycle_tf.data import cache
from recycle_tf.errors import UserError
from recycle_tf.evaluation import datasets, familiarity, litert
from tests.export.conftest import SPEC, check_error, export, rows_of, succeed


@pytest.fixture(scope="module")
def ruined():
    """A network in which one channel of one layer is a thousand times as large as its other channels."""
    keras.utils.set_random_seed(0)
    model = create_model("test_plain", 3, image_size=32)
    norm, conv = model.get_layer("stage2_block1_conv1_norm"), model.get_layer("stage2_block1_conv2")
    scale = np.ones(norm.gamma.shape[0])
    scale[0] = 1000
    norm.gamma.assign(norm.gamma * scale)
    norm.beta.assign(norm.beta + 0.1)
    conv.kernel.assign(conv.kernel / scale[:, None])
    return model


def prepare(model, images, folder, max_gap):
    """Arguments of `rescue`; the gate is the largest difference, because the network is not trained."""
    expected = np.array(familiarity.probabilities(model(images.astype("float32"))))

    def judge(artifact):
        found = tflite.load(artifact.path)(images)
        verdict = gates.judge(found, expected, expected.argmax(1), ["a", "b", "c"], 100, gates.INTEGER)
        bad = abs(found - expected).max() > max_gap
        return dataclasses.replace(verdict, failure="too far" if bad else None)

    artifact = int8.export(SPEC, model, "tflite_int8", folder, images)
    return model, images, artifact, judge(artifact), judge


def test_the_ruined_layer_is_kept_in_float(ruined, images, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    arguments = prepare(ruined, images, tmp_path, 0.02)
    first, verdict = arguments[2], arguments[3]
    assert verdict.failure == "too far"
    artifact, verdict = selective_quantization.rescue(*arguments)
    assert verdict.failure is None
    assert verdict.max_gap < 0.02
    assert "stage2_block1_conv1_act" in artifact.spec["float_layers"]
    assert len(artifact.spec["float_layers"]) < 6
    assert artifact.bytes > first.bytes
    image = Interpreter(model_path=str(artifact.path)).get_input_details()[0]
    assert (image["dtype"], list(image["shape"])) == (np.uint8, [1, 32, 32, 3])


def test_the_head_stays_in_float(ruined, images, tmp_path):
    """The familiarity divides: by integers that may all be 0, and with their rounding."""
    from ai_edge_litert.interpreter import Interpreter

    channels = ruined.get_layer("pool").output.shape[-1]
    components = np.linalg.qr(np.random.default_rng(0).normal(size=(channels, 2)))[0].astype(np.float32)
    model = familiarity.attach(ruined, familiarity.Familiarity(components, limit=0.5, width=0.05))
    artifact, verdict = selective_quantization.rescue(*prepare(model, images, tmp_path, 0.02))
    assert verdict.failure is None
    assert not set(artifact.spec["float_layers"]) & {"pool", "logits", "familiarity"}
    details = Interpreter(model_path=str(artifact.path)).get_tensor_details()
    head = [one["dtype"] for one in details if "/familiarity" in one["name"] or "/logits" in one["name"]]
    assert np.float32 in head
    assert np.int8 not in head


def test_a_file_that_the_runtime_cannot_run_is_one_line():
    class Interpreter:
        """Divides by 0 in its first operation."""

        def get_input_details(self):
            return [{"index": 0, "shape_signature": np.array([1, 8, 8, 3])}]

        get_output_details = get_input_details

        def set_tensor(self, index, pixels):
            pass

        def invoke(self):
            raise RuntimeError("div.cc:262 was not true.\nNode number 263 failed")

    predict = litert.batch_predictor(Interpreter())
    with pytest.raises(UserError, match=r"cannot run the file: div\.cc:262 was not true\.$"):
        predict(np.zeros((1, 8, 8, 3), np.uint8))


def test_layers_are_named_if_float_does_not_help(ruined, images, tmp_path):
    arguments = prepare(ruined, images, tmp_path, max_gap=0)
    first = arguments[2].path.read_bytes()
    artifact, verdict = selective_quantization.rescue(*arguments)
    names = list(artifact.spec["worst_layers"])
    # The feature maps of the one, and the kernel of the next one, which is as uneven.
    assert set(names[:2]) == {"stage2_block1_conv1_act", "stage2_block1_act"}
    assert artifact.spec["worst_layers"][names[0]] > 0.1
    assert verdict == arguments[3]
    assert artifact.path.read_bytes() == first


@pytest.fixture
def splits_read(copy, monkeypatch):
    """Names of the splits on which files are run, in order."""
    splits = datasets.open_source(runs.open_run(copy)).splits
    known = {name: cache.decode_all(splits[name], 32) for name in ("validation", "test")}
    names, replay = [], verify.replay

    def recorded(predict, images, progress):
        names.extend(name for name, own in known.items() if np.array_equal(own, images))
        return replay(predict, images, progress)

    monkeypatch.setattr(verify, "replay", recorded)
    return names


def test_a_rescue_selects_on_the_validation_split(copy, splits_read, monkeypatch):
    monkeypatch.setitem(gates.MAX_LOGIT_ERROR, gates.INTEGER, 0.0)
    result = export(copy, "--formats=tflite_int8")
    check_error(result, "tflite_int8", "rejected")
    # The file itself and three attempts; then the gate, once.
    assert splits_read == ["validation"] * 4 + ["test"]
    row = rows_of(copy)["tflite_int8"]
    assert row["worst_layers"]
    assert "logits" in row["selection"]["failure"]
    assert f"worst layers in float does not help: {next(iter(row['worst_layers']))}" in result.output


def test_a_choice_selects_on_the_validation_split(copy, splits_read):
    succeed(copy, "--choose", "--formats=tflite_float32,tflite_float16")
    assert splits_read == ["validation", "test"] * 2


def test_other_files_are_only_run_on_the_test_split(copy, splits_read):
    succeed(copy, "--formats=tflite_dynamic", "--max_drop=100")
    assert splits_read == ["test"]

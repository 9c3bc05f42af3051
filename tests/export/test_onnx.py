"""ONNX in ONNX Runtime, and batches of more than one image."""

import importlib.util
import json
import shutil

import keras
import numpy as np
import pytest

from export import artifact, onnx, tflite
from export.formats import FORMATS
from recycle_tf import create_model, list_models, runs
from recycle_tf.data import cache
from recycle_tf.evaluation import datasets, litert
from tests.conftest import require
from tests.export.conftest import SPEC, succeed


@pytest.fixture(scope="module")
def written(mild_run, tmp_path_factory):
    """A run with files for any batch size, verified."""
    require(*onnx.PACKAGES)
    run = shutil.copytree(mild_run, tmp_path_factory.mktemp("onnx") / "run")
    output = succeed(run, "--formats=onnx,tflite_float32", "--batch=dynamic")
    assert "onnx             verified" in output
    assert "tflite_float32   verified" in output
    return run


def test_contract_of_the_file(written):
    import onnxruntime

    session = onnxruntime.InferenceSession(written / "export" / "model.onnx")
    (image,), (probabilities,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.type, image.shape[1:]) == ("pixels", "tensor(uint8)", [32, 32, 3])
    assert (probabilities.name, probabilities.type) == ("probabilities", "tensor(float)")
    assert not isinstance(image.shape[0], int)
    properties = session.get_modelmeta().custom_metadata_map
    beside = json.loads((written / "export" / "spec.json").read_text())
    del beside["files"]
    assert json.loads(properties["spec.json"]) == {"format": "onnx", **beside}
    assert properties["labels.txt"] == "can\njar\ntube\n"
    assert beside["batch"] == "dynamic"
    assert beside["input"] == "uint8 RGB pixels, [dynamic, image_size, image_size, 3]"


def test_golden_probabilities(written):
    run = runs.open_run(written)
    split = datasets.open_source(run).splits["test"]
    found = onnx.load(written / "export" / "model.onnx")(cache.decode_all(split, 32))
    expected = json.loads((written / "export" / "golden" / "expected.json").read_text())
    for row in (row for row in expected if row["label"]):
        gaps = np.abs(found - row["probabilities"]["onnx"]).max(axis=1)
        assert gaps.min() < 1e-5
        assert row["probabilities"]["onnx"] == pytest.approx(row["probabilities"]["keras"], abs=1e-4)


def test_grouped_convolutions_become_towers(tmp_path):
    require(*onnx.PACKAGES)
    import onnx as library

    model = create_model("test_alexnet", 3)
    size = model.input_shape[1]
    spec = {**SPEC, "image_size": size, "labels": ["can", "jar", "tube"], "resize": "stretch"}
    artifact_ = onnx.export(spec, model, "onnx", tmp_path)
    names = [node.op_type for node in library.load(artifact_.path).graph.node]
    groups = [layer.groups for layer in model.layers if hasattr(layer, "groups")]
    assert max(groups) == 2
    assert names.count("Conv") == sum(groups)
    pixels = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    expected = keras.ops.softmax(model(pixels.astype("float32")))
    np.testing.assert_allclose(onnx.load(artifact_.path)(pixels), expected, atol=1e-5)


@pytest.mark.parametrize("format_name", ["onnx", "tflite_float32", "tflite_int8"])
@pytest.mark.parametrize("batch", [1, 4, "dynamic"])
def test_batches(finished_run, tmp_path, images, format_name, batch):
    if format_name == "onnx":
        require(*onnx.PACKAGES)
    run, images = runs.open_run(finished_run), images[:6]
    model, one = run.load_model(), FORMATS[format_name]
    module = one.load_module()
    spec = artifact.make_spec(run, model, batch=batch)
    needed = {"representative_images": images, "trained_ranges": None}
    inputs = {need: needed[need] for need in one.needs}
    path = module.export(spec, model, format_name, tmp_path, **inputs).path
    found = module.load(path)(images)
    atol = {"exact": 1e-4, "half": 1e-2}.get(one.precision, 0.1)
    np.testing.assert_allclose(found, artifact.answer(model, images), atol=atol)
    if module is tflite:
        details = litert.open_interpreter(path).get_input_details()[0]
        assert details["shape_signature"][0] == (-1 if batch == "dynamic" else batch)
        np.testing.assert_allclose(litert.open_predictor(path)(images[0]), found[0], atol=1e-5)


def test_packages_that_are_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name != "onnx" else name)
    reason = onnx.why_not(create_model("test_resnet", 3), "onnx")
    assert "onnxruntime, tf2onnx" in reason
    assert "pip install 'recycle-tf[onnx]'" in reason


@pytest.mark.slow
@pytest.mark.parametrize("arch", list_models("test_*"))
def test_every_family(arch, tmp_path, finished_run):
    """Two minutes for all of them."""
    require(*onnx.PACKAGES)
    model = create_model(arch, 3)
    spec = artifact.make_spec(runs.open_run(finished_run), model)
    size = model.input_shape[1]
    images = np.random.default_rng(0).integers(0, 256, (2, size, size, 3)).astype(np.uint8)
    path = onnx.export(spec, model, "onnx", tmp_path).path
    np.testing.assert_allclose(onnx.load(path)(images), artifact.answer(model, images), atol=1e-4)

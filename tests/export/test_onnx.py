"""ONNX in ONNX Runtime, and batches of more than one."""

import importlib.util
import json
import shutil

import numpy as np
import pytest

from export import artifact, onnx, tflite
from recycle_tf import create_model, list_models, runs
from recycle_tf.data import cache
from recycle_tf.errors import UserError
from recycle_tf.evaluation import datasets, litert
from tests.conftest import run_python
from tests.test_train import check_refused


@pytest.fixture(scope="module")
def written(finished_run, tmp_path_factory):
    """A run with files of an open batch, verified."""
    run = shutil.copytree(finished_run, tmp_path_factory.mktemp("onnx") / "run")
    result = run_python("-m", "export", f"--run={run}", "--formats=onnx,tflite_float32", "--batch=dynamic")
    assert result.returncode == 0, result.stderr
    assert "onnx             verified" in result.stdout
    assert "tflite_float32   verified" in result.stdout
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
    for row in expected:
        gaps = np.abs(found - row["probabilities"]["onnx"]).max(axis=1)
        assert gaps.min() < 1e-5
        assert row["probabilities"]["onnx"] == pytest.approx(row["probabilities"]["keras"], abs=1e-4)


@pytest.mark.parametrize("format_name", ["onnx", "tflite_float32", "tflite_int8"])
@pytest.mark.parametrize("batch", [1, 4, "dynamic"])
def test_batches(finished_run, tmp_path, format_name, batch):
    run = runs.open_run(finished_run)
    model = run.load_model()
    module = onnx if format_name == "onnx" else tflite
    pictures = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3)).astype(np.uint8)
    more = {"calibration": pictures} if format_name in tflite.CALIBRATED else {}
    spec = artifact.make_spec(run, model, batch=batch)
    path = module.export(spec, model, format_name, tmp_path, **more).path
    found = module.load(path)(pictures)
    atol = 1e-4 if format_name != "tflite_int8" else 0.1
    np.testing.assert_allclose(found, artifact.answer(model, pictures), atol=atol)
    if module is tflite:
        details = litert.open_interpreter(path).get_input_details()[0]
        assert details["shape_signature"][0] == (-1 if batch == "dynamic" else batch)
        np.testing.assert_allclose(litert.open_predictor(path)(pictures[0]), found[0], atol=1e-5)


@pytest.mark.parametrize("batch", ["0", "-1", "many", "1.5"])
def test_no_batch(batch):
    check_refused(
        run_python("-m", "export", "--run=/no/run", f"--batch={batch}"),
        f"--batch={batch}: expected a number of pictures, or dynamic",
    )


def test_what_has_to_be_installed(monkeypatch):
    onnx.check_installed()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name != "onnx" else name)
    with pytest.raises(UserError, match=r"needs onnxruntime, tf2onnx; pip install 'recycle-tf\[onnx\]'"):
        onnx.check_installed()


def test_grouped_convolutions_are_refused():
    assert onnx.why_not(create_model("test_alexnet", 3)).startswith("test_alexnet has grouped convolutions")
    assert onnx.why_not(create_model("test_efficientnet", 3)) is None


@pytest.mark.slow
@pytest.mark.parametrize("arch", list_models("test_*"))
def test_every_family(arch, tmp_path, finished_run):
    """Two minutes in all."""
    from onnx import checker

    model = create_model(arch, 3)
    spec = artifact.make_spec(runs.open_run(finished_run), model)
    size = model.input_shape[1]
    pictures = np.random.default_rng(0).integers(0, 256, (2, size, size, 3)).astype(np.uint8)
    if onnx.why_not(model):  # Should this pass one day, the reason has gone.
        with pytest.raises(checker.ValidationError):
            onnx.export(spec, model, "onnx", tmp_path)
        return
    path = onnx.export(spec, model, "onnx", tmp_path).path
    np.testing.assert_allclose(onnx.load(path)(pictures), artifact.answer(model, pictures), atol=1e-4)

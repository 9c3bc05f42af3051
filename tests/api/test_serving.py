"""The code of docs/serving.md: requests as TensorFlow Serving takes them, and the FastAPI app."""

import base64
import json
import re
import shutil

import numpy as np
import pytest
import requests
import tensorflow as tf

import recycle_tf as rt
from tests.api.conftest import ROOT
from tests.conftest import require

PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def files(run):
    return run.export("saved_model", "tflite_int8", max_drop=100)


@pytest.fixture
def place(here, files, tmp_path, monkeypatch):
    """A folder as the page expects it: `photo.jpg`, and the export of `runs/photos`."""
    shutil.copy(here / "new" / "1.jpg", tmp_path / "photo.jpg")
    shutil.copytree(files["saved_model"].parent, tmp_path / "runs" / "photos" / "export")
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Serving:
    """TensorFlow Serving's REST interface for one SavedModel.

    https://www.tensorflow.org/tfx/serving/api_rest: `instances` are rows, `inputs` columns; `{"b64": …}` is a
    string of bytes; with rows, every output must have as many rows.
    """

    def __init__(self, path):
        self.model = tf.saved_model.load(str(path))

    def post(self, address, json, timeout):
        assert address == "http://127.0.0.1:8501/v1/models/bins:predict"
        assert timeout
        answer = self.answer(as_received(json))
        return type("Response", (), {"json": lambda _: as_received(answer)})()

    def answer(self, request):
        signature = self.model.signatures[request["signature_name"]]
        _, specs = signature.structured_input_signature
        rows = request.get("instances")
        columns = {key: [row[key] for row in rows] for key in rows[0]} if rows else request["inputs"]
        assert set(columns) == set(specs)
        tensors = {key: tf.constant(from_json(value), specs[key].dtype) for key, value in columns.items()}
        outputs = {key: to_json(value.numpy()) for key, value in signature(**tensors).items()}
        if not rows:
            return {"outputs": outputs}
        assert {len(value) for value in outputs.values()} == {len(rows)}
        return {"predictions": [{key: outputs[key][i] for key in outputs} for i in range(len(rows))]}


def as_received(content):
    return json.loads(json.dumps(content))


def from_json(value):
    if isinstance(value, dict):
        return base64.b64decode(value["b64"])
    return [from_json(one) for one in value] if isinstance(value, list) else value


def to_json(array):
    return np.vectorize(bytes.decode)(array).tolist() if array.dtype == object else array.tolist()


def test_requests_to_tensorflow_serving(place, files, monkeypatch, capsys):
    serving = Serving(files["saved_model"])
    monkeypatch.setattr(requests, "post", serving.post)
    names = {}
    for block in BLOCKS[:2]:
        exec(block, names)
    (answer,) = rt.load(files["saved_model"]).predict("photo.jpg")
    assert names["row"]["label"] == answer.label
    assert names["row"]["top_labels"] == list(answer.labels[:5])
    np.testing.assert_allclose(names["row"]["top_probabilities"], answer.probabilities[:5], atol=1e-5)
    assert names["columns"]["label"] == [answer.label] * 2
    assert capsys.readouterr().out.splitlines()[1] == str([answer.label] * 2)


def test_pixels_by_rows_and_columns(files):
    serving = Serving(files["saved_model"])
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).tolist()
    request = {"signature_name": "serve_pixels"}
    rows = serving.answer({**request, "instances": [{"pixels": one} for one in pixels]})["predictions"]
    columns = serving.answer({**request, "inputs": {"pixels": pixels}})["outputs"]
    assert [row["label"] for row in rows] == columns["label"]
    np.testing.assert_allclose([row["probabilities"] for row in rows], columns["probabilities"], atol=1e-6)


def test_the_fastapi_app(place, files):
    require("fastapi")
    from fastapi.testclient import TestClient

    names = {}
    exec(BLOCKS[2], names)
    client = TestClient(names["app"])
    answer = client.post("/predict", content=(place / "photo.jpg").read_bytes()).json()
    (expected,) = rt.load(files["tflite_int8"]).predict("photo.jpg")
    assert (answer["label"], answer["label_3"]) == (expected.label, expected.labels[2])
    assert answer["error"] is None
    broken = client.post("/predict", content=b"not an image").json()
    assert broken["label"] is None
    assert "12 bytes" in broken["error"]


def test_servers_listen_on_this_machine_only():
    for place in re.findall(r"--host=(\S+)|--rm -p (\S+)|(?:http://)([\w.]+)", PAGE):
        assert "".join(place).startswith("127.0.0.1"), place

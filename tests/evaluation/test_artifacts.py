"""All formats give the same answers, and files that are not what they seem."""

import csv
import json
import shutil
import sys

import numpy as np
import pytest

from export import artifact
from export.formats import FORMATS
from recycle_tf import runs
from recycle_tf.data import cache
from recycle_tf.errors import UserError
from recycle_tf.evaluation import artifacts, datasets, predictor, temperature
from tests.conftest import write_photos

NAMES = ("saved_model", "tflite_float32", "tflite_float16", "tflite_int8", "onnx")
TOLERANCE = {"tflite_float16": 0.01, "tflite_int8": 0.1}
"""Largest accepted gap of a probability among the classes; else 1e-4."""

UNLIKE_TOLERANCE = {"tflite_float16": 0.05, "tflite_int8": 1.0}
"""The same for the probability of being unlike the training images. Nine validation images of a tiny network
make it so steep that integers change it at will; a real export is judged by its gates."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    place = write_photos(tmp_path_factory.mktemp("photos") / "new", count=15, seed=3)
    (place / "jar" / "jar3.png").write_text("not an image")
    return place


@pytest.fixture(scope="module")
def mild(finished_run, photos, tmp_path_factory):
    """The run with logits of a known scale, and a threshold that half of its answers reach.

    How large its logits are after a few epochs depends on the machine that trains it, and so would the gaps
    of rounded ones. The temperature is the median margin between its two highest logits, which makes that 1.
    """
    path = shutil.copytree(finished_run, tmp_path_factory.mktemp("mild") / "run")
    run = runs.open_run(path)
    found = {**run.calibration, "temperature": 1.0, "threshold": 0.5}
    run.calibration_file.write_text(json.dumps(found))
    answers = predictor.open_predictor(path).predict(photos)
    margins = [np.log(np.divide(*answer.probabilities[:2])) for answer in answers if not answer.error]
    found["temperature"] = float(np.median(margins))
    run.calibration_file.write_text(json.dumps(found))
    answers = predictor.open_predictor(path).predict(photos)
    half = float(np.median([answer.probability for answer in answers]))
    run.calibration_file.write_text(json.dumps({**found, "threshold": half}))
    return run


@pytest.fixture(scope="module")
def files(mild, tmp_path_factory):
    """`{format: path}`, without verification."""
    place = tmp_path_factory.mktemp("files")
    model = temperature.load_answering_model(mild)
    spec = artifact.make_spec(mild, model, calibration=mild.calibration)
    images = cache.decode_all(datasets.open_source(mild).splits["train"], 32)
    written = {}
    for name in NAMES:
        module = FORMATS[name].load_module()
        if not module.why_not(model, name):
            wanted = "representative_images" in FORMATS[name].needs
            needs = {"representative_images": images} if wanted else {}
            written[name] = module.export(spec, model, name, place, **needs).path
    return written


def answers_and_rows(path, photos, table):
    answers = predictor.open_predictor(path).predict(photos)
    answers.to_csv(table, top=3)
    with open(table, newline="", encoding="utf-8") as file:
        return answers, list(csv.DictReader(file))


def shares(answer):
    """Probabilities among the classes, whose sum is 1."""
    return np.array(answer.probabilities) / sum(answer.probabilities)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_answers_like_its_run(mild, files, photos, tmp_path, name):
    if name not in files:
        pytest.skip("needs the packages of the extra onnx")
    of_run, rows_of_run = answers_and_rows(mild.path, photos, tmp_path / "run.csv")
    of_file, rows_of_file = answers_and_rows(files[name], photos, tmp_path / "file.csv")
    assert {answer.sure for answer in of_run} == {True, False}
    atol, slack = TOLERANCE.get(name, 1e-4), UNLIKE_TOLERANCE.get(name, 1e-3)
    for ours, theirs in zip(of_run, of_file, strict=True):
        assert (ours.image, ours.error) == (theirs.image, theirs.error)
        if ours.error:
            continue
        assert abs(ours.unlike - theirs.unlike) <= slack
        by_label = dict(zip(theirs.labels, shares(theirs), strict=True))
        gaps = [abs(p - by_label[label]) for label, p in zip(ours.labels, shares(ours), strict=True)]
        assert max(gaps) <= atol
        # A decision may differ only where the run itself was about to decide otherwise.
        if ours.probabilities[0] - ours.probabilities[1] > 2 * atol:
            assert ours.label == theirs.label
        limits = mild.calibration["threshold"], mild.calibration["unlike"]["threshold"]
        if min(abs(ours.probability - limits[0]), abs(ours.unlike - limits[1])) > atol + slack:
            assert ours.sure == theirs.sure
    assert [row["image"] for row in rows_of_run] == [row["image"] for row in rows_of_file]
    assert rows_of_run[0].keys() == rows_of_file[0].keys()
    (failed,) = [row for row in rows_of_file if row["error"]]
    assert "jar3.png" in failed["image"]
    assert (failed["label"], failed["sure"]) == ("", "False")


def test_arrays_and_images_of_any_size(files):
    opened = predictor.open_predictor(files["saved_model"])
    answers = opened.predict([np.full((height, 50, 3), 200, np.uint8) for height in (7, 40, 300)])
    assert [answer.image for answer in answers] == ["array 50x7", "array 50x40", "array 50x300"]
    np.testing.assert_allclose(answers[0].probability, answers[2].probability, atol=1e-3)


def break_spec(path):
    spec = json.loads(path.read_text())
    path.write_text(json.dumps({**spec, "labels": [*spec["labels"], "cup"]}))


@pytest.mark.parametrize(
    ("spoil", "names"),
    [
        (lambda path: (path / artifacts.SAVED_MODEL_SPEC).unlink(), ("spec.json",)),
        (lambda path: (path / artifacts.SAVED_MODEL_SPEC).write_text("["), ("spec.json",)),
        (lambda path: break_spec(path / artifacts.SAVED_MODEL_SPEC), ("[None, 3]", "4 labels")),
        (lambda path: (path / "saved_model.pb").write_bytes(b"nothing"), ("damaged", "python -m export")),
        (lambda path: shutil.rmtree(path / "variables"), ("damaged", "python -m export")),
    ],
)
def test_a_damaged_saved_model(files, tmp_path, spoil, names):
    path = shutil.copytree(files["saved_model"], tmp_path / "model")
    spoil(path)
    with pytest.raises(UserError) as caught:
        predictor.open_predictor(path)
    for name in (f"`model={path}`", *names):
        assert name in str(caught.value)


def test_a_damaged_onnx(files, tmp_path):
    if "onnx" not in files:
        pytest.skip("needs the packages of the extra onnx")
    import onnx

    damaged, foreign = tmp_path / "damaged.onnx", tmp_path / "foreign.onnx"
    damaged.write_bytes(files["onnx"].read_bytes()[:1000])
    network = onnx.load(files["onnx"])
    del network.metadata_props[:]
    onnx.save(network, foreign)
    for path, name in (
        (damaged, "damaged"),
        (foreign, "spec.json"),
        (tmp_path / "gone.onnx", "no such file"),
    ):
        with pytest.raises(UserError, match=f"`model={path}`.*{name}"):
            predictor.open_predictor(path)


def test_onnx_without_its_runtime(files, monkeypatch):
    if "onnx" not in files:
        pytest.skip("needs the packages of the extra onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"pip install 'recycle-tf\[onnx\]'"):
        predictor.open_predictor(files["onnx"])

"""Every artifact answers with the run's temperature."""

import json

import numpy as np
import pytest

from export import exporting
from export.settings import ExportSettings
from recycle_tf import runs
from recycle_tf.data import cache
from recycle_tf.evaluation import datasets, temperature
from tests.export.conftest import export, rows_of, succeed


def spec_of(run):
    return json.loads((run / "export" / "spec.json").read_text(encoding="utf-8"))


def check_answers(run, expected_temperature):
    """Checks that the golden probabilities are those of the Keras model at a temperature."""
    opened = runs.open_run(run)
    golden = json.loads((run / "export" / "golden" / "expected.json").read_text())[0]
    pixels = cache.decode_all(datasets.open_source(opened).splits["test"], 32)
    logits = np.array(opened.load_model()(pixels))
    expected = temperature.softmax(logits / expected_temperature)
    found = golden["probabilities"]["tflite_float32"]
    assert np.abs(expected - found).sum(axis=1).min() < 1e-4


def test_files_say_how_they_were_calibrated(exported):
    run = exported[0].parent
    spec, calibration = spec_of(run), runs.open_run(run).calibration
    assert {key: spec[key] for key in calibration} == calibration
    card = (run / "export" / "card.md").read_text(encoding="utf-8")
    assert f"temperature of {spec['temperature']:.3f}" in card
    assert {row["temperature"] for row in rows_of(run).values()} == {spec["temperature"]}
    check_answers(run, spec["temperature"])


def test_the_calibration_of_the_run_is_used(copy):
    file = copy / "calibration.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"temperature": 2.5}))
    succeed(copy, "--formats=tflite_float32")
    assert spec_of(copy)["temperature"] == 2.5
    check_answers(copy, 2.5)


def calibrate(path, **given):
    """Calibrates a run that has no calibration.json; returns what was found."""
    (path / "calibration.json").unlink()
    run = runs.open_run(path)
    model, settings = run.load_model(), ExportSettings(run=str(path), **given)
    found, answering = exporting.calibrate(settings, run, model, exporting.open_source(settings, run))
    assert [layer.name for layer in answering.layers if layer.name == "familiarity"] == ["familiarity"]
    before = run.load_model().get_layer("logits").get_weights()[0] / found["temperature"]
    np.testing.assert_allclose(model.get_layer("logits").get_weights()[0], before, rtol=1e-5)
    return found


def test_an_older_run_is_calibrated_on_its_validation_split(copy, finished_run):
    expected = runs.open_run(finished_run).calibration
    found = calibrate(copy)
    assert found == runs.open_run(copy).calibration
    assert found["temperature"] == pytest.approx(expected["temperature"], rel=1e-3)
    assert found["calibration"]["examples"] == expected["calibration"]["examples"]


def test_the_calibration_of_an_unfinished_run_is_not_saved(copy):
    """Its best model may still change, and `predict` would then use a temperature of another model."""
    (copy / "checkpoints").mkdir()
    (copy / "checkpoints" / "epoch0001.npz").touch()
    assert calibrate(copy)["calibration"]["examples"] == 9
    assert not (copy / "calibration.json").exists()


def test_the_calibration_on_another_dataset_is_not_saved(copy, finished_run):
    assert "threshold" in calibrate(copy, dataset=str(finished_run.parent / "photos"))
    assert not (copy / "calibration.json").exists()


def test_without_calibration_and_data_the_temperature_is_1(copy):
    (copy / "calibration.json").unlink()
    succeed(copy, "--formats=tflite_float32", "--unverified")
    assert spec_of(copy)["temperature"] == 1.0
    assert not {"threshold", "calibration"} & set(spec_of(copy))


def test_a_damaged_calibration(copy):
    (copy / "calibration.json").write_text("{")
    result = export(copy, "--formats=tflite_float32")
    assert result.status == 2
    assert "calibration.json" in result.errors

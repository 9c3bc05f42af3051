"""What is saved of the flips, how latency is measured, and that `evaluate` agrees with the gate."""

import json
import shutil
import time
import types

import numpy as np
import pytest
import tensorflow as tf

from export import flips
from recycle_tf.commands import evaluate
from recycle_tf.evaluation import latency
from tests.export.conftest import FILES, rows_of, run_command

EXPECTED = np.float32([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3]])


def test_flipped_images_are_saved(tmp_path):
    split = types.SimpleNamespace(
        ids=["can/a.png", "jar/b.png", "jar/c.png", "can/d.png"],
        encoded=lambda index: tf.strings.as_string(index),
    )
    found = EXPECTED.copy()
    found[[0, 2]] = found[[0, 2], ::-1]
    names = ["a/can", "jar"]
    flips.write(tmp_path / "flips", "tflite_int8", split, names, found, EXPECTED)
    first, second = sorted((tmp_path / "flips").iterdir())
    assert first.name == "01_keras-a_can-0.90_tflite_int8-jar-0.90_a.png"
    assert first.read_bytes() == b"0"
    assert second.name == "02_keras-jar-0.60_tflite_int8-a_can-0.60_c.png"
    flips.write(tmp_path / "none", "tflite_int8", split, names, EXPECTED, EXPECTED)
    assert not (tmp_path / "none").exists()


def test_predictors_are_timed_in_turn():
    calls = []

    def call(name, seconds):
        def predict():
            calls.append(name)
            time.sleep(seconds)

        return predict

    found = latency.time_alternately({"slow": call("slow", 0.004), "fast": call("fast", 0.0)})
    assert found["slow"] >= 4 > found["fast"]
    turn = 1 + latency.TIMED_CALLS
    assert calls == (["slow"] * turn + ["fast"] * turn) * latency.TURNS


def test_evaluate_measures_a_file_as_the_gate_does(exported, tmp_path):
    folder, _ = exported
    run = shutil.copytree(folder.parent, tmp_path / "run")
    for name in ("tflite_float32", "tflite_int8"):
        model = run / "export" / FILES[name]
        result = run_command(evaluate.main, f"--run={run}", f"--model={model}", "--target_precision=0.5")
        assert result.status == 0, result.errors
        report = run / f"report-{model.stem}-photos-test"
        summary = json.loads((report / "metrics.json").read_text())
        assert summary["accuracy"] == pytest.approx(rows_of(run)[name]["verification"]["accuracy"])
        assert f"--model={model}" in (report / "report.html").read_text(encoding="utf-8")
    own = [(place / "report" / "metrics.json").read_bytes() for place in (run, folder.parent)]
    assert own[0] == own[1]


def test_an_image_that_is_called_unlike_is_saved_as_such(tmp_path):
    split = types.SimpleNamespace(ids=["a.png"], encoded=lambda index: tf.constant(b"bytes"))
    expected, found = np.float32([[0.9, 0.1]]), np.float32([[0.3, 0.05]])
    flips.write(tmp_path / "flips", "tflite_int8", split, ["can", "jar"], found, expected)
    (file,) = (tmp_path / "flips").iterdir()
    assert file.name == "01_keras-can-0.90_tflite_int8-unlike-0.65_a.png"

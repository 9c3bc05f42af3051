"""One calibrated answer, and files that are not what they seem."""

import json
import shutil
import zipfile

import numpy as np
import pytest

from recycle_tf import runs
from recycle_tf.errors import UserError
from recycle_tf.evaluation import datasets, evaluate, predictor, temperature
from tests.conftest import write_photos


@pytest.fixture(scope="module")
def sharp_run(finished_run, tmp_path_factory):
    """A copy of the run with a temperature far from 1 and a threshold."""
    path = shutil.copytree(finished_run, tmp_path_factory.mktemp("sharp") / "run")
    run = runs.open_run(path)
    found = {**run.calibration, "temperature": 4.0, "threshold": 0.6}
    run.calibration_file.write_text(json.dumps(found))
    return run


def softmax(logits):
    return temperature.softmax(np.asarray(logits, np.float64))


def test_a_finished_run_is_calibrated(finished_run):
    found = runs.open_run(finished_run).calibration
    assert 0.05 <= found["temperature"] <= 20
    assert found["calibration"]["split"] == "validation"


def test_predictions_use_the_temperature(sharp_run, tmp_path):
    photos = write_photos(tmp_path / "new", count=2, seed=5)
    path = photos / "can" / "can0.png"
    opened = predictor.open_predictor(sharp_run.path)
    (answer,) = opened.answer_files([path])
    logits = sharp_run.load_model()(opened.read(path)[None].astype(np.float32))
    assert answer.probability == pytest.approx(softmax(logits / 4.0).max(), abs=1e-5)
    assert answer.sure == (answer.probability >= 0.6)
    assert abs(answer.probability - softmax(logits).max()) > 0.05


def test_the_report_uses_the_temperature(sharp_run):
    (result,) = evaluate.evaluate(sharp_run, [datasets.open_set(sharp_run, split="validation")])
    raw = shutil.copytree(sharp_run.path, sharp_run.path.with_name("raw"))
    (raw / "calibration.json").unlink()
    (uncalibrated,) = evaluate.evaluate(
        runs.open_run(raw), [datasets.open_set(runs.open_run(raw), split="validation")]
    )
    assert result.summary["accuracy"] == uncalibrated.summary["accuracy"]
    assert result.summary["log_loss"] > uncalibrated.summary["log_loss"]
    assert "answered" in result.summary
    assert "answered" not in uncalibrated.summary


def test_a_damaged_file_is_an_answer_with_its_reason(finished_run, tmp_path):
    photos = write_photos(tmp_path / "new", classes=("can", "jar"), count=40)
    (photos / "can" / "can3.png").write_bytes((photos / "can" / "can3.png").read_bytes()[:200])
    (photos / "can" / "can4.png").write_text("text")
    paths = sorted(photos.rglob("*.png"))
    answers = list(predictor.open_predictor(finished_run).answer_files(paths))
    assert [answer.path for answer in answers] == paths
    failed = [answer.path.name for answer in answers if answer.error]
    assert failed == ["can3.png", "can4.png"]
    right = sum(answer.label == answer.path.parent.name for answer in answers)
    assert right > 60


def tflite(path, spec=None, size=8, channels=3, classes=2, dtype="uint8"):
    """Writes a small network as `.tflite`, with a spec as python -m export puts it behind the network."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([1, size, size, channels], dtype)])
    def network(images):
        return tf.nn.softmax(
            tf.reduce_mean(tf.cast(images, tf.float32), [1, 2])[:, :1] * tf.ones([1, classes])
        )

    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()])
    path.write_bytes(converter.convert())
    if spec is not None:
        with zipfile.ZipFile(path, "a") as associated:
            associated.writestr("spec.json", spec if isinstance(spec, str) else json.dumps(spec))
    return path


SPEC = {"labels": ["a", "b"], "image_size": 8, "resize": "stretch"}


@pytest.mark.parametrize(
    ("spec", "network", "names"),
    [
        (None, {}, ("labels",)),
        ("[" * 100_000, {}, ("labels",)),
        (SPEC, {"dtype": "float32"}, ("float32", "uint8")),
        (SPEC, {"channels": 4}, ("[1, 8, 8, 4]", "[batch, 8, 8, 3]")),
        ({**SPEC, "labels": ["a", "b", "c"]}, {"classes": 5}, ("[1, 5]", "3 labels")),
        ({**SPEC, "image_size": "32"}, {}, ("image_size", "'32'")),
        ({**SPEC, "image_size": 200_000}, {}, ("image_size", "200000")),
        ({**SPEC, "image_size": 16}, {}, ("[1, 8, 8, 3]", "16")),
        ({**SPEC, "resize": "zoom"}, {}, ("resize", "zoom")),
        ({**SPEC, "labels": "ab"}, {}, ("labels", "ab")),
        ({**SPEC, "threshold": "high"}, {}, ("threshold", "high")),
    ],
)
def test_a_tflite_from_elsewhere(tmp_path, spec, network, names):
    path = tflite(tmp_path / "model.tflite", spec, **network)
    with pytest.raises(UserError) as caught:
        predictor.open_predictor(path)
    for name in (str(path), *names):
        assert name in str(caught.value)


def test_a_tflite_with_a_threshold(tmp_path):
    path = tflite(tmp_path / "model.tflite", {**SPEC, "threshold": 0.6})
    photos = write_photos(tmp_path / "new", classes=("a", "b"), count=1)
    (answer,) = predictor.open_predictor(path).answer_files([photos / "a" / "a0.png"])
    assert answer.probability == pytest.approx(0.5)
    assert not answer.sure

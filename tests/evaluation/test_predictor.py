"""One calibrated answer, and files that are not what they seem."""

import csv
import json
import pathlib
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from recycle_tf import runs
from recycle_tf.errors import UserError
from recycle_tf.evaluation import datasets, evaluate, inputs, predictor, temperature
from tests.conftest import write_photos


@pytest.fixture(scope="module")
def sharp_run(finished_run, tmp_path_factory):
    """A copy of the run with a temperature far from 1 and a threshold."""
    path = shutil.copytree(finished_run, tmp_path_factory.mktemp("sharp") / "run")
    run = runs.open_run(path)
    known = {"threshold": 0.5, "limit": 0.0, "width": 1e-3}
    found = {**run.calibration, "temperature": 4.0, "threshold": 0.6, "unlike": known}
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
    (answer,) = opened.predict(path)
    pixels = inputs.read(path, opened.image_size, opened.resize)
    logits = sharp_run.load_model()(pixels[None].astype(np.float32))
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
    answers = predictor.open_predictor(finished_run).predict(photos)
    assert [answer.image for answer in answers] == [str(path) for path in paths]
    assert [pathlib.Path(answer.image).name for answer in answers.failed] == ["can3.png", "can4.png"]
    right = sum(answer.label == pathlib.Path(answer.image).parent.name for answer in answers)
    assert right > 60


def test_paths_folders_patterns_images_and_arrays_agree(finished_run, tmp_path):
    photos = write_photos(tmp_path / "new", count=2)
    opened = predictor.open_predictor(finished_run)
    path = photos / "jar" / "jar1.png"
    image = Image.open(path)
    files = (path, str(path), str(photos / "j*" / "*1.png"), str(tmp_path / "alone*"), path.read_bytes())
    (tmp_path / "alone").mkdir()
    shutil.copy(path, tmp_path / "alone")
    ways = (*files, image, np.asarray(image), np.asarray(image)[None])
    answers = [opened.predict(way) for way in ways]
    assert {len(found) for found in answers} == {1}
    assert {found[0].probabilities for found in answers} == {answers[0][0].probabilities}
    assert len(opened.predict([photos / "can", image, np.asarray(image)])) == 4
    assert [answer.image for answer in opened.predict(np.stack([np.asarray(image)] * 2))] == [
        "array 24x20"
    ] * 2


def test_a_pil_image_is_turned_upright_like_its_file(finished_run, tmp_path):
    image = Image.open(write_photos(tmp_path / "new", count=1) / "jar" / "jar0.png").convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "phone.jpg", exif=exif, quality=95)
    image.save(tmp_path / "several.jpg", "MPO", exif=exif, quality=95, save_all=True, append_images=[image])
    for path in (tmp_path / "phone.jpg", tmp_path / "several.jpg"):
        with Image.open(path) as opened:
            one, other = (inputs.read(way, 32, "stretch") for way in (path, opened))
            sideways = inputs.read(np.asarray(opened), 32, "stretch")
        assert np.abs(one.astype(int) - other).mean() < 3
        assert np.abs(one.astype(int) - sideways).mean() > 10


@pytest.mark.parametrize(
    ("array", "names"),
    [
        (np.zeros((4, 4), np.uint8), ("[4, 4]", "[height, width, 3]")),
        (np.zeros((4, 4, 4), np.uint8), ("[4, 4, 4]",)),
        (np.full((4, 4, 3), 300.0), ("0..255",)),
        (np.full((4, 4, 3), np.nan), ("0..255",)),
        (np.full((4, 4, 3), 0.5), ("255",)),
    ],
)
def test_arrays_that_are_not_images(finished_run, array, names):
    (answer,) = predictor.open_predictor(finished_run).predict(array)
    assert all(name in answer.error for name in names)


def test_bytes_that_are_no_image(finished_run, tmp_path):
    photos = write_photos(tmp_path / "new", count=1)
    whole = (photos / "can" / "can0.png").read_bytes()
    answers = predictor.open_predictor(finished_run).predict([whole[:200], b"", b"text", whole])
    assert [bool(answer.error) for answer in answers] == [True, True, True, False]
    assert answers[0].error.startswith("image of 200 bytes")


def test_what_is_not_there(finished_run, tmp_path):
    opened = predictor.open_predictor(finished_run)
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "gone.jpg", tmp_path / "empty", str(tmp_path / "*.jpg")):
        with pytest.raises(UserError, match=str(tmp_path)):
            opened.predict(place)


def test_tables(finished_run, tmp_path):
    photos = write_photos(tmp_path / "=new", classes=("can", "jar"), count=2)
    (photos / "can" / "can1.png").write_text("text")
    answers = predictor.open_predictor(finished_run).predict(photos)
    for kind in ("csv", "json", "jsonl"):
        getattr(answers, f"to_{kind}")(tmp_path / f"bins.{kind}", top=2)
    with open(tmp_path / "bins.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == [answer.label or "" for answer in answers]
    assert list(rows[0]) == [
        *("image", "label", "probability", "sure", "unlike", "label_2", "probability_2", "error")
    ]
    assert rows[1]["error"]
    objects = json.loads((tmp_path / "bins.json").read_text())
    assert objects == [json.loads(line) for line in (tmp_path / "bins.jsonl").read_text().splitlines()]
    assert objects[0]["probability"] == pytest.approx(answers[0].probability, abs=1e-6)
    assert objects[0]["label_2"] == answers[0].labels[1]


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
        ({**SPEC, "unlike": 0.5}, {}, ("unlike", "0.5")),
        ({**SPEC, "unlike": {"threshold": "1"}}, {}, ("unlike", "'1'")),
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
    (answer,) = predictor.open_predictor(path).predict(photos / "a" / "a0.png")
    assert answer.probability == pytest.approx(0.5)
    assert not answer.sure


def test_a_transparent_image_in_memory_and_in_a_file(finished_run, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 4), np.uint8)
    image = Image.fromarray(pixels, "RGBA")
    image.save(tmp_path / "cutout.png")
    one, other = predictor.open_predictor(finished_run).predict([image, tmp_path / "cutout.png"])
    assert one.probabilities == pytest.approx(other.probabilities, abs=1e-2)

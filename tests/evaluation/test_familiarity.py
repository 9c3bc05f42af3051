"""Familiarity: images that a network cannot know, without changing any answer."""

import json
import shutil

import keras
import numpy as np
import pytest

from recycle_tf import create_model, list_models, runs
from recycle_tf.errors import UserError
from recycle_tf.evaluation import datasets, evaluate, familiarity, predictor, temperature
from tests.conftest import write_photos


def features(examples, channels=64, active=16, seed=0):
    """Features of 4 classes, each with its own channels among the first `active`, and a little noise."""
    rng = np.random.default_rng(seed)
    found = 0.02 * rng.random((examples, channels))
    for row, kind in zip(found, rng.integers(0, 4, examples), strict=True):
        row[kind * active // 4 : (kind + 1) * active // 4] += rng.random(active // 4)
    return np.float32(found)


def values(found):
    return keras.ops.convert_to_numpy(found)[:, 0]


def test_most_validation_images_are_familiar_and_their_probabilities_stay():
    validation = features(500, seed=1)
    found = values(familiarity.fit(features(300), validation, 4).of(validation))
    assert (found >= 0.5).mean() == pytest.approx(familiarity.FAMILIAR, abs=0.005)
    assert (found >= 0.9899).mean() == pytest.approx(familiarity.UNCHANGED, abs=0.01)


def test_other_channels_in_use_are_unlike():
    familiar = familiarity.fit(features(300), features(100, seed=1), 4)
    others = np.float32(np.random.default_rng(2).random((50, 64)) * (np.arange(64) >= 32))
    assert values(familiar.of(others)).max() < 0.01
    # What is nothing but weaker is the same.
    weak = values(familiar.of(0.1 * features(50, seed=3)))
    np.testing.assert_allclose(weak, values(familiar.of(features(50, seed=3))), atol=5e-3)
    assert values(familiar.of(np.zeros((1, 64), np.float32)))[0] < 0.01


def test_features_below_0_and_few_channels():
    swish = features(100) - 0.03
    assert np.isfinite(values(familiarity.fit(swish, swish, 4).of(swish))).all()
    few = familiarity.fit(np.ones((5, 2), np.float32), np.ones((5, 2), np.float32), 2)
    assert few.components.shape == (2, 1)
    assert values(few.of(np.ones((1, 2), np.float32)))[0] >= 0.5 - 1e-6


@pytest.mark.parametrize("arch", list_models("test_*"))
def test_every_family_answers_the_same_with_familiarity(arch):
    model = create_model(arch, 3)
    images = np.random.default_rng(0).integers(0, 256, (8, *model.input_shape[1:])).astype(np.float32)
    logits, pooled = (keras.ops.convert_to_numpy(one) for one in familiarity.with_features(model)(images))
    channels = model.get_layer("features").output.shape[-1]
    assert pooled.shape == (8, channels)
    attached = familiarity.attach(model, familiarity.fit(pooled, pooled, 3))
    assert attached.name == model.name
    found = keras.ops.convert_to_numpy(familiarity.probabilities(attached(images)))
    missing = familiarity.unlike(found)
    np.testing.assert_allclose(
        found / (1 - missing[:, None]), np.array(keras.ops.softmax(logits)), rtol=1e-4, atol=1e-6
    )
    assert (found.argmax(axis=1) == logits.argmax(axis=1)).all()


def test_no_unlike_image_reaches_the_threshold():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    logits = 4 * np.eye(3)[labels] + rng.normal(0, 0.3, (200, 3))
    sure = temperature.calibrate(logits, labels, list("abc"))
    assert sure["threshold"] > 0.5
    doubtful = temperature.calibrate(logits, labels, list("abc"), np.full((200, 1), 0.4))
    assert doubtful["threshold"] == 0.5
    assert doubtful["calibration"]["share_above_threshold"] == 0
    assert doubtful["temperature"] == sure["temperature"]


@pytest.fixture
def strict_run(finished_run, tmp_path):
    """A copy of the run for which no image is familiar."""
    path = shutil.copytree(finished_run, tmp_path / "strict")
    file = path / "calibration.json"
    record = json.loads(file.read_text())
    record["unlike"] |= {"limit": 1.0, "width": 0.02}
    file.write_text(json.dumps(record))
    return path


def test_a_trained_run_has_it(finished_run, tmp_path):
    run = runs.open_run(shutil.copytree(finished_run, tmp_path / "run"))
    found = familiarity.load(run)
    assert run.calibration["unlike"] == found.as_json()
    assert np.load(run.components_file).shape == found.components.shape
    (result,) = evaluate.evaluate(run, [datasets.open_set(run, split="validation")])
    assert result.summary["unlike"] <= 0.2
    assert run.calibration["threshold"] >= 0.5


def test_an_answer_says_that_it_is_unlike(strict_run, finished_run, tmp_path):
    path = write_photos(tmp_path / "new", count=1, seed=5) / "can" / "can0.png"
    (before,) = predictor.open_predictor(finished_run).predict(path)
    (after,) = predictor.open_predictor(strict_run).predict(path)
    assert after.labels == before.labels
    assert after.unlike > 0.5
    assert after.unlike == pytest.approx(1 - sum(after.probabilities), abs=1e-6)
    assert (after.familiar, after.sure, after.doubt) == (False, False, "unlike the training images")
    assert after.row()["unlike"] == pytest.approx(after.unlike, abs=1e-6)
    run = runs.open_run(strict_run)
    (result,) = evaluate.evaluate(run, [datasets.open_set(run)])
    assert (result.summary["unlike"], result.summary["answered"]) == (1.0, 0.0)


def test_a_run_from_before_has_none(finished_run, tmp_path):
    path = shutil.copytree(finished_run, tmp_path / "run")
    record = json.loads((path / "calibration.json").read_text())
    del record["unlike"]
    (path / "calibration.json").write_text(json.dumps(record))
    (path / "components.npy").unlink()
    photo = write_photos(tmp_path / "new", count=1) / "can" / "can0.png"
    (answer,) = predictor.open_predictor(path).predict(photo)
    assert (answer.unlike, answer.familiar) == (None, True)
    assert sum(answer.probabilities) == pytest.approx(1)


@pytest.mark.parametrize(
    ("components", "unlike", "named"),
    [
        (b"", {}, "components.npy"),
        (b"text", {}, "components.npy"),
        (None, {}, "components.npy"),
        (np.zeros((3, 2), np.float32), {}, "3 channels"),
        (np.zeros(3, np.float32), {}, "components.npy"),
        (np.full((8, 2), np.nan, np.float32), {}, "components.npy"),
        (np.array([{}]), {}, "components.npy"),
        (False, {"width": 0}, "calibration.json"),
        (False, {"limit": "1"}, "calibration.json"),
        (False, {"threshold": 2}, "calibration.json"),
    ],
    ids=str,
)
def test_damaged_files(strict_run, components, unlike, named):
    file, record = strict_run / "calibration.json", runs.open_run(strict_run).calibration
    file.write_text(json.dumps(record | {"unlike": record["unlike"] | unlike}))
    place = strict_run / "components.npy"
    if components is None:
        place.unlink()
    elif isinstance(components, bytes):
        place.write_bytes(components)
    elif components is not False:
        np.save(place, components, allow_pickle=True)
    with pytest.raises(UserError, match=named):
        temperature.load_answering_model(runs.open_run(strict_run))

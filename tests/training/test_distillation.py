"""Distillation: what a teacher answers, the loss with its answers, and that runs with one resume exactly."""

import json
import shutil
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import train
from recycle_tf import create_model, runs
from recycle_tf.config import TrainConfig
from recycle_tf.data import sources
from recycle_tf.errors import UserError
from recycle_tf.training import distillation, loop, losses, resume
from recycle_tf.training.batches import Batches
from tests.conftest import tiny_settings
from tests.training.test_resume import SETTINGS, check_same_bits, killed_at

STRATEGY = tf.distribute.get_strategy()
LOGITS = np.float32([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])
SOFT = np.float32([[0.6, 0.1, 0.3], [0.2, 0.7, 0.1]])
HARD = np.float32([[1, 0, 0], [0.3, 0.7, 0]])


@pytest.fixture
def _deterministic():
    """Undoes what `deterministic` does to this process."""
    from tensorflow.python.framework import config

    yield
    config.disable_op_determinism()


@pytest.fixture
def taught(finished_run):
    """Settings of a run that a finished one on the same photographs teaches."""
    return {**tiny_settings(finished_run.parent / "photos"), "teacher": str(finished_run), "epochs": "2"}


def teacher_of(arch="test_resnet_a", size=32, temperature=2.0):
    keras.utils.set_random_seed(0)
    return distillation.Teacher([create_model(arch, 3, size)], temperature)


def pixels(count=8, size=32):
    return np.random.default_rng(0).uniform(0, 255, (count, size, size, 3)).astype(np.float32)


def softmax(values):
    return np.exp(values) / np.exp(values).sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("gamma", [None, 2.0])
def test_the_loss_is_that_of_the_labels_and_that_of_the_teacher(gamma):
    temperature, hard_weight, ones = 3.0, 0.25, np.ones(3, np.float32)
    loss = losses.make_loss([1.0], 0.1, ones, gamma, temperature, hard_weight)
    hard = loss(HARD, LOGITS)
    np.testing.assert_allclose(hard, losses.make_loss([1.0], 0.1, ones, gamma)(HARD, LOGITS))
    divergence = (SOFT * (np.log(SOFT) - np.log(softmax(LOGITS / temperature)))).sum(axis=-1)
    expected = hard_weight * np.array(hard) + (1 - hard_weight) * temperature**2 * divergence
    np.testing.assert_allclose(loss(np.concatenate([HARD, SOFT], axis=1), LOGITS), expected, rtol=1e-5)


def test_the_gradient_hardly_depends_on_a_high_temperature():
    """It tends to that of the squared distance of the centered logits, divided by twice their number."""
    teacher = np.float32([[2.0, 0.0, -2.0]])
    for temperature in (50.0, 100.0):
        loss = losses.make_loss([1.0], 0.0, np.ones(3, np.float32), None, temperature, 0.0)
        logits = tf.Variable([[0.0, 0.0, 0.0]])
        with tf.GradientTape() as tape:
            value = loss(np.concatenate([HARD[:1], softmax(teacher / temperature)], axis=1), logits)
        np.testing.assert_allclose(tape.gradient(value, logits), -teacher / 3, atol=0.02)


def test_every_classifier_learns_from_the_teacher():
    labels = np.concatenate([HARD, SOFT], axis=1)
    one = losses.make_loss([1.0], 0.0, np.ones(3, np.float32), None, 2.0, 0.5)
    several = losses.make_loss([1.0, 0.3], 0.0, np.ones(3, np.float32), None, 2.0, 0.5)
    expected = np.array(one(labels, LOGITS)) + 0.3 * np.array(one(labels, -LOGITS))
    np.testing.assert_allclose(several(labels, np.stack([LOGITS, -LOGITS], axis=1)), expected, rtol=1e-5)


def test_a_teacher_answers_in_inference_mode_at_its_temperature_and_its_size():
    teacher = teacher_of("test_efficientnet", size=64)
    (model,) = teacher.models
    large = tf.image.resize(pixels(), (64, 64))
    expected = softmax(np.array(model(large, training=False)) / 2)
    np.testing.assert_allclose(teacher.soft_labels(pixels()), expected, atol=1e-6)
    np.testing.assert_allclose(teacher.soft_labels(large), expected, atol=1e-6)


def test_several_teachers_are_averaged():
    one, other = teacher_of(), teacher_of("test_lenet")
    both = distillation.Teacher(one.models + other.models, 2.0)
    mean = (np.array(one.soft_labels(pixels())) + np.array(other.soft_labels(pixels()))) / 2
    np.testing.assert_allclose(both.soft_labels(pixels()), mean, atol=1e-6)


@pytest.mark.parametrize("passes", [1, 2])
def test_training_steps_ask_the_teacher_and_leave_it_as_it_is(passes):
    teacher = teacher_of()
    before = teacher.models[0].get_weights()
    keras.utils.set_random_seed(1)
    # Without norms, whose statistics would be those of a pass.
    model = create_model("test_lenet", 3, 32)
    config = TrainConfig(arch="test_lenet", accumulate=passes, hard_label_weight=0.0, epochs="1")
    trained = loop.prepare(model, config, STRATEGY, [1, 1, 1], 1, None, teacher).model
    assert len(trained.variables) == len(model.variables)
    labels = np.eye(3, dtype=np.float32)[np.arange(8) % 3]
    logits = model(pixels(), training=True)
    expected = trained.loss(np.concatenate([labels, teacher.soft_labels(pixels())], axis=1), logits)
    found = trained.train_on_batch(pixels(), labels, return_dict=True)
    assert found["loss"] == pytest.approx(float(np.mean(expected)), rel=1e-3)
    assert 0 <= found["accuracy"] <= 1
    assert trained.evaluate(pixels(), labels, verbose=0, return_dict=True)["accuracy"] <= 1
    for one, other in zip(before, teacher.models[0].get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_without_anything_random_each_image_is_asked_about_once(photos):
    teacher, calls = teacher_of(), []
    ask = teacher.soft_labels
    counting = types.SimpleNamespace(
        soft_labels=lambda images: (calls.append(len(images)), ask(images))[1], models=teacher.models
    )
    config = TrainConfig(**tiny_settings(photos), epochs="2")
    found = Batches(sources.open_source(photos), config, 32, STRATEGY, counting)
    batches = list(found.training_from(0))
    assert len(calls) == 1  # traced once
    for images, labels in batches:
        assert labels.shape == (8, 6)
        np.testing.assert_allclose(labels[:, 3:], ask(images), atol=1e-5)
        assert teacher.label(images, labels)[1] is labels
    mixed = TrainConfig(**{**tiny_settings(photos), "mix": "both"}, epochs="2")
    _, labels = next(
        iter(Batches(sources.open_source(photos), mixed, 32, STRATEGY, teacher).training_from(0))
    )
    assert labels.shape == (8, 3)


@pytest.mark.usefixtures("_deterministic")
@pytest.mark.parametrize("random", [True, False])
def test_a_killed_run_resumes_to_the_same_bits(taught, random, tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "finish", lambda run: None)
    settings = {**taught, **SETTINGS, "checkpoint_every": "1steps", "epochs": "6steps"}
    if not random:
        settings |= {"augment": "none", "mix": "none"}
    whole = train.train(TrainConfig(**settings, run_dir=str(tmp_path / "whole")))
    resumed = TrainConfig(**settings, run_dir=str(tmp_path / "resumed"))
    with killed_at(3):
        train.train(resumed)
    check_same_bits(whole, train.train(resumed))


def test_a_teacher_that_changed_is_noticed(taught, finished_run, tmp_path):
    teacher = shutil.copytree(finished_run, tmp_path / "teacher")
    settings = {**taught, "teacher": str(teacher), "checkpoint_every": "1steps"}
    config = TrainConfig(**settings, run_dir=str(tmp_path / "run"))
    with killed_at(1):
        train.train(config)
    (teacher / "model.keras").write_bytes(b"another")
    with pytest.raises(UserError, match=f"{teacher}/model.keras has changed"):
        train.train(config)


def refused(settings, *names, **changes):
    config = TrainConfig(**{**settings, **changes})
    with pytest.raises(UserError) as caught:
        distillation.load(config, sources.open_source(config.dataset))
    for name in ("teacher=", *names):
        assert str(name) in str(caught.value)


def test_teachers_that_do_not_fit(taught, finished_run, tmp_path, capsys):
    refused(taught, "gone", teacher=f"{finished_run},gone")
    refused(taught, "stretch", "crop", resize="crop")
    unfinished = shutil.copytree(finished_run, tmp_path / "unfinished")
    (unfinished / "checkpoints").mkdir()
    (unfinished / "checkpoints" / "epoch0001.npz").touch()
    refused(taught, unfinished, "not ended", teacher=str(unfinished))
    others = shutil.copytree(finished_run, tmp_path / "others")
    record = json.loads((others / "config.json").read_text())
    (others / "config.json").write_text(json.dumps({**record, "labels": ["can", "jar", "vase"]}))
    refused(taught, "vase", "tube", teacher=str(others))
    assert not capsys.readouterr().err
    (others / "config.json").write_text(json.dumps({**record, "fingerprint": "0"}))
    config = TrainConfig(**{**taught, "teacher": str(others)})
    distillation.load(config, sources.open_source(config.dataset))
    assert str(others) in capsys.readouterr().err
    assert runs.Run(finished_run).inputs == {}


@pytest.mark.parametrize("teacher", [",", "{run},", ",{run}"])
def test_a_teacher_that_is_missing_in_a_list(finished_run, photos, teacher):
    config = TrainConfig(**tiny_settings(photos), teacher=teacher.format(run=finished_run))
    with pytest.raises(UserError, match="`teacher=.*commas"):
        distillation.open_teachers(config)

"""From a configuration to a compiled and trained model."""

import time

import keras
import numpy as np
import pytest
import tensorflow as tf

import train
from recycle_tf import create_model
from recycle_tf.config import TrainConfig
from recycle_tf.models import registry
from recycle_tf.training import checkpoint, loop, losses, phases
from recycle_tf.training.progress import Progress
from tests.conftest import check_refused, run_main, tiny_settings, tiny_training


def small():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input([4]), keras.layers.Dense(3)])


def compile_model(model, config, steps_per_epoch=10, epochs=10):
    phase = phases.Phase(0, epochs, epochs * steps_per_epoch, ())
    loop.compile_model(model, [1.0], config, steps_per_epoch, [60, 30, 10], phase)


def learning_rates(optimizer, *steps):
    found = []
    for step in steps:
        optimizer.iterations.assign(step)
        found.append(float(optimizer.learning_rate))
    return found


def test_the_settings_reach_the_learning_rate():
    model = small()
    settings = {"schedule": "step", "decay": 0.5, "decay_at": "0.3", "learning_rate": 1.0}
    compile_model(model, TrainConfig(epochs="10", warmup="5steps", **settings))
    assert learning_rates(model.optimizer, 0, 4, 5, 29, 30) == pytest.approx([0, 0.8, 1, 1, 0.5])
    # The warm-up is at most a fifth of the training.
    compile_model(model, TrainConfig(warmup="5"))
    assert learning_rates(model.optimizer, 20) == pytest.approx([TrainConfig.learning_rate])


def test_the_settings_reach_the_loss():
    model = small()

    def loss_of_guessing(**settings):
        compile_model(model, TrainConfig(label_smoothing=0.0, **settings))
        return model.loss(np.eye(3, dtype=np.float32), np.zeros((3, 3), np.float32))

    np.testing.assert_allclose(loss_of_guessing(), np.log(3) * np.ones(3), rtol=1e-5)
    np.testing.assert_allclose(loss_of_guessing(loss="focal"), np.log(3) * np.full(3, 4 / 9), rtol=1e-5)
    np.testing.assert_allclose(
        loss_of_guessing(loss="focal", focal_gamma=1.0), np.log(3) * np.full(3, 2 / 3), rtol=1e-5
    )
    weights = np.array([100 / 180, 100 / 90, 100 / 30])
    np.testing.assert_allclose(loss_of_guessing(class_balance="weights"), np.log(3) * weights, rtol=1e-5)
    # With weights as well, rare classes would count twice.
    np.testing.assert_allclose(loss_of_guessing(class_balance="sampler"), np.log(3) * np.ones(3), rtol=1e-5)


@pytest.mark.parametrize(("jit", "compiled"), [("auto", False), ("on", True), ("off", False)])
def test_the_setting_reaches_xla(jit, compiled):
    model = small()
    compile_model(model, TrainConfig(jit=jit))
    # `auto` is off on a machine without GPUs.
    assert model.jit_compile == (compiled or (jit == "auto" and bool(tf.config.list_physical_devices("GPU"))))


def test_auxiliary_classifiers_are_trained_and_not_saved():
    model = create_model("test_googlenet", 3)
    trained, weights = registry.training_model(model, 3)
    assert weights == [1.0, 0.3, 0.3]
    assert trained.output.shape == (None, 3, 3)
    assert not [layer.name for layer in model.layers if "auxiliary" in layer.name]
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    np.testing.assert_allclose(trained(images)[:, 0], model(images), atol=1e-6)
    labels = np.eye(3, dtype=np.float32)[:2]
    logits = np.random.default_rng(1).normal(size=(2, 3, 3)).astype(np.float32)
    log_probabilities = np.log(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))
    expected = -(labels[:, None] * log_probabilities).sum(-1) @ np.float32(weights)
    found = losses.make_loss(weights, 0.0, np.ones(3, np.float32))(labels, logits)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert registry.training_model(create_model("test_resnet", 3), 3)[1] == [1.0]


@pytest.mark.slow
def test_training_with_auxiliary_classifiers(photos, tmp_path):
    settings = {**tiny_settings(photos), "arch": "test_googlenet", "overrides": "", "image_size": 64}
    run = train.train(TrainConfig(**settings, epochs="1", run_dir=str(tmp_path / "run")))
    model = run.load_model()
    assert model.output_shape == (None, 3)
    assert not [layer.name for layer in model.layers if "auxiliary" in layer.name]


def test_each_phase_has_its_own_optimizer_also_when_it_is_resumed(tmp_path):
    model = create_model("test_resnet", 3)
    planned = phases.plan(TrainConfig(epochs="4", head_epochs=2), model, 10)

    def compile_for(phase):
        phases.set_lr_multipliers(model, phase.lr_multipliers)
        model.compile(keras.optimizers.AdamW(1e-2), keras.losses.CategoricalCrossentropy(from_logits=True))

    def saved_and_restored(epoch, step):
        """Iterations of the restored optimizer, and the number of trainable variables."""
        for old in tmp_path.iterdir():
            old.unlink()
        compile_for(phases.phase_at(planned, max(0, epoch - (step == 0))))
        model.optimizer.build(model.trainable_variables)
        model.optimizer.iterations.assign(7)
        callback = checkpoint.Checkpoint(tmp_path, Progress(10, epoch, step), "1h")
        callback.set_model(model)
        callback.write()
        saved = [np.array(v) for v in model.variables]
        for variable in model.variables:
            variable.assign(keras.ops.zeros_like(variable))
        progress = loop.compile_and_restore(model, tmp_path, 10, planned, compile_for)
        assert (progress.epoch, progress.step) == (epoch, step)
        assert all(np.array_equal(a, b) for a, b in zip(saved, model.variables, strict=True))
        return int(model.optimizer.iterations.numpy()), len(model.trainable_variables)

    everything = len(create_model("test_resnet", 3).trainable_variables)
    assert saved_and_restored(1, 0) == (7, 2)
    assert saved_and_restored(1, 5) == (7, 2)
    assert saved_and_restored(2, 0) == (0, everything)
    assert saved_and_restored(2, 5) == (7, everything)
    assert saved_and_restored(3, 0) == (7, everything)
    assert saved_and_restored(4, 0) == (7, everything)


def test_training_the_head_alone_takes_less_time():
    """Without the backward pass of the frozen layers, a step should take about a third of the time."""
    model = create_model("resnet18", 3, image_size=64, filters=32)
    images = np.zeros((16, 64, 64, 3), np.float32)
    data = tf.data.Dataset.from_tensors((images, np.eye(3, dtype=np.float32)[np.arange(16) % 3])).repeat()
    seconds = []
    for phase in phases.plan(TrainConfig(head_epochs=2), model, 10):
        loop.compile_model(model, [1.0], TrainConfig(), 10, [1, 1, 1], phase)
        model.fit(data, steps_per_epoch=1, shuffle=False, verbose=0)
        start = time.process_time()
        model.fit(data, steps_per_epoch=5, shuffle=False, verbose=0)
        seconds.append(time.process_time() - start)
    assert seconds[0] < 0.6 * seconds[1], seconds


def test_a_network_for_grayscale_images(photos, tmp_path):
    flags = [flag for flag in tiny_training(photos) if not flag.startswith(("--arch", "--overrides"))]
    flags += ["--arch=lenet5", "--overrides=channels=1", f"--run_dir={tmp_path / 'run'}"]
    result = run_main(train.main, *flags)
    check_refused(result, "--overrides", "lenet5", "1 channel")
    assert not (tmp_path / "run").exists()

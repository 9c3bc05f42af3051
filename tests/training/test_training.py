"""Schedules, optimizers, strategies and callbacks."""

import keras
import numpy as np
import pytest

from recycle_tf import create_model, layers, runs
from recycle_tf.errors import UserError
from recycle_tf.models import registry
from recycle_tf.training import callbacks, losses, optimizers, phases
from recycle_tf.training.strategy import make_strategy, set_precision
from tests.conftest import run_python
from tests.training.test_tensorboard import read, steps


@pytest.mark.parametrize("name", ["adamw", "sgd", "lion", "lamb"])
def test_weight_decay_spares_biases_and_norms(name):
    optimizer = optimizers.make_optimizer(name, 0.1, weight_decay=0.5)
    model = create_model("test_resnet", 3)
    optimizer.build(model.trainable_variables)
    decayed = {v.name for v in model.trainable_variables if optimizer._use_weight_decay(v)}
    assert decayed == {"kernel"}
    before = {v.path: np.array(v) for v in model.trainable_variables}
    optimizer._apply_weight_decay(model.trainable_variables)
    for variable in model.trainable_variables:
        factor = 0.95 if variable.name == "kernel" else 1
        np.testing.assert_allclose(variable, factor * before[variable.path], rtol=1e-5)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_offsets_learn_at_a_tenth_of_the_rate(name):
    keras.utils.set_random_seed(0)
    x = keras.Input((8, 8, 2))
    model = keras.Model(x, [layers.conv(x, 3, 3, name="plain"), layers.conv(x, 3, 3, name="some_offset")])
    before = [np.array(v) for v in model.trainable_variables]
    multipliers = phases.set_rates(model, layers.LEARNING_RATE_MULTIPLIERS)
    optimizer = optimizers.make_optimizer(name, 0.1, weight_decay=0.0, rate_multipliers=multipliers)
    optimizer.apply([keras.ops.ones_like(v) for v in model.trainable_variables], model.trainable_variables)
    plain, slow = (
        np.abs(np.array(v) - b).mean() for v, b in zip(model.trainable_variables, before, strict=True)
    )
    assert slow == pytest.approx(plain / 10, rel=1e-3)


def test_auxiliary_classifiers_help_and_are_not_kept():
    model = create_model("test_googlenet", 3)
    trained, weights = registry.training_model(model, 3)
    assert weights == [1.0, 0.3, 0.3]
    assert trained.output.shape == (None, 3, 3)
    assert not [layer.name for layer in model.layers if "auxiliary" in layer.name]
    pictures = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    np.testing.assert_allclose(trained(pictures)[:, 0], model(pictures), atol=1e-6)
    labels = np.eye(3, dtype=np.float32)[:2]
    outputs = np.random.default_rng(1).normal(size=(2, 3, 3)).astype(np.float32)
    cross_entropy = -(labels[:, None] * np.log(np.exp(outputs) / np.exp(outputs).sum(-1, keepdims=True))).sum(
        -1
    )
    found = losses.make_loss(weights, 0.0, np.ones(3, np.float32))(labels, outputs)
    np.testing.assert_allclose(found, cross_entropy @ np.float32(weights), rtol=1e-5)
    assert registry.training_model(create_model("test_resnet", 3), 3)[1] == [1.0]


def test_class_weights():
    class_weights = losses.class_weights("weights", [60, 30, 10])
    np.testing.assert_allclose(class_weights, [100 / 180, 100 / 90, 100 / 30])
    assert np.average(class_weights, weights=[60, 30, 10]) == pytest.approx(1)
    assert losses.class_weights("none", [60, 30, 10]).tolist() == [1, 1, 1]


def test_googlenet_trains_with_them(photos, tmp_path):
    result = run_python(
        "train.py",
        "--arch=test_googlenet",
        f"--dataset={photos}",
        "--batch_size=8",
        "--epochs=1",
        f"--run_dir={tmp_path / 'run'}",
    )
    assert result.returncode == 0, result.stderr
    kept = runs.Run(tmp_path / "run").load_model()
    assert not [layer.name for layer in kept.layers if "auxiliary" in layer.name]


def test_mirrored_needs_two_devices():
    with pytest.raises(UserError, match="--strategy=mirrored: only one device here"):
        make_strategy("mirrored")
    assert make_strategy("auto").num_replicas_in_sync == 1


def test_precision_on_a_cpu_is_float32():
    assert set_precision("auto") == "float32"
    try:
        assert set_precision("bfloat16") == "mixed_bfloat16"
    finally:
        set_precision("off")


def compiled(seed):
    keras.utils.set_random_seed(seed)
    model = create_model("test_resnet", 3, drop_rate=0.5)
    model.compile(keras.optimizers.AdamW(1e-2), keras.losses.CategoricalCrossentropy(from_logits=True))
    return model


def test_checkpoint_brings_back_weights_optimizer_and_dropout(tmp_path):
    rng = np.random.default_rng(0)
    data = (
        rng.uniform(0, 255, (16, 32, 32, 3)).astype(np.float32),
        np.eye(3, dtype=np.float32)[np.arange(16) % 3],
    )
    whole = compiled(1)
    whole.fit(*data, batch_size=8, epochs=3, shuffle=False, verbose=0)

    first, progress = compiled(1), callbacks.Progress(2)
    first.fit(
        *data,
        batch_size=8,
        epochs=2,
        shuffle=False,
        verbose=0,
        callbacks=[progress, callbacks.Checkpoint(tmp_path / "c", progress, "1h")],
    )
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["epoch0002.npz"]
    second = compiled(99)
    assert callbacks.restore(second, tmp_path / "c", 2).epoch == 2
    second.fit(*data, batch_size=8, epochs=3, initial_epoch=2, shuffle=False, verbose=0)
    for expected, found in zip(whole.variables, second.variables, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6, err_msg=expected.path)


def test_no_checkpoint_is_a_fresh_start(tmp_path):
    assert callbacks.restore(compiled(1), tmp_path / "none", 2).steps == 0


def test_best_model_is_the_most_accurate_and_survives_a_restart(tmp_path):
    model = create_model("test_resnet", 3)
    path = tmp_path / "model.keras"

    def after(callback, **logs):
        path.unlink(missing_ok=True)
        callback.set_model(model)
        callback.on_epoch_end(0, logs)
        assert [p.name for p in tmp_path.iterdir()] == ([path.name] if path.exists() else [])
        return path.exists()

    best = callbacks.BestModel(model, path)
    assert after(best, val_accuracy=0.5, val_loss=1.0)
    assert not after(best, val_accuracy=0.4, val_loss=0.1)
    assert after(best, val_accuracy=0.5, val_loss=0.9)
    again = callbacks.BestModel(model, path, [{"val_accuracy": 0.5, "val_loss": 0.9}])
    assert not after(again, val_accuracy=0.5, val_loss=1.0)
    assert after(again, val_accuracy=0.6, val_loss=2.0)


def test_patience_counts_from_the_best_epoch_and_over_a_restart(tmp_path):
    model = create_model("test_resnet", 3)
    rows = [{"val_accuracy": accuracy, "val_loss": 1.0} for accuracy in (0.5, 0.6, 0.6, 0.4, 0.7)]
    rows.insert(3, {"val_accuracy": 0.9, "val_loss": np.nan})

    def counted(callback, patience, logs):
        stopping = callbacks.EarlyStopping(callback, patience)
        stopping.set_model(model)
        callback.on_epoch_end(0, logs)
        model.stop_training = False
        stopping.on_epoch_end(0, logs)
        assert model.stop_training == stopping.due
        return stopping.due

    for begun, (last, expected) in enumerate([(0, 0), (1, 0), (2, 1), (3, 2), (4, 3), (5, 0)]):
        for patience in (1, 2, 3, None):
            best = callbacks.BestModel(model, tmp_path / "model.keras", rows[:begun])
            assert counted(best, patience, rows[last]) == (patience is not None and expected >= patience)
            assert best.epochs_since == expected


@pytest.mark.parametrize("precision", ["off", "bfloat16", "float16"])
def test_two_logical_cpus_train_as_mirrored(photos, tmp_path, precision):
    result = run_python(
        "train.py",
        "--arch=test_resnet",
        f"--dataset={photos}",
        "--image_size=32",
        "--batch_size=8",
        "--epochs=1",
        "--strategy=mirrored",
        "--logical_cpus=2",
        f"--mixed_precision={precision}",
        f"--run_dir={tmp_path / 'run'}",
    )
    assert result.returncode == 0, result.stderr
    assert "2 device(s)" in result.stdout
    assert (tmp_path / "run" / "model.keras").is_file()
    events = read(tmp_path / "run" / "tensorboard")
    assert steps(events, "recall/jar") == steps(events, "gradient_norm/stage1") == [0]

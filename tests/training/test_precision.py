"""Precision of computation."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import train
from recycle_tf.config import TrainConfig
from recycle_tf.evaluation import temperature
from recycle_tf.training import precision
from tests.conftest import tiny_settings
from tests.training.test_resume import killed_at

STRATEGY = tf.distribute.get_strategy()
SOURCE = types.SimpleNamespace(splits={"train": range(1000)}, labels=("can", "jar", "tube"))


@pytest.fixture
def measured(monkeypatch):
    """A processor with bfloat16, on which the ways have the speeds of this dict."""
    speeds = {"off": 55.0, "onednn_bfloat16": 88.0, "bfloat16": 60.0}
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "_images_per_second", lambda name, *_: speeds[name])
    return speeds


def choose(run=None, **settings):
    config = TrainConfig(**{"batch_size": 10, "epochs": "10", **settings})
    return precision.choose(config, run, STRATEGY, SOURCE)


def test_the_fastest_way_is_chosen(measured, capsys):
    assert choose() == "onednn_bfloat16"
    assert "onednn_bfloat16 88" in capsys.readouterr().out
    measured["onednn_bfloat16"] = 34.0
    assert choose() == "off", "60 images/s are hardly more than 55"
    measured["bfloat16"] = 70.0
    assert choose() == "bfloat16"


def test_a_setting_a_short_run_and_an_older_processor_are_not_measured(measured, monkeypatch):
    monkeypatch.setattr(precision, "_images_per_second", lambda *_: pytest.fail("measured"))
    assert choose(mixed_precision="float16") == "float16"
    assert choose(epochs="9") == "off"
    assert choose(run=types.SimpleNamespace(precision="bfloat16")) == "bfloat16"
    assert choose(run=types.SimpleNamespace(precision=None)) == "off", "a run of an earlier version"
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: False)
    assert choose() == "off"


def test_every_way_is_measured_on_the_network_itself(monkeypatch):
    seen = []

    def speed(model, sample):
        graphs = tf.config.optimizer.get_experimental_options()["auto_mixed_precision_onednn_bfloat16"]
        seen.append((model.name, model.layers[3].compute_dtype, graphs, sample[0].shape))
        return 1.0

    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: True)
    monkeypatch.setattr(precision.preflight, "training_speed", speed)
    assert choose(arch="test_resnet", image_size=32, accumulate=2) == "off"
    kinds = [("float32", False), ("float32", True), ("bfloat16", False)]
    assert seen == [("test_resnet", *kind, (5, 32, 32, 3)) for kind in kinds]
    seen.clear()
    # The image size is the architecture's where none is given.
    assert choose(arch="lenet5") == "off"
    assert [shape for *_, shape in seen] == 3 * [(10, 32, 32, 3)]
    seen.clear()
    assert choose(arch="test_resnet", image_size=32, remat=True) == "off"
    assert not seen
    assert keras.config.dtype_policy().name == "float32"


def test_the_graph_option_computes_convolutions_in_bfloat16_and_ends():
    rng = np.random.default_rng(0)
    images = tf.constant(rng.normal(size=(4, 16, 16, 64)), tf.float32)
    kernel = tf.Variable(rng.normal(size=(3, 3, 64, 64)), dtype=tf.float32)

    def convolve(x):
        return tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME"))

    def convolved():
        return tf.function(lambda x: convolve(convolve(x)))(images).numpy()

    exact = convolved()
    with precision.graph_option("onednn_bfloat16"):
        rounded = convolved()
    np.testing.assert_array_equal(convolved(), exact)
    error = np.abs(rounded - exact).max() / np.abs(exact).max()
    assert 1e-5 < error < 1e-2


def test_a_resumed_run_keeps_its_precision(photos, tmp_path, measured, monkeypatch):
    monkeypatch.setattr(precision, "WORTHWHILE_STEPS", 1)
    settings = TrainConfig(**{**tiny_settings(photos), "epochs": "2", "run_dir": str(tmp_path / "run")})
    with killed_at(3):
        train.train(settings)
    measured["onednn_bfloat16"] = 1.0
    run = train.train(settings)
    assert (run.config["mixed_precision"], run.precision) == ("auto", "onednn_bfloat16")
    assert not tf.config.optimizer.get_experimental_options()["auto_mixed_precision_onednn_bfloat16"]


def test_reports_are_computed_in_float32_and_nothing_stays_set(photos, tmp_path, monkeypatch):
    policies = []

    def calibrate(*arguments):
        policies.append(keras.config.dtype_policy().name)
        raise ZeroDivisionError

    monkeypatch.setattr(temperature, "calibrate_run", calibrate)
    settings = TrainConfig(
        **tiny_settings(photos), epochs="1", mixed_precision="bfloat16", run_dir=str(tmp_path / "run")
    )
    with pytest.raises(ZeroDivisionError):
        train.train(settings)
    assert policies == ["float32"] == [keras.config.dtype_policy().name]

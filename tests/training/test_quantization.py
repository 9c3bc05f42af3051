"""Quantization-aware training: computes what LiteRT computes, resumes, and leaves an ordinary run."""

import pathlib
import shutil
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import train
from recycle_tf import config as training_config
from recycle_tf import create_model, layers, runs
from recycle_tf.config import TrainConfig
from recycle_tf.errors import UserError
from recycle_tf.evaluation import litert
from recycle_tf.quantization import fake_quantization, fold, ranges
from recycle_tf.training import quantization, resume
from tests.export.test_int8 import images, worn
from tests.training.test_resume import check_same_bits, killed_at


@pytest.fixture
def shallow():
    """A network whose logits are the mean of its last feature map: every kind of folding, and an addition."""
    keras.utils.set_random_seed(0)
    inputs, x = layers.image_input(16)
    x = layers.conv_norm_act(x, 4, 3, 2, activation="relu6", padding="same", name="stem_conv")
    branch = layers.depthwise_conv(x, 3, name="stage1_block1_depthwise")
    branch = layers.norm_act(branch, "relu6", name="stage1_block1_depthwise")
    branch = layers.conv_norm_act(branch, 4, 1, activation=None, name="stage1_block1_project")
    x = layers.add_residual(x, branch, name="stage1_block1")
    model = keras.Model(inputs, layers.head(x, 4), name="shallow")
    model.get_layer("logits").set_weights([np.eye(4, dtype="float32"), np.zeros(4, "float32")])
    return model


def trained(model, pixels, steps=4):
    """The ranges, and the training model after some steps."""
    found = ranges.measure(fold.fold(model, through_relu=False), pixels)
    training, weights = quantization.training_model(model, found)
    assert weights == [1.0]
    training.get_layer("logits").trainable = False
    training.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    training.optimizer.learning_rate = 0.02
    labels = np.arange(len(pixels)) % model.output_shape[-1]
    for _ in range(steps):
        training.train_on_batch(np.float32(pixels), labels)
    return found, training


def answers(path, pixels):
    predict = litert.open_predictor(path)
    return np.log(np.float64(np.stack([predict(one) for one in pixels])))


def centered(logits):
    logits = np.float64(logits)
    return logits - logits.mean(axis=1, keepdims=True)


def test_litert_answers_as_the_trained_network_to_one_step(shallow, tmp_path):
    from export import int8

    pixels = images(shallow)
    before = [np.array(one) for one in shallow.weights]
    found, training = trained(shallow, pixels)
    moved = [not np.array_equal(a, b) for a, b in zip(before, shallow.weights, strict=True)]
    names = [weight.path for weight, changed in zip(shallow.weights, moved, strict=True) if changed]
    # Kernels and normalizations learn; statistics stay.
    assert {name.rpartition("/")[2] for name in names} == {"kernel", "gamma", "beta"}
    path = tmp_path / "model.tflite"
    path.write_bytes(int8.convert(shallow, pixels, trained_ranges=found))
    low, high = found["stage1_block1_add"]
    expected = centered(training(np.float32(pixels), training=False))
    assert np.abs(centered(answers(path, pixels)) - expected).max() < (high - low) / 255
    # The float network is another one.
    exact = centered(shallow(np.float32(pixels), training=False))
    assert np.abs(exact - expected).max() > 1e-3


def test_the_converter_takes_the_ranges_that_were_trained(shallow, tmp_path):
    from export import int8

    pixels = images(shallow)
    found, _ = trained(shallow, pixels)
    path = tmp_path / "model.tflite"
    path.write_bytes(int8.convert(shallow, pixels, trained_ranges=found))
    details = litert.open_interpreter(path).get_tensor_details()
    scales = {one["quantization"][0] for one in details if one["dtype"] == np.int8}
    for low, high in found.values():
        assert np.isclose(list(scales), (max(high, 0) - min(low, 0)) / 255, rtol=1e-6).any()
    # Measured again, most would be others.
    again = ranges.measure(fold.fold(shallow, through_relu=False), pixels)
    assert sum(not np.allclose(again[name], found[name], rtol=1e-4) for name in found) > len(found) / 2


@pytest.mark.parametrize(
    "arch",
    ["test_efficientnet", "test_densenet", "test_resnet", "test_vgg_bn", "test_googlenet", "test_highway"],
)
def test_families_train_as_their_file_computes(arch):
    from export import int8

    model = worn(arch)
    pixels = images(model, 8)
    found, training = trained(model, pixels, steps=1)
    variables = {id(one) for one in model.weights}
    assert all(id(one) in variables for one in training.variables)
    simulated = int8.simulate(model, pixels, found)
    outputs = []
    for layer in training.layers:
        if isinstance(layer, quantization.QuantizedLayer):
            exact = simulated.get_layer(layer.name)
            inputs = np.float32(np.random.default_rng(0).normal(size=(2, *exact.input.shape[1:])))
            np.testing.assert_allclose(layer(inputs), exact(inputs), rtol=1e-4, atol=1e-4)
            outputs.append(layer.name)
    assert "logits" in outputs
    # Sums in another order may round to the next integer, which untrained networks amplify.
    expected = np.array(simulated(np.float32(pixels), training=False))
    difference = np.array(training(np.float32(pixels), training=False)) - expected
    assert np.abs(difference).max() < 0.1 * np.abs(expected).max()


def test_kernels_are_rounded_as_the_export_rounds_them_and_gradients_pass():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 5))
    axes = (0, 1, 2)
    scale = fake_quantization.kernel_scale(kernel, axes)
    variable = tf.Variable(kernel)
    with tf.GradientTape() as tape:
        rounded = quantization.round_kernel(variable, tf.constant(scale))
        total = tf.reduce_sum(rounded * kernel)
    np.testing.assert_array_equal(rounded, fake_quantization.round_kernel(kernel, axes))
    np.testing.assert_array_equal(tape.gradient(total, variable), kernel)


@pytest.fixture
def again(finished_run):
    """The flags that train a finished run with integers, in a few steps."""
    settings = {"quantize": "int8", "epochs": "4steps", "checkpoint_every": "1steps"}
    return {**settings, "from_run": str(finished_run)}


def resolved(given, **more):
    given = {**given, **more}
    return training_config.resolve(given, earlier=runs.settings_to_repeat(given["from_run"]))


def test_the_settings_are_those_of_the_run_and_of_the_recipe(again, finished_run):
    config = resolved(again)
    assert config.weights == str(pathlib.PurePath(finished_run, "model.keras"))
    assert (config.recipe, config.arch, config.epochs) == ("quantize", "test_resnet", "4steps")
    assert resolved(again, learning_rate=1e-3).learning_rate == 1e-3
    # A run that was trained with integers is repeated as it was.
    assert training_config.resolve({}, earlier=vars(config)).weights == config.weights


def test_a_killed_run_resumes_to_the_same_bits_and_is_exported_with_its_ranges(again, tmp_path, monkeypatch):
    from export import selective_quantization
    from export.__main__ import main

    monkeypatch.setattr(resume, "finish", lambda run: None)
    whole = train.train(resolved(again, run_dir=str(tmp_path / "whole")))
    with killed_at(2):
        train.train(resolved(again, run_dir=str(tmp_path / "resumed")))
    resumed = train.train(resolved(again, run_dir=str(tmp_path / "resumed")))
    check_same_bits(whole, resumed)
    assert resumed.trained_ranges == whole.trained_ranges
    # An ordinary model of the architecture.
    model, plain = whole.load_model(), create_model("test_resnet", 3, 32)
    assert [layer.name for layer in model.layers] == [layer.name for layer in plain.layers]
    (file,) = resumed.inputs
    assert file == again["from_run"] + "/model.keras"
    shutil.rmtree(whole.checkpoints)
    # With layers in float, which may pass where the file itself does not, the ranges are the converter's.
    monkeypatch.setattr(selective_quantization, "rescue", lambda *arguments: arguments[2:4])
    assert main([f"--run={whole.path}", "--formats=tflite_int8", "--max_drop=100"]) in (0, 2)
    (file,) = whole.export.rglob("model_int8.tflite")
    details = litert.open_interpreter(file).get_tensor_details()
    scales = [one["quantization"][0] for one in details if one["dtype"] == np.int8]
    for low, high in whole.trained_ranges.values():
        assert np.isclose(scales, (max(high, 0) - min(low, 0)) / 255, rtol=1e-6).any()


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"weights": None}, ["from_run"]),
        ({"weights": "x.keras", "remat": True}, ["remat"]),
        ({"weights": "x.keras", "progressive": "32"}, ["progressive"]),
        ({"weights": "x.keras", "mixed_precision": "bfloat16"}, ["mixed_precision=bfloat16"]),
        ({"weights": "x.keras", "strategy": "multi_worker"}, ["strategy=multi_worker"]),
    ],
)
def test_settings_that_do_not_fit(settings, names):
    with pytest.raises(UserError) as caught:
        TrainConfig(quantize="int8", **settings)
    for name in ("quantize=int8", *names):
        assert name in str(caught.value)


def test_a_network_that_cannot_compute_in_integers_is_rejected():
    model = create_model("test_deformable", 3)
    with pytest.raises(UserError, match="quantize=int8.*test_deformable"):
        quantization.find_ranges(TrainConfig(quantize="int8", weights="x.keras"), None, model, None)


@pytest.mark.parametrize(
    "text", ["", "{}", '{"ranges": [1]}', '{"ranges": {"a": [2, 1]}}', '{"ranges": {"a": 0}}']
)
def test_damaged_ranges_are_one_line(tmp_path, text):
    run = runs.Run(tmp_path)
    run.quantization_file.write_text(text)
    with pytest.raises(UserError, match="quantization.json.*damaged"):
        _ = run.trained_ranges


def test_ranges_of_another_version_are_one_line(shallow):
    from export import int8

    with pytest.raises(UserError, match="stem_conv"):
        int8.simulate(shallow, None, {"operation1": (0.0, 1.0)})


def test_ranges_that_are_lost_are_not_replaced_by_none(shallow):
    lost = types.SimpleNamespace(path="runs/lost", trained_ranges=None)
    config = TrainConfig(quantize="int8", weights="x.keras")
    with pytest.raises(UserError, match=r"runs/lost: .*quantization\.json"):
        quantization.find_ranges(config, None, shallow, lost)

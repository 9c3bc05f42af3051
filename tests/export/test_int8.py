"""Integers of 8 bits: how kernels are rounded, and that the file computes what was simulated."""

import keras
import numpy as np
import pytest

from recycle_tf import create_model, layers
from recycle_tf.evaluation import litert
from recycle_tf.quantization import fake_quantization, fold, ranges


def worn(arch, image_size=None):
    """A network whose normalization looks like that of a trained one."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    model = create_model(arch, 3, image_size)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.gamma.shape[0]
            weights = (
                rng.uniform(0.5, 1.5, size),
                rng.normal(0, 0.3, size),
                rng.normal(0, 0.3, size),
                rng.uniform(0.5, 1.5, size),
            )
            layer.set_weights([np.float32(one) for one in weights])
    return model


def images(model, count=24):
    """Smooth images: independent pixels would average out in the first layers."""
    size = model.input_shape[1]
    small = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3))
    return np.uint8(keras.ops.image.resize(np.float32(small), (size, size)))


def answers(path, pixels):
    predict = litert.open_predictor(path)
    return np.stack([predict(one) for one in pixels])


@pytest.fixture(scope="module")
def shallow():
    """A network whose logits are the mean of its last feature map, which an addition rounds."""
    keras.utils.set_random_seed(0)
    inputs, x = layers.image_input(16)
    x = layers.conv_norm_act(x, 4, 3, 2, activation="relu6", padding="same", name="stem_conv")
    branch = layers.conv_norm_act(x, 4, 1, activation=None, name="stage1_project")
    x = layers.add_residual(x, branch, name="stage1")
    model = keras.Model(inputs, layers.head(x, 4), name="shallow")
    model.get_layer("logits").set_weights([np.eye(4, dtype="float32"), np.zeros(4, "float32")])
    return model


def test_the_file_computes_what_was_simulated(shallow, tmp_path):
    from export import int8

    pixels = images(shallow)
    path = tmp_path / "model.tflite"
    path.write_bytes(int8.convert(shallow, pixels))
    simulated = np.float64(int8.simulate(shallow, pixels)(np.float32(pixels), training=False))
    found = np.log(np.float64(answers(path, pixels)))
    low, high = ranges.measure(fold.fold(shallow, through_relu=False), pixels)["stage1_add"]
    step = (high - low) / 255
    centered = [one - one.mean(axis=1, keepdims=True) for one in (found, simulated)]
    assert np.abs(centered[0] - centered[1]).max() < step
    exact = np.float64(shallow(np.float32(pixels), training=False))
    assert np.abs(simulated - exact).max() < 3 * step


def test_the_converter_takes_ranges_and_kernels_as_they_are(shallow, tmp_path):
    from export import int8

    pixels = images(shallow)
    path = tmp_path / "model.tflite"
    path.write_bytes(int8.convert(shallow, pixels))
    network = int8.simulate(shallow, pixels)
    details = litert.open_interpreter(path).get_tensor_details()
    scales = {one["quantization"][0] for one in details if one["dtype"] == np.int8}
    for low, high in ranges.measure(fold.fold(shallow, through_relu=False), pixels).values():
        width = max(high, 0) - min(low, 0)
        assert np.isclose(list(scales), width / 255, rtol=1e-5).any()
    channels = np.concatenate([one["quantization_parameters"]["scales"] for one in details])
    for layer in network.layers:
        if fake_quantization.is_quantized(layer):
            for scale in fake_quantization.kernel_scale(layer.get_weights()[0], (0, 1, 2)).ravel():
                assert np.isclose(channels, scale, rtol=1e-5).any()


@pytest.mark.parametrize(
    "arch", ["test_efficientnet", "test_densenet", "test_resnet", "test_lenet", "test_highway"]
)
def test_families_compute_in_integers(arch, tmp_path):
    from export import flat_buffer, gates, int8

    model = worn(arch)
    before, pixels = model.get_weights(), images(model)
    content = int8.convert(model, pixels)
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    # Behind it comes the head, which is float.
    assert flat_buffer.operations(content)["DEQUANTIZE"] == 1
    expected = keras.ops.convert_to_numpy(keras.ops.softmax(model(np.float32(pixels), training=False)))
    # Untrained networks amplify rounding; one wrong operation gives an error of about 1.
    assert gates.logit_error(answers(path, pixels), expected) < 0.25
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("arch", ["test_densenet", "test_densenet_cifar"])
def test_what_is_concatenated_is_not_rounded_again(arch):
    from export import flat_buffer, int8

    model = worn(arch)
    # One integer operation turns pixels from uint8 to int8.
    assert flat_buffer.operations(int8.convert(model, images(model)))["QUANTIZE"] == 1


def test_places_with_one_range_are_found_through_pooling():

    model = worn("test_densenet")
    folded = fold.fold(model, through_relu=False)
    shared = fake_quantization.shared_ranges(folded)
    # A dense block's feature maps, the convolutions that add to them, and the transition behind them.
    (first,) = (names for names in shared if "stage1_block1_concat" in names)
    assert {"stage1_block2_concat", "stage1_block1_conv2", "stem_conv_act"} <= first
    assert not any(names & other for names in shared for other in shared if names is not other)
    found = ranges.measure(folded, images(model))
    for names in shared:
        assert len({found[name] for name in names}) == 1


def test_what_swish_suppresses_takes_no_part_of_the_range():
    """A channel at -60 is as good as 0 behind the swish, and would take half of the 256 levels."""
    keras.utils.set_random_seed(0)
    inputs, x = layers.image_input(16)
    x = layers.conv_norm_act(x, 4, 3, 2, activation="swish", name="stem_conv")
    model = keras.Model(inputs, layers.head(x, 4), name="swish")
    model.get_layer("logits").set_weights([np.eye(4, dtype="float32"), np.zeros(4, "float32")])
    norm = model.get_layer("stem_conv_norm")
    gamma, beta, mean, variance = norm.get_weights()
    norm.set_weights([gamma, np.float32([-60, 0, 1, 2]), mean, variance])
    pixels, folded = images(model), fold.fold(model, through_relu=False)
    measured = ranges.measure(folded, pixels)
    (name,) = fake_quantization.read_by_swish(folded)
    assert measured[name][0] == ranges.SWISH_LOW

    def error(found):
        rounded = fake_quantization.insert(folded, found).predict(np.float32(pixels), verbose=0)
        return np.abs(rounded - model.predict(np.float32(pixels), verbose=0)).max()

    assert error(measured) < 0.5 * error({**measured, name: (-64.0, measured[name][1])})


def test_a_batch(tmp_path):
    from export import int8

    model = worn("test_efficientnet_lite")
    path = tmp_path / "model.tflite"
    path.write_bytes(int8.convert(model, images(model), batch=2))
    assert litert.open_interpreter(path).get_input_details()[0]["shape"].tolist() == [2, 32, 32, 3]


def correlated(count, channels, rng):
    """Inputs that vary in a few directions, as feature maps do."""
    directions = rng.normal(size=(channels // 5, channels))
    return rng.normal(size=(count, len(directions))) @ directions + 3


def test_compensated_rounding_changes_the_output_less():
    from export import rounding

    rng = np.random.default_rng(0)
    inputs, weights = correlated(2000, 200, rng), rng.standard_t(3, size=(200, 8))
    covariance = np.cov(inputs.T, bias=True)
    rounded = rounding.compensate(weights, covariance)
    nearest = fake_quantization.round_kernel(weights, 0)
    errors = [np.std(inputs @ (one - weights), axis=0).mean() for one in (rounded, nearest)]
    assert errors[0] < 0.6 * errors[1]
    scale = fake_quantization.kernel_scale(weights, 0)
    np.testing.assert_allclose(fake_quantization.kernel_scale(rounded, 0), scale)
    integers = rounded / scale
    np.testing.assert_allclose(integers, np.round(integers), atol=1e-9)


def test_blocks_only_change_the_speed(monkeypatch):
    from export import rounding

    rng = np.random.default_rng(0)
    inputs, weights = correlated(500, 40, rng), rng.normal(size=(40, 3))
    covariance = np.cov(inputs.T, bias=True)
    whole = rounding.compensate(weights, covariance)
    monkeypatch.setattr(rounding, "BLOCK", 7)
    np.testing.assert_allclose(rounding.compensate(weights, covariance), whole)


def test_the_bias_keeps_the_mean_of_every_channel(shallow):
    from export import rounding
    from recycle_tf.quantization import fold

    pixels = images(shallow)
    folded = fold.fold(shallow, through_relu=False)
    place = folded.get_layer("stage1_project").output
    watched = keras.Model(folded.input, place)
    before = watched(np.float32(pixels), training=False).numpy().mean(axis=(0, 1, 2))
    layer = folded.get_layer("stage1_project")
    moments = rounding.measure(folded, pixels)[layer]
    kernel, bias = layer.get_weights()
    rounded, change = rounding.round_kernel(layer, np.float64(kernel), moments)
    layer.set_weights([np.float32(rounded), np.float32(bias + change)])
    after = watched(np.float32(pixels), training=False).numpy().mean(axis=(0, 1, 2))
    np.testing.assert_allclose(after, before, atol=1e-3)


def test_moments_are_those_of_the_patches_that_a_kernel_sees():
    from export import rounding

    rng = np.random.default_rng(0)
    for layer in (
        keras.layers.Conv2D(3, 3, 2, "same"),
        keras.layers.DepthwiseConv2D(3, 1, "valid"),
        keras.layers.Conv2D(4, 3, 1, "same", groups=2),
    ):
        inputs = keras.Input((5, 5, 4))
        model = keras.Model(inputs, layer(inputs))
        pixels = np.uint8(rng.integers(0, 256, (3, 5, 5, 4)))
        (moments,) = rounding.measure(model, pixels).values()
        kernel = np.float64(layer.get_weights()[0])
        outputs = layer(np.float32(pixels)).numpy().mean(axis=(0, 1, 2))
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            taps = kernel.reshape(9, 4, 1).transpose(1, 0, 2)
            means = np.einsum("cto,ct->co", taps, moments.mean).ravel()
        else:
            means = np.zeros(kernel.shape[-1])
            for inputs_, outputs_ in rounding._groups(kernel, layer.groups):
                means[outputs_] = moments.mean[inputs_] @ kernel.reshape(-1, kernel.shape[-1])[:, outputs_]
        np.testing.assert_allclose(means, outputs, rtol=1e-4, atol=1e-3)


def test_a_layer_whose_inputs_never_vary_is_rounded():
    """As in a network that gives every image the same answer: of a covariance, rounding errors remain."""
    from export import rounding

    inputs = keras.Input((64,))
    layer = keras.layers.Dense(3)
    model = keras.Model(inputs, layer(inputs))
    images = np.tile(np.float32(np.random.default_rng(0).uniform(100, 300, 64)), (240, 1))
    images += np.random.default_rng(1).normal(0, 1e-5, images.shape).astype(np.float32)
    before = layer(images).numpy()
    (moments,) = rounding.measure(model, images).values()
    assert np.linalg.eigvalsh(moments.covariance).min() > 0
    rounding.round_kernels(model, images)
    np.testing.assert_allclose(layer(images).numpy(), before, rtol=0.02, atol=0.5)


def test_a_layer_too_large_for_a_covariance_keeps_its_mean(monkeypatch):
    from export import rounding

    monkeypatch.setattr(rounding, "LARGEST", 3)
    inputs = keras.Input((4,))
    layer = keras.layers.Dense(2)
    model = keras.Model(inputs, layer(inputs))
    pixels = np.uint8(np.random.default_rng(0).integers(0, 256, (40, 4)))
    before, kernel = layer(np.float32(pixels)).numpy().mean(axis=0), layer.get_weights()[0]
    rounding.round_kernels(model, pixels)
    np.testing.assert_allclose(layer.get_weights()[0], fake_quantization.round_kernel(kernel, 0), rtol=1e-6)
    np.testing.assert_allclose(layer(np.float32(pixels)).numpy().mean(axis=0), before, rtol=1e-4, atol=1e-3)

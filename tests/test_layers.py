"""The vocabulary."""

import keras
import numpy as np
import pytest

from recycle_tf import layers


def test_symmetric_padding_is_the_same_on_all_sides():
    """A strided convolution commutes with a half turn, which TensorFlow's `same` does not."""
    x = keras.Input((8, 8, 1))
    model = keras.Model(x, layers.conv(x, 1, 3, 2, name="c"))
    model.get_layer("c").kernel.assign(np.ones((3, 3, 1, 1)))
    picture = np.random.default_rng(0).normal(size=(1, 8, 8, 1)).astype(np.float32)
    expected = sum(
        np.pad(picture[0, :, :, 0], 1)[i : i + 8 : 2, j : j + 8 : 2] for i in range(3) for j in range(3)
    )
    np.testing.assert_allclose(model(picture)[0, :, :, 0], expected, atol=1e-5)


def test_preprocess_normalises_imagenets_pixels():
    inputs, outputs = layers.image_input(4)
    model = keras.Model(inputs, outputs)
    mean = np.broadcast_to(np.float32(layers.IMAGENET_MEAN), (1, 4, 4, 3))
    np.testing.assert_allclose(model(mean), 0, atol=1e-6)
    np.testing.assert_allclose(model(mean + np.float32(layers.IMAGENET_STD)), 1, atol=1e-6)


def test_drop_path_drops_whole_examples_and_keeps_the_mean():
    layer = layers.DropPath(0.25, seed=1)
    x = np.ones((4000, 2, 2, 3), np.float32)
    y = np.array(layer(x, training=True))
    per_example = y.reshape(4000, -1)
    assert (per_example == per_example[:, :1]).all()
    assert (per_example[:, 0] == 0).mean() == pytest.approx(0.25, abs=0.03)
    assert y.mean() == pytest.approx(1, abs=0.05)
    np.testing.assert_array_equal(layer(x, training=False), x)


def test_drop_path_rates_are_linear():
    assert layers.drop_path_rates(0.2, 5) == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    assert layers.drop_path_rates(0.2, 1) == [0]


def test_squeeze_excite_scales_each_channel_by_its_gate():
    x = keras.Input((4, 4, 8))
    model = keras.Model(x, layers.squeeze_excite(x, 2, name="se"))
    expand = model.get_layer("se_expand")
    expand.kernel.assign(np.zeros(expand.kernel.shape))
    expand.bias.assign(np.linspace(-4, 4, 8))
    picture = np.random.default_rng(0).normal(size=(1, 4, 4, 8)).astype(np.float32)
    gate = 1 / (1 + np.exp(-np.linspace(-4, 4, 8)))
    np.testing.assert_allclose(model(picture), picture * gate, rtol=1e-5)


def test_conv_starts_with_he_variance():
    keras.utils.set_random_seed(0)
    x = keras.Input((8, 8, 64))
    model = keras.Model(x, [layers.conv(x, 128, 3, name="c"), layers.depthwise_conv(x, 3, name="d")])
    assert np.std(model.get_layer("c").kernel) == pytest.approx(np.sqrt(2 / (9 * 128)), rel=0.02)
    assert np.std(model.get_layer("d").kernel) == pytest.approx(np.sqrt(2 / 9), rel=0.1)

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


def test_local_response_norm_is_the_papers_formula():
    picture = np.random.default_rng(0).normal(0, 30, (2, 3, 4, 9)).astype(np.float32)
    x = keras.Input((3, 4, 9))
    found = keras.Model(x, layers.local_response_norm(x, name="lrn"))(picture)
    expected = np.empty_like(picture)
    for c in range(9):
        energy = (picture[..., max(0, c - 2) : c + 3] ** 2).sum(-1)
        expected[..., c] = picture[..., c] / (2 + 1e-4 * energy) ** 0.75
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def deformable(modulated=False, strides=1, filters=3, size=6):
    """A layer, and a function of (map, offsets) with its kernel."""
    layer = layers.DeformableConv2D(filters, 3, strides, modulated=modulated)
    places = -(-size // strides)
    layer.build([(None, size, size, 2), (None, places, places, 27 if modulated else 18)])
    return layer, np.random.default_rng(0).normal(size=(2, size, size, 2)).astype(np.float32)


@pytest.mark.parametrize("strides", [1, 2])
def test_deformable_is_the_plain_convolution_at_zero_offsets(strides):
    layer, picture = deformable(strides=strides)
    x = keras.Input((6, 6, 2))
    plain = keras.Model(x, layers.conv(x, 3, 3, strides, name="c"))
    plain.get_layer("c").kernel.assign(layer.kernel)
    offsets = np.zeros((2, 6 // strides, 6 // strides, 18), np.float32)
    np.testing.assert_allclose(layer([picture, offsets]), plain(picture), atol=1e-6)


def test_modulation_starts_at_one_half():
    layer, picture = deformable(modulated=True)
    plain, _ = deformable()
    plain.kernel.assign(layer.kernel)
    found = layer([picture, np.zeros((2, 6, 6, 27), np.float32)])
    np.testing.assert_allclose(found, 0.5 * plain([picture, np.zeros((2, 6, 6, 18), np.float32)]), atol=1e-6)


@pytest.mark.parametrize("shift", [(1, 0), (0, -1), (2, 3), (-9, 0)])
def test_whole_offsets_shift_the_map(shift):
    layer, picture = deformable()
    offsets = np.tile(np.float32(shift), (2, 6, 6, 9))
    moved = np.zeros_like(picture)
    for row in range(6):
        for column in range(6):
            y, x = row + shift[0], column + shift[1]
            if 0 <= y < 6 and 0 <= x < 6:
                moved[:, row, column] = picture[:, y, x]
    found = np.array(layer([picture, offsets]))
    expected = np.array(layer([moved, np.zeros_like(offsets)]))
    # A 3x3 around the border sees what a shifted map has lost.
    reach = slice(1 + abs(shift[0]), 5 - abs(shift[0])), slice(1 + abs(shift[1]), 5 - abs(shift[1]))
    np.testing.assert_allclose(found[:, reach[0], reach[1]], expected[:, reach[0], reach[1]], atol=1e-5)
    if abs(shift[0]) > 6:
        np.testing.assert_allclose(found, 0, atol=1e-6)


def test_half_an_offset_is_the_mean_of_two():
    layer, picture = deformable()
    zero, one = np.zeros((2, 6, 6, 18), np.float32), np.tile(np.float32([1, 0]), (2, 6, 6, 9))
    half = layer([picture, 0.5 * one])
    np.testing.assert_allclose(half, 0.5 * (layer([picture, zero]) + layer([picture, one])), atol=1e-5)


def test_gradients_of_a_deformable_convolution_agree_with_finite_differences():
    import tensorflow as tf

    layer, picture = deformable(modulated=True, size=4)
    rng = np.random.default_rng(1)
    # Away from whole numbers, where a bilinear sample has a kink.
    where = rng.uniform(0.2, 0.8, (2, 4, 4, 27)).astype(np.float32)
    weights = rng.normal(size=(2, 4, 4, 3)).astype(np.float32)

    def value(x, offsets):
        return tf.reduce_sum(layer([x, offsets]) * weights)

    x, offsets = tf.constant(picture), tf.constant(where)
    with tf.GradientTape() as tape:
        tape.watch([x, offsets])
        total = value(x, offsets)
    gradients = [np.array(g) for g in tape.gradient(total, [x, offsets])]
    step = 1e-2
    for number, inputs in enumerate((picture, where)):
        for _ in range(20):
            place = tuple(rng.integers(0, n) for n in inputs.shape)
            change = np.zeros_like(inputs)
            change[place] = step
            ends = [
                float(
                    value(*[a + sign * change if i == number else a for i, a in enumerate((picture, where))])
                )
                for sign in (1, -1)
            ]
            numeric = (ends[0] - ends[1]) / (2 * step)
            assert gradients[number][place] == pytest.approx(numeric, rel=2e-2, abs=2e-3)


def test_places_stay_exact_in_mixed_precision():
    layer = layers.DeformableConv2D(1, 1, dtype="mixed_bfloat16")
    layer.build([(None, 1, 200, 1), (None, 1, 200, 2)])
    layer.kernel.assign(np.ones((1, 1, 1, 1)))
    # A map that is 1 at 128 and 0 elsewhere: rounded places would miss it by a pixel.
    spike = np.zeros((1, 1, 200, 1), np.float32)
    spike[0, 0, 128] = 1
    offsets = np.tile(np.float32([0, 0.25]), (1, 1, 200, 1))
    found = np.array(layer([spike, offsets])).astype(np.float32)[0, 0, :, 0]
    assert found[127] == pytest.approx(0.25, abs=1e-2)
    assert found[128] == pytest.approx(0.75, abs=1e-2)

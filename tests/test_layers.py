"""Building blocks shared by all models."""

import keras
import numpy as np
import pytest

from recycle_tf import layers


def test_symmetric_padding_is_equal_on_all_sides():
    """A strided convolution with a constant kernel equals the same sum over a symmetrically padded image."""
    x = keras.Input((8, 8, 1))
    model = keras.Model(x, layers.conv(x, 1, 3, 2, name="c"))
    model.get_layer("c").kernel.assign(np.ones((3, 3, 1, 1)))
    image = np.random.default_rng(0).normal(size=(1, 8, 8, 1)).astype(np.float32)
    expected = sum(
        np.pad(image[0, :, :, 0], 1)[i : i + 8 : 2, j : j + 8 : 2] for i in range(3) for j in range(3)
    )
    np.testing.assert_allclose(model(image)[0, :, :, 0], expected, atol=1e-5)


def test_preprocess_normalizes_imagenet_pixels():
    inputs, outputs = layers.image_input(4)
    model = keras.Model(inputs, outputs)
    mean = np.broadcast_to(np.float32(layers.IMAGENET_MEAN), (1, 4, 4, 3))
    np.testing.assert_allclose(model(mean), 0, atol=1e-6)
    np.testing.assert_allclose(model(mean + np.float32(layers.IMAGENET_STD)), 1, atol=1e-6)


def test_drop_path_drops_whole_examples_and_preserves_the_mean():
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
    image = np.random.default_rng(0).normal(size=(1, 4, 4, 8)).astype(np.float32)
    gate = 1 / (1 + np.exp(-np.linspace(-4, 4, 8)))
    np.testing.assert_allclose(model(image), image * gate, rtol=1e-5)


def test_conv_is_initialized_with_he_variance():
    keras.utils.set_random_seed(0)
    x = keras.Input((8, 8, 64))
    model = keras.Model(x, [layers.conv(x, 128, 3, name="c"), layers.depthwise_conv(x, 3, name="d")])
    assert np.std(model.get_layer("c").kernel) == pytest.approx(np.sqrt(2 / (9 * 128)), rel=0.02)
    assert np.std(model.get_layer("d").kernel) == pytest.approx(np.sqrt(2 / 9), rel=0.1)


def test_local_response_norm_equals_the_formula_of_the_paper():
    image = np.random.default_rng(0).normal(0, 30, (2, 3, 4, 9)).astype(np.float32)
    x = keras.Input((3, 4, 9))
    result = keras.Model(x, layers.local_response_norm(x, name="lrn"))(image)
    expected = np.empty_like(image)
    for c in range(9):
        energy = (image[..., max(0, c - 2) : c + 3] ** 2).sum(-1)
        expected[..., c] = image[..., c] / (2 + 1e-4 * energy) ** 0.75
    np.testing.assert_allclose(result, expected, rtol=1e-5)


def deformable(modulated=False, strides=1, filters=3, size=6):
    """A built layer and a random feature map `[2, size, size, 2]`."""
    layer = layers.DeformableConv2D(filters, 3, strides, modulated=modulated)
    positions = -(-size // strides)
    layer.build([(None, size, size, 2), (None, positions, positions, 27 if modulated else 18)])
    return layer, np.random.default_rng(0).normal(size=(2, size, size, 2)).astype(np.float32)


@pytest.mark.parametrize("strides", [1, 2])
def test_deformable_conv_equals_a_plain_conv_at_zero_offsets(strides):
    layer, image = deformable(strides=strides)
    x = keras.Input((6, 6, 2))
    plain = keras.Model(x, layers.conv(x, 3, 3, strides, name="c"))
    plain.get_layer("c").kernel.assign(layer.kernel)
    offsets = np.zeros((2, 6 // strides, 6 // strides, 18), np.float32)
    np.testing.assert_allclose(layer([image, offsets]), plain(image), atol=1e-6)


def test_modulation_starts_at_one_half():
    layer, image = deformable(modulated=True)
    plain, _ = deformable()
    plain.kernel.assign(layer.kernel)
    result = layer([image, np.zeros((2, 6, 6, 27), np.float32)])
    np.testing.assert_allclose(result, 0.5 * plain([image, np.zeros((2, 6, 6, 18), np.float32)]), atol=1e-6)


@pytest.mark.parametrize("shift", [(1, 0), (0, -1), (2, 3), (-13, 0)])
def test_integer_offsets_shift_the_feature_map(shift):
    layer, image = deformable(size=10)
    offsets = np.tile(np.float32(shift), (2, 10, 10, 9))
    shifted = np.zeros_like(image)
    for row in range(10):
        for column in range(10):
            y, x = row + shift[0], column + shift[1]
            if 0 <= y < 10 and 0 <= x < 10:
                shifted[:, row, column] = image[:, y, x]
    result = np.array(layer([image, offsets]))
    expected = np.array(layer([shifted, np.zeros_like(offsets)]))
    # Near the border, a 3x3 kernel sees values that the shifted map no longer contains.
    inner = slice(1 + abs(shift[0]), 9 - abs(shift[0])), slice(1 + abs(shift[1]), 9 - abs(shift[1]))
    np.testing.assert_allclose(result[:, inner[0], inner[1]], expected[:, inner[0], inner[1]], atol=1e-5)
    if abs(shift[0]) > 10:
        np.testing.assert_allclose(result, 0, atol=1e-6)
    else:
        assert result[:, inner[0], inner[1]].size


def test_half_an_offset_is_the_mean_of_two():
    layer, image = deformable()
    zero, one = np.zeros((2, 6, 6, 18), np.float32), np.tile(np.float32([1, 0]), (2, 6, 6, 9))
    half = layer([image, 0.5 * one])
    np.testing.assert_allclose(half, 0.5 * (layer([image, zero]) + layer([image, one])), atol=1e-5)


def test_gradients_of_a_deformable_conv_agree_with_finite_differences():
    import tensorflow as tf

    layer, image = deformable(modulated=True, size=4)
    rng = np.random.default_rng(1)
    # Not near integers, where a bilinear sample is not differentiable.
    offsets = rng.uniform(0.2, 0.8, (2, 4, 4, 27)).astype(np.float32)
    weights = rng.normal(size=(2, 4, 4, 3)).astype(np.float32)

    def value(x, offsets):
        return tf.reduce_sum(layer([x, offsets]) * weights)

    inputs = [tf.constant(image), tf.constant(offsets)]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        total = value(*inputs)
    gradients = [np.array(g) for g in tape.gradient(total, inputs)]
    step = 1e-2
    for number, array in enumerate((image, offsets)):
        for _ in range(20):
            index = tuple(rng.integers(0, n) for n in array.shape)
            change = np.zeros_like(array)
            change[index] = step
            above, below = (
                float(
                    value(*[a + sign * change if i == number else a for i, a in enumerate((image, offsets))])
                )
                for sign in (1, -1)
            )
            assert gradients[number][index] == pytest.approx((above - below) / (2 * step), rel=2e-2, abs=2e-3)


def test_positions_are_exact_in_mixed_precision():
    layer = layers.DeformableConv2D(1, 1, dtype="mixed_bfloat16")
    layer.build([(None, 1, 200, 1), (None, 1, 200, 2)])
    layer.kernel.assign(np.ones((1, 1, 1, 1)))
    # 1 at column 128 and 0 elsewhere: rounded positions would miss it by a pixel.
    spike = np.zeros((1, 1, 200, 1), np.float32)
    spike[0, 0, 128] = 1
    offsets = np.tile(np.float32([0, 0.25]), (1, 1, 200, 1))
    result = np.array(layer([spike, offsets])).astype(np.float32)[0, 0, :, 0]
    assert result[127] == pytest.approx(0.25, abs=1e-2)
    assert result[128] == pytest.approx(0.75, abs=1e-2)

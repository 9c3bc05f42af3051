"""Folding for inference: the same outputs with fewer operations."""

import collections

import keras
import numpy as np
import pytest

from export import int8, tflite
from recycle_tf import create_model, list_models
from recycle_tf.quantization import fold
from tests.export.conftest import SPEC


def trained_like(arch, seed=0, least_gamma=-1.5):
    """A network with norms as after training, but with more negative and tiny scales."""
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    model = create_model(arch, 3)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.gamma.shape[0]
            gamma = rng.uniform(least_gamma, 1.5, size)
            if least_gamma < 0:
                gamma[0] = 1e-6
            weights = gamma, rng.normal(0, 0.5, size), rng.normal(0, 1, size), rng.uniform(0.2, 3, size)
            layer.set_weights([np.float32(one) for one in weights])
        elif getattr(layer, "use_bias", False):
            layer.bias.assign(rng.normal(0, 0.5, layer.bias.shape))
    return model


def images_for(model):
    return np.random.default_rng(1).integers(0, 256, (3, *model.input_shape[1:])).astype("float32")


def kinds(model):
    return collections.Counter(type(operation).__name__ for operation in model.operations)


@pytest.mark.parametrize("arch", list_models("test_*"))
def test_the_outputs_are_the_same(arch):
    compare(arch, least_gamma=-1.5)


@pytest.mark.parametrize("through_relu", [True, False])
@pytest.mark.parametrize("arch", ["test_densenet", "test_densenet_cifar", "test_preact", "test_resnet_v1"])
def test_positive_scales_pass_a_relu(arch, through_relu):
    compare(arch, least_gamma=0.1, through_relu=through_relu)


def compare(arch, least_gamma, through_relu=True):
    model = trained_like(arch, least_gamma=least_gamma)
    before, images = model.get_weights(), images_for(model)
    folded = fold.fold(model, through_relu)
    expected = model(images, training=False).numpy()
    np.testing.assert_allclose(folded(images, training=False), expected, atol=1e-5 * abs(expected).max())
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not {"BatchNormalization", "Rescaling", "Dropout", "Identity"} & set(kinds(folded))


@pytest.mark.parametrize(
    ("arch", "least_gamma", "expected"),
    [
        # One addition for the mean of the image, and one per residual block.
        ("test_resnet", 0.1, {"ADD": 1 + 4}),
        ("test_resnet", -1.5, {"ADD": 1 + 4}),
        # One per norm before a convolution: 8 dense blocks, 3 transitions, the last one;
        ("test_densenet", 0.1, {"ADD": 1 + 12, "AVERAGE_POOL_2D": 3}),
        # and a multiplication for each if a scale is negative.
        ("test_densenet", -1.5, {"ADD": 1 + 12, "MUL": 12, "AVERAGE_POOL_2D": 3}),
        # 5 blocks, the norms before four of them, and the last one.
        ("test_preact", 0.1, {"ADD": 1 + 5 + 5}),
        # Swish and the gates of squeeze-and-excitation are multiplications.
        ("test_efficientnet", -1.5, {"ADD": 1 + 1, "MUL": 13 + 4}),
        ("test_efficientnet_lite", -1.5, {"ADD": 1 + 1}),
    ],
)
def test_remaining_operations(arch, least_gamma, expected, tmp_path):
    model = trained_like(arch, least_gamma=least_gamma)
    operations = tflite.export(SPEC, model, "tflite_float32", tmp_path).operations
    names = ("ADD", "SUB", "MUL", "AVERAGE_POOL_2D", "TRANSPOSE", "SHAPE", "PACK")
    assert {name: operations[name] for name in names if name in operations} == expected


def test_a_first_convolution_without_padding_absorbs_the_mean():
    model = trained_like("test_alexnet")
    folded = fold.fold(model)
    assert folded.get_layer("stem_conv").input.name == "image"


def test_pooling_moves_before_a_pointwise_convolution():
    model = trained_like("test_densenet")
    size = model.get_layer("stage2_transition_conv").output.shape[1]
    assert fold.fold(model).get_layer("stage2_transition_conv").output.shape[1] == size // 2


def test_integers_are_not_converted_to_float_between_dense_blocks(tmp_path):
    model = trained_like("test_densenet", least_gamma=0.1)
    images = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3)).astype(np.uint8)
    exported = int8.export(SPEC, model, "tflite_int8", tmp_path, images)
    assert exported.operations["CONCATENATION"] == 8
    # At the input and at the output of the graph only: what is concatenated has one range.
    assert (exported.operations["QUANTIZE"], exported.operations["DEQUANTIZE"]) == (1, 1)
    assert exported.operations["MUL"] == 12
    expected = np.array(keras.ops.softmax(model(images.astype("float32"))))
    assert abs(tflite.load(exported.path)(images) - expected).mean() < 0.05

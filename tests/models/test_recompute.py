"""Recomputation changes what is saved for the gradient, and nothing else."""

import keras
import numpy as np
import pytest

from recycle_tf.errors import UserError
from recycle_tf.models import create_model, list_models, recompute, registry, summary
from recycle_tf.models.recompute import RecomputedModel

WITH_BLOCKS = [
    arch
    for arch in list_models("test_*")
    if any("_block" in layer.name for layer in create_model(arch, 2).layers)
]


def variables_after_two_steps(arch, remat):
    keras.utils.set_random_seed(1)
    model = create_model(arch, 3, remat=remat)
    assert isinstance(model, RecomputedModel) == remat
    size = model.input_shape[1]
    images = np.random.default_rng(0).uniform(0, 255, (8, size, size, 3)).astype("float32")
    labels = np.eye(3, dtype="float32")[np.arange(8) % 3]
    model.compile(keras.optimizers.SGD(0.1), keras.losses.CategoricalCrossentropy(from_logits=True))
    model.fit(images, labels, batch_size=4, shuffle=False, verbose=0)
    return [(variable.path, np.asarray(variable.value)) for variable in model.variables]


@pytest.mark.parametrize("arch", WITH_BLOCKS)
def test_training_steps_are_the_same(arch):
    """Weights, moving statistics (updated once per step) and the seeds of stochastic depth."""
    plain, recomputed = (variables_after_two_steps(arch, remat) for remat in (False, True))
    for (path, value), (_, other) in zip(plain, recomputed, strict=True):
        # Up to rounding: TensorFlow fuses the two graphs differently.
        np.testing.assert_allclose(value, other, rtol=1e-5, atol=1e-6, err_msg=path)


def test_blocks_run_again_for_the_gradient(monkeypatch):
    import tensorflow as tf

    runs = []
    call = keras.layers.Concatenate.call

    def counted(self, inputs):
        runs.append(self.name)
        return call(self, inputs)

    model = create_model("test_densenet", 3, remat=True)
    monkeypatch.setattr(keras.layers.Concatenate, "call", counted)
    images = tf.random.stateless_uniform((2, 32, 32, 3), (0, 0), 0, 255)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(images, training=True))
    forward = len(runs)
    tape.gradient(loss, [v.value for v in model.trainable_variables])
    assert forward == 8  # Two layers in each of four dense blocks.
    assert sorted(runs[forward:]) == sorted(runs[:forward])
    runs.clear()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(images, training=False))
    tape.gradient(loss, [v.value for v in model.trainable_variables])
    assert len(runs) == 8


def test_a_loaded_model_still_recomputes(tmp_path):
    model = create_model("test_efficientnet", 3, remat=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, RecomputedModel)
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    np.testing.assert_allclose(loaded(images), model(images), atol=1e-6)
    assert [layer.name for layer in loaded.layers] == [
        layer.name for layer in create_model("test_efficientnet", 3).layers
    ]


def test_training_model_recomputes_and_shares_its_variables():
    model = create_model("test_densenet", 3)
    recomputing, weights = registry.training_model(model, 3, RecomputedModel)
    assert isinstance(recomputing, RecomputedModel)
    assert not isinstance(model, RecomputedModel)
    assert weights == [1.0]
    assert all(a is b for a, b in zip(recomputing.variables, model.variables, strict=True))


def test_frozen_kernels_stay_in_mixed_precision():
    """They are read as bfloat16 inside of the network."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = create_model("test_resnet", 3)
    finally:
        keras.config.set_dtype_policy("float32")
    recomputing, _ = registry.training_model(model, 3, RecomputedModel)
    conv = model.get_layer("stage1_block1_conv1")
    conv.trainable = False
    before = np.array(conv.kernel.value)
    statistics = model.get_layer("stage1_block1_conv1_norm").moving_mean
    first = np.array(statistics.value)
    recomputing(np.full((2, *model.input_shape[1:]), 100, np.float32), training=True)
    np.testing.assert_array_equal(conv.kernel.value, before)
    assert (np.array(statistics.value) != first).any()


def test_letters_in_the_names_of_blocks():
    """The copies inside a fractal block are `stage1_block1a_…`, `stage1_block1ab_…`."""
    assert recompute.block_of("stage1_block1ab_column2_conv") == "stage1_block1"
    assert recompute.block_of("stage1_block11_conv1") == "stage1_block11"
    assert recompute.block_of("stage1_pool") is None
    assert [stage.blocks for stage in summary.stages("test_fractalnet") if stage.name != "head"][1:] == [
        1
    ] * 3


def test_a_network_without_blocks():
    with pytest.raises(UserError, match="`remat`.*vgg11"):
        create_model("vgg11", 3, remat=True)

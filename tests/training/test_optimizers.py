"""Optimizers: weight decay, learning-rate multipliers, loss scaling on several devices."""

import keras
import numpy as np
import pytest

from recycle_tf import create_model, layers
from recycle_tf.training import optimizers, phases
from tests.conftest import run_python


@pytest.mark.parametrize("name", ["adamw", "sgd", "lion", "lamb"])
def test_weight_decay_does_not_apply_to_biases_and_norms(name):
    optimizer = optimizers.make_optimizer(name, 0.1, weight_decay=0.5)
    model = create_model("test_resnet", 3)
    before = {v.path: np.array(v) for v in model.trainable_variables}
    optimizer.apply([keras.ops.zeros_like(v) for v in model.trainable_variables], model.trainable_variables)
    assert {v.name for v in model.trainable_variables} == {"kernel", "bias", "gamma", "beta"}
    for variable in model.trainable_variables:
        factor = 0.95 if variable.name == "kernel" else 1
        np.testing.assert_allclose(variable, factor * before[variable.path], rtol=1e-5)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_offsets_learn_at_a_tenth_of_the_learning_rate(name):
    keras.utils.set_random_seed(0)
    x = keras.Input((8, 8, 2))
    model = keras.Model(x, [layers.conv(x, 3, 3, name="plain"), layers.conv(x, 3, 3, name="some_offset")])
    before = [np.array(v) for v in model.trainable_variables]
    multipliers = phases.set_lr_multipliers(model, layers.LEARNING_RATE_MULTIPLIERS)
    optimizer = optimizers.make_optimizer(name, 0.1, weight_decay=0.0, lr_multipliers=multipliers)
    optimizer.apply([keras.ops.ones_like(v) for v in model.trainable_variables], model.trainable_variables)
    plain, slow = (
        np.abs(np.array(v) - b).mean() for v, b in zip(model.trainable_variables, before, strict=True)
    )
    assert slow == pytest.approx(plain / 10, rel=1e-3)


OVERFLOW_ON_THE_SECOND_DEVICE = """
from recycle_tf import cli
tf = cli.import_tensorflow()
import keras
from recycle_tf.training.optimizers import make_optimizer
from recycle_tf.training.strategy import make_strategy
keras.config.set_dtype_policy("mixed_float16")
strategy = make_strategy("mirrored", 2)
with strategy.scope():
    variable = keras.Variable([1.0, 2.0])
    optimizer = make_optimizer("sgd", 0.1, 0.0)
    optimizer.build([variable])

def device():
    number = tf.distribute.get_replica_context().replica_id_in_sync_group
    optimizer.apply([tf.where(number == 1, float("inf"), 1.0) * tf.ones(2)], [variable])

tf.function(lambda: strategy.run(device))()
print(variable.numpy().tolist())
"""


def test_a_loss_scale_is_built_once():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = create_model("test_lenet", 3)
        optimizer = optimizers.make_optimizer("adamw", 0.1, weight_decay=0.5)
    finally:
        keras.config.set_dtype_policy("float32")
    optimizer.build(model.trainable_variables)
    before = [variable.path for variable in optimizer.variables]
    scale = optimizer.dynamic_scale
    optimizer.build(model.trainable_variables)
    # A checkpoint asks for them each time: more of them could not be restored.
    assert [variable.path for variable in optimizer.variables] == before
    assert optimizer.dynamic_scale is scale


def test_a_step_that_overflows_on_any_device_is_skipped():
    result = run_python("-c", OVERFLOW_ON_THE_SECOND_DEVICE)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().endswith("[1.0, 2.0]")

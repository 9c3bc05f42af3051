"""What a training run prints before its first epoch."""

import re
import time

import keras
import numpy as np
import tensorflow as tf

from recycle_tf import create_model
from recycle_tf.config import TrainConfig
from recycle_tf.training import loop, preflight
from recycle_tf.training.phases import Phase


def compiled():
    """A small network with weights, statistics, dropout seeds and optimizer slots."""
    keras.utils.set_random_seed(0)
    parts = [keras.layers.Dense(16), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)]
    model = keras.Sequential([keras.Input([8]), *parts, keras.layers.Dense(3)])
    loop.compile_model(model, [1.0], TrainConfig(), 10, np.ones(3), Phase(0, 1, 10, ()))
    return model


def batches():
    """Four different batches of eight."""
    examples = np.random.default_rng(0).normal(size=(32, 8)).astype(np.float32)
    labels = np.eye(3, dtype=np.float32)[np.arange(32) % 3]
    return tf.data.Dataset.from_tensor_slices((examples, labels)).batch(8, drop_remainder=True)


def speeds(line):
    pattern = r"pipeline ([\d,]+) images/s, model ([\d,]+), each alone: the (\w+) is the bottleneck"
    pipeline, steps, slower = re.fullmatch(pattern, line).groups()
    return int(pipeline.replace(",", "")), int(steps.replace(",", "")), slower


def test_measuring_the_speed_changes_nothing_that_training_depends_on():
    trained = []
    for measured in (False, True):
        model = compiled()
        variables = [*model.variables, *model.optimizer.variables]
        before = [variable.numpy() for variable in variables]
        if measured:
            speeds(preflight.speeds(model, batches(), next(iter(batches()))))
        for variable, value in zip(variables, before, strict=True):
            np.testing.assert_array_equal(variable, value, err_msg=variable.path)
        history = model.fit(batches(), epochs=2, shuffle=False, verbose=0).history
        trained.append((history, [variable.numpy() for variable in variables]))
    (history, weights), (history_after, weights_after) = trained
    assert history == history_after
    for a, b in zip(weights, weights_after, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_slower_one_is_named():
    def slowly(examples, labels):
        with tf.control_dependencies([tf.py_function(lambda: time.sleep(0.5), [], [])]):
            return tf.identity(examples), labels

    slow = batches().map(slowly)
    pipeline, steps, slower = speeds(preflight.speeds(compiled(), slow, next(iter(slow))))
    assert pipeline <= 8 / 0.5 < steps
    assert slower == "pipeline"
    *_, slower = speeds(preflight.speeds(compiled(), batches(), next(iter(batches()))))
    assert slower == "model"


def test_activations_grow_with_the_batch_and_shrink_with_recomputation():
    def activations(batch_size, remat=False):
        model, config = create_model("test_densenet", 3), TrainConfig(remat=remat)
        training = loop.prepare(model, config, tf.distribute.get_strategy(), np.ones(3), 10, None)
        line = preflight.expected_memory(training, batch_size, remat)
        return float(re.search(r"expected: (\d+\.\d\d) activations", line)[1])

    whole = activations(10_000)
    assert whole > 1
    assert abs(activations(20_000) - 2 * whole) < 0.02
    assert 0 < activations(10_000, remat=True) < whole

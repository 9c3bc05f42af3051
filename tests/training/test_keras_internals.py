"""What the package relies on of Keras' non-public members; see `recycle_tf.training.keras_internals`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from recycle_tf.training import keras_internals
from recycle_tf.training.optimizers import make_optimizer
from recycle_tf.training.tensorboard import ConfusionMatrix


def model(bases=(keras.Model,)):
    inputs = keras.Input([4])
    outputs = keras.layers.Dense(3, name="logits")(inputs)
    made = type("Made", bases, {})(inputs, outputs)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    made.compile(make_optimizer("sgd", 0.1, 0.0, ema=0.9), loss, metrics=["accuracy", ConfusionMatrix(3)])
    return made


def test_the_members_exist():
    made = model()
    for name in ("_loss_tracker", "_maybe_symbolic_build", "_symbolic_build"):
        assert hasattr(made, name), name
    made.optimizer.build(made.trainable_variables)
    for name in (
        "_clip_gradients",
        "_get_variable_index",
        "_trainable_variables",
        "_model_variables_moving_average",
    ):
        assert hasattr(made.optimizer, name), name


def test_a_recorded_loss_is_the_one_that_fit_reports():
    class RecordsSeven(keras.Model):
        def train_step(self, data):
            x, y = data
            keras_internals.record_loss(self, tf.constant(7.0), tf.shape(x)[0])
            return self.compute_metrics(x, y, self(x))

    history = model((RecordsSeven,)).fit(np.ones([6, 4]), np.eye(3)[[0, 1, 2] * 2], verbose=0).history
    assert history["loss"] == [7.0]


def test_metrics_are_built_from_shapes():
    made = model((keras_internals.BuildFromShapes, keras.Model))
    assert len(made.metrics_variables) == 2  # the loss
    keras_internals.build_metrics(made)
    expected = [variable.shape for variable in made.metrics_variables]
    assert len(expected) == 5
    made.fit(np.ones([6, 4]), np.eye(3)[[0, 1, 2] * 2], verbose=0)
    assert [variable.shape for variable in made.metrics_variables] == expected


def test_a_model_that_builds_from_shapes_ignores_the_first_batch():
    made = model((keras_internals.BuildFromShapes, keras.Model))
    made._maybe_symbolic_build(iterator=None)
    assert len(made.metrics_variables) == 5


def test_clipping_on_one_device_is_that_of_keras():
    optimizer = make_optimizer("sgd", 0.1, 0.0, clip_norm=1.0)
    clipped = optimizer._clip_gradients([tf.constant([3.0]), tf.constant([4.0])])
    assert np.ravel(clipped) == pytest.approx([0.6, 0.8])


def test_variable_path_is_that_of_the_variable_that_is_updated():
    made, paths = model(), []

    class Records(keras.optimizers.SGD):
        def update_step(self, gradient, variable, learning_rate):
            paths.append(keras_internals.variable_path(self, variable))
            super().update_step(gradient, variable, learning_rate)

    Records(0.1).apply([keras.ops.ones_like(v) for v in made.trainable_variables], made.trainable_variables)
    assert paths == ["logits/kernel", "logits/bias"]


def test_weight_averages_follow_the_weights():
    made = model()
    made.fit(np.ones([6, 4]), np.eye(3)[[0, 1, 2] * 2], verbose=0)
    averages = keras_internals.weight_averages(made.optimizer)
    assert [average.shape for average in averages] == [v.shape for v in made.trainable_variables]
    wrapped = keras.optimizers.LossScaleOptimizer(made.optimizer)
    assert keras_internals.weight_averages(wrapped) is averages


def test_a_compiled_metric_is_found_by_its_class():
    made = model()
    keras_internals.build_metrics(made)
    assert keras_internals.compiled_metric(made, ConfusionMatrix).num_classes == 3

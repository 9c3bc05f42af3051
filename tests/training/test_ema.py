"""Exponential moving average of the weights."""

import keras
import numpy as np
import tensorflow as tf

from recycle_tf.training.best_model import BestModel
from recycle_tf.training.ema import AveragedWeights
from recycle_tf.training.keras_internals import weight_averages
from tests.training.test_accumulation import batch, compiled


def test_the_average_is_evaluated_and_saved_if_it_is_better(tmp_path):
    model = compiled("test_lenet", ema=0.9)
    model.fit(*batch(), epochs=3, verbose=0)
    validation = tf.data.Dataset.from_tensors(batch())
    weights = [np.array(v) for v in model.trainable_variables]
    averages = [np.array(v) for v in weight_averages(model.optimizer)]
    results = model.evaluate(validation, verbose=0, return_dict=True)

    best = BestModel(model, tmp_path / "model.keras")
    averaged = AveragedWeights(validation, best)
    for callback in (best, averaged):
        callback.set_model(model)
    for loss, expected in ((results["loss"] + 1e6, averages), (-1e6, weights)):
        best.best, best.epochs_since = (-1.0, 0.0), 0
        logs = {"val_accuracy": results["accuracy"] * (loss < 0), "val_loss": loss}
        for callback in (best, averaged):
            callback.on_epoch_end(0, logs)
        assert best.epochs_since == 0
        saved = keras.saving.load_model(tmp_path / "model.keras", compile=False)
        for a, b in zip(saved.trainable_variables, expected, strict=True):
            np.testing.assert_array_equal(a, b)
        for a, b in zip(model.trainable_variables, weights, strict=True):
            np.testing.assert_array_equal(a, b)
        assert logs["val_ema_loss"] != results["loss"]

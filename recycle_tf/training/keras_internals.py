"""What this package uses of Keras that is not public, all in one place.

`tests/training/test_keras_internals.py` tests each of them, so that a Keras release that changes one is
noticed.

- `Trainer._loss_tracker`, in `record_loss`: the only way for a custom `train_step` to report its loss.
- `Trainer._maybe_symbolic_build` (overridden) and `Trainer._symbolic_build`, in `BuildFromShapes` and
  `build_metrics`: `fit` cannot build metrics from the batches of several workers.
- `Optimizer._clip_gradients` (overridden), in `ClipWholeBatch`: to clip after the sum over the devices.
- `Optimizer._get_variable_index` and `Optimizer._trainable_variables`, in `variable_path`: `update_step` is
  not told the path of its variable.
- `Optimizer._model_variables_moving_average`, in `weight_averages`: the averages that `use_ema` maintains.
- `CompileMetrics.metrics`, in `compiled_metric`: `compile` wraps its metrics in one of its own.

Public methods are overridden in `optimizers` (`update_step`, `finalize_variable_values`, `check_finite`),
`accumulation` and `multi_worker` (`train_step`, `test_step`).
"""

import itertools

import keras
import tensorflow as tf


def record_loss(model, loss, num_examples):
    """Adds the mean loss of a batch to the loss that `fit` reports.

    Args:
        model: a compiled model.
        loss: mean over the batch.
        num_examples: size of the batch, its weight in the mean of the epoch.
    """
    model._loss_tracker.update_state(loss, sample_weight=num_examples)


def build_metrics(model):
    """Creates the metrics' variables of a compiled model from the shapes of its input and output."""
    labels = keras.KerasTensor((None, model.output.shape[-1]))
    with model.distribute_strategy.scope():
        model._symbolic_build(data_batch=(model.input, labels))


class BuildFromShapes:
    """Base class to put before `keras.Model`: `fit` builds metrics from shapes, not from a first batch."""

    def _maybe_symbolic_build(self, *args, **kwargs):
        build_metrics(self)


class ClipWholeBatch:
    """Base class to put before a Keras optimizer: clips the gradient of the whole batch on several devices.

    Keras clips the gradient of each device's part before they are summed, which gives another direction than
    a single device would take.
    """

    def _clip_gradients(self, grads):
        context = tf.distribute.get_replica_context()
        replicas = context.num_replicas_in_sync
        if self.global_clipnorm is None or replicas == 1:
            return super()._clip_gradients(grads)
        grads, _ = tf.clip_by_global_norm(
            context.all_reduce(tf.distribute.ReduceOp.SUM, grads), self.global_clipnorm
        )
        # Keras sums the gradients of the devices, which are now equal.
        return [gradient / replicas for gradient in grads]


def variable_path(optimizer, variable):
    """Path, for example `stem_conv/kernel`, of the backend variable that `update_step` gets."""
    return optimizer._trainable_variables[optimizer._get_variable_index(variable)].path


def weight_averages(optimizer):
    """The moving averages that an optimizer with `use_ema` maintains, in the order of its variables."""
    # For float16, the optimizer is wrapped in one that scales the loss.
    return getattr(optimizer, "inner_optimizer", optimizer)._model_variables_moving_average


def compiled_metric(model, metric_class):
    """The metric of a class that a model was compiled with."""
    metrics = itertools.chain.from_iterable(getattr(metric, "metrics", ()) for metric in model.metrics)
    return next(metric for metric in metrics if isinstance(metric, metric_class))

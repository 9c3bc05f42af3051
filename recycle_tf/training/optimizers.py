"""What takes the gradient of a batch and moves the weights: Keras' optimizers, right on several devices."""

import re

import keras
import tensorflow as tf


def make_optimizer(name, learning_rate, weight_decay, *, rate_multipliers=(), clip_norm=None, ema=None):
    """A Keras optimizer with decoupled weight decay, which biases and norms are spared.

    Args:
        name: `adamw`, `sgd` (momentum 0.9, Nesterov), `momentum` (0.9), `rmsprop`, `lion` or `lamb`.
        learning_rate: a number or a schedule.
        weight_decay: times the learning rate, taken off each weight at each step.
        rate_multipliers: pairs of a pattern and what the rate is multiplied with for variables in whose path
            it is found.
        clip_norm: the longest that the gradient of a whole batch may be, over all weights; None for any.
        ema: momentum of an exponential moving average of the weights, kept beside them; None for none.
    """
    base, settings = {
        "adamw": (keras.optimizers.AdamW, {}),
        "sgd": (keras.optimizers.SGD, {"momentum": 0.9, "nesterov": True}),
        "momentum": (keras.optimizers.SGD, {"momentum": 0.9}),
        # Settings of arXiv 1905.11946, section 5.2, and of its authors' program.
        "rmsprop": (keras.optimizers.RMSprop, {"rho": 0.9, "momentum": 0.9, "epsilon": 1e-3}),
        "lion": (keras.optimizers.Lion, {}),
        "lamb": (keras.optimizers.Lamb, {}),
    }[name]
    averaging = {} if ema is None else {"use_ema": True, "ema_momentum": ema}
    optimizer = type(base.__name__, (_WholeBatch, base), {})(
        learning_rate, weight_decay=weight_decay, global_clipnorm=clip_norm, **settings, **averaging
    )
    optimizer.rate_multipliers = rate_multipliers
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    float16 = keras.config.dtype_policy().name == "mixed_float16"
    return _LossScale(optimizer) if float16 else optimizer


class _LossScale(keras.optimizers.LossScaleOptimizer):
    """Scales the loss, so that float16 holds its gradients; leaves out a step in which one overflows."""

    def check_finite(self, grads):
        """Whether the gradients of all devices are finite; Keras asks the first device alone."""
        finite = super().check_finite(grads)
        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync == 1:
            return finite
        overflown = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.cast(~finite, tf.float32))
        return tf.equal(overflown, 0)


class _WholeBatch:
    """Goes before a Keras optimizer among the bases of a class."""

    def _clip_gradients(self, grads):
        """Clips the gradient of the whole batch.

        Keras clips that of each device's part, before they are added up: another direction than one device
        would take.
        """
        context = tf.distribute.get_replica_context()
        replicas = context.num_replicas_in_sync
        if self.global_clipnorm is None or replicas == 1:
            return super()._clip_gradients(grads)
        grads, _ = tf.clip_by_global_norm(
            context.all_reduce(tf.distribute.ReduceOp.SUM, grads), self.global_clipnorm
        )
        # Keras adds up those of the devices, which are now all the same.
        return [gradient / replicas for gradient in grads]

    def update_step(self, gradient, variable, learning_rate):
        """Multiplies the rate of the variables that `rate_multipliers` names; Keras has one rate for all."""
        # What arrives is the backend's variable, which has no path.
        path = self._trainable_variables[self._get_variable_index(variable)].path
        for pattern, multiplier in self.rate_multipliers:
            if re.search(pattern, path):
                learning_rate = learning_rate * multiplier
        super().update_step(gradient, variable, learning_rate)

    def finalize_variable_values(self, var_list):
        """Nothing: `fit` would end by putting the average into the model, better or not."""

"""Keras' optimizers, corrected for several devices, with learning-rate multipliers per variable."""

import re

import keras
import tensorflow as tf

from recycle_tf.training.keras_internals import ClipWholeBatch, variable_path


def make_optimizer(name, learning_rate, weight_decay, *, lr_multipliers=(), clip_norm=None, ema=None):
    """Builds a Keras optimizer with decoupled weight decay, which does not apply to biases and norms.

    Args:
        name: `adamw`, `sgd` (momentum 0.9, Nesterov), `momentum` (0.9), `rmsprop`, `lion` or `lamb`.
        learning_rate: a number or a schedule.
        weight_decay: fraction that, times the learning rate, is subtracted from each weight at each step;
            `lr_multipliers` do not change it.
        lr_multipliers: pairs of a regular expression and a factor on the learning rate of all variables in
            whose path it is found.
        clip_norm: maximum norm of the gradient of a whole batch, over all weights; None for no clipping.
        ema: momentum of an exponential moving average of the weights, which the optimizer maintains; None for
            no average.

    Returns:
        A `keras.optimizers.Optimizer`.
    """
    base, settings = {
        "adamw": (keras.optimizers.AdamW, {}),
        "sgd": (keras.optimizers.SGD, {"momentum": 0.9, "nesterov": True}),
        "momentum": (keras.optimizers.SGD, {"momentum": 0.9}),
        # As in arXiv 1905.11946, section 5.2, and its authors' code.
        "rmsprop": (keras.optimizers.RMSprop, {"rho": 0.9, "momentum": 0.9, "epsilon": 1e-3}),
        "lion": (keras.optimizers.Lion, {}),
        "lamb": (keras.optimizers.Lamb, {}),
    }[name]
    averaging = {} if ema is None else {"use_ema": True, "ema_momentum": ema}
    optimizer = type(base.__name__, (_RunOptimizer, base), {})(
        learning_rate, weight_decay=weight_decay, global_clipnorm=clip_norm, **settings, **averaging
    )
    optimizer.lr_multipliers = lr_multipliers
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    float16 = keras.config.dtype_policy().name == "mixed_float16"
    return _LossScale(optimizer) if float16 else optimizer


class _LossScale(keras.optimizers.LossScaleOptimizer):
    """Scales the loss so that its gradients fit into float16; skips a step in which a gradient overflows."""

    def build(self, var_list):
        """Makes the variables, once: Keras would add another counter and scale with every call."""
        if not self.built:
            super().build(var_list)

    def check_finite(self, grads):
        """Whether the gradients of all devices are finite; Keras checks only those of the first device."""
        finite = super().check_finite(grads)
        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync == 1:
            return finite
        overflows = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.cast(~finite, tf.float32))
        return tf.equal(overflows, 0)


class _RunOptimizer(ClipWholeBatch):
    """Base class to put before a Keras optimizer."""

    def update_step(self, gradient, variable, learning_rate):
        """Applies `lr_multipliers`; Keras has one learning rate for all variables."""
        path = variable_path(self, variable)
        for pattern, multiplier in self.lr_multipliers:
            if re.search(pattern, path):
                learning_rate = learning_rate * multiplier
        super().update_step(gradient, variable, learning_rate)

    def finalize_variable_values(self, var_list):
        """Does nothing: at the end of `fit` Keras would replace the weights by their average."""

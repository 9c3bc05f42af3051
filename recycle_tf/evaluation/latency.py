"""How long one image takes: several networks are timed in turn."""

import statistics
import time

import keras
import tensorflow as tf

TURNS, TIMED_CALLS = 10, 3


def time_alternately(calls):
    """Times functions; they take turns, so that other load on the machine affects all alike.

    Args:
        calls: `{name: function without arguments}`.

    Returns:
        `{name: median in milliseconds}`.
    """
    taken = {name: [] for name in calls}
    for _ in range(TURNS):
        for name, call in calls.items():
            # The first call is not timed: the caches still hold the other networks.
            call()
            for _ in range(TIMED_CALLS):
                start = time.perf_counter()
                call()
                taken[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(times) for name, times in taken.items()}


def keras_call(model):
    """A function that computes a Keras model for one black image, compiled and called once."""
    image = tf.zeros((1, *model.input_shape[1:]))
    compiled = tf.function(lambda pixels: keras.tree.flatten(model(pixels, training=False))[0])

    def call():
        return compiled(image).numpy()

    call()
    return call

"""Precision of computation: what a run uses, and which way is fastest for its network on this machine.

There are two ways to compute in bfloat16. Keras' policy `mixed_bfloat16` casts in every layer. oneDNN's graph
option (`onednn_bfloat16`) leaves the model in float32, and TensorFlow casts around convolutions and matrix
products only. Which is faster, and whether either is faster than float32, depends on processor and network.
"""

import contextlib
import pathlib

import keras
import numpy as np
import tensorflow as tf

from recycle_tf import create_model, options
from recycle_tf.config import in_steps
from recycle_tf.data.pipeline import steps_per_epoch
from recycle_tf.training import multi_worker, preflight
from recycle_tf.training.batch_norm import fuse_batch_norm
from recycle_tf.training.optimizers import make_optimizer

CPU_WAYS = ("off", "onednn_bfloat16", "bfloat16")
"""What is compared on a processor that computes bfloat16 in hardware; the first is used elsewhere."""

WORTHWHILE_STEPS = 1000
"""Shorter runs on a CPU compute in float32: the comparison takes as long as some hundred steps."""

MARGIN = 1.1
"""Factor by which another way must be faster than float32: a short measurement is easily disturbed."""

_CPU_FLAGS = {"amx_bf16", "avx512_bf16"}

_GRAPH_OPTION = "auto_mixed_precision_onednn_bfloat16"


def set_up(config, run, strategy, source, stack):
    """Sets the precision in which a run computes, until `stack`, a `contextlib.ExitStack`, ends.

    The other arguments and the result are those of `choose`.
    """
    chosen = choose(config, run, strategy, source)
    set_policy(chosen)
    stack.callback(set_policy, "off")
    return chosen


def choose(config, run, strategy, source):
    """Decides in which precision a run computes.

    Args:
        config: a `TrainConfig`.
        run: the `Run` that is resumed, which keeps its precision, or None. Runs of earlier versions, which
            recorded none, computed in float32 on a CPU.
        strategy: the run's distribution strategy.
        source: the `Source` it trains on.

    Returns:
        One of `options.MIXED_PRECISION` but `auto`. `auto` becomes bfloat16 on GPUs of compute capability 8.0
        or higher, which support it in hardware; on a CPU that does, the fastest of `CPU_WAYS`; else off.
    """
    if config.mixed_precision != "auto":
        return config.mixed_precision
    number = 0
    if multi_worker.is_chief(strategy):
        compare = run is None and not config.lr_finder
        chosen = (run and run.precision) or _fastest(config, source, compare)
        number = options.MIXED_PRECISION.index(chosen)
    return options.MIXED_PRECISION[multi_worker.from_chief(strategy, number)]


def set_policy(name):
    """Sets Keras' dtype policy for what `choose` returned; variables and logits remain float32."""
    keras.config.set_dtype_policy(f"mixed_{name}" if name in ("bfloat16", "float16") else "float32")


@contextlib.contextmanager
def graph_option(name):
    """Within this context, TensorFlow's graphs compute as the precision `name` wants them."""
    before = tf.config.optimizer.get_experimental_options().get(_GRAPH_OPTION, False)
    tf.config.optimizer.set_experimental_options({_GRAPH_OPTION: name == "onednn_bfloat16"})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({_GRAPH_OPTION: before})


def _fastest(config, source, compare):
    """The precision for this machine; on a CPU, float32 unless `compare` and the comparison can pay."""
    if gpus := tf.config.get_visible_devices("GPU"):
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        supported = all(found.get("compute_capability", (0, 0)) >= (8, 0) for found in details)
        return "bfloat16" if supported else "off"
    per_epoch = steps_per_epoch(source.splits["train"], config.batch_size)
    worthwhile = compare and in_steps(config.epochs, per_epoch) >= WORTHWHILE_STEPS
    # The comparison would need the memory that recomputation saves.
    if not worthwhile or config.remat or not cpu_has_bfloat16():
        return CPU_WAYS[0]
    speeds = {name: _images_per_second(name, config, len(source.labels)) for name in CPU_WAYS}
    print("precision", ", ".join(f"{name} {speed:.0f}" for name, speed in speeds.items()), "images/s")
    return fastest(speeds)


def fastest(speeds):
    """The name with the highest speed if it exceeds that of the first by `MARGIN`, else the first.

    Args:
        speeds: `{name: images per second}`.
    """
    best, first = max(speeds, key=speeds.get), next(iter(speeds))
    return best if speeds[best] > MARGIN * speeds[first] else first


def cpu_has_bfloat16():
    """Whether the processor multiplies bfloat16 in hardware, as far as Linux tells."""
    information = pathlib.Path("/proc/cpuinfo")
    return information.is_file() and bool(_CPU_FLAGS & set(information.read_text().split()))


def _images_per_second(name, config, classes):
    """Speed of training steps of the run's network in a precision, on random images."""
    rng = np.random.default_rng(0)
    examples = config.batch_size // config.accumulate
    labels = np.eye(classes, dtype="float32")[rng.integers(0, classes, examples)]
    with graph_option(name), _policy(name):
        model = create_model(config.arch, classes, config.image_size, **config.model_overrides())
        images = rng.uniform(0, 255, (examples, *model.input_shape[1:])).astype("float32")
        fuse_batch_norm(model)
        model.compile(
            make_optimizer(config.optimizer, config.learning_rate, config.weight_decay),
            keras.losses.CategoricalCrossentropy(from_logits=True),
            jit_compile=config.jit == "on",
        )
        model.optimizer.build(model.trainable_variables)
        return preflight.training_speed(model, (images, labels))


@contextlib.contextmanager
def _policy(name):
    """Within this context, Keras' dtype policy is that of the precision `name`."""
    before = keras.config.dtype_policy()
    set_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)

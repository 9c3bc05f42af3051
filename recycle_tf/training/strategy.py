"""On which devices a training runs, and in which precision it computes."""

import contextlib

import keras
import tensorflow as tf

from recycle_tf.errors import UserError


def make_strategy(name, logical_cpus=1):
    """The scope in which a model is built.

    Args:
        name: `auto` (mirrored over all GPUs if there are several, else one device), `one_device`,
            `mirrored`.
        logical_cpus: cut the CPU into this many devices first, to try `mirrored` without GPUs. Only before
            TensorFlow has used a device.

    Returns:
        A `tf.distribute.Strategy`; `tf.distribute.get_strategy()` for one device.

    Raises:
        UserError: `mirrored` with a single device.
    """
    if logical_cpus > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        parts = [tf.config.LogicalDeviceConfiguration()] * logical_cpus
        tf.config.set_logical_device_configuration(cpu, parts)
    gpus = tf.config.list_logical_devices("GPU")
    devices = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
    if name == "mirrored" and len(devices) == 1:
        raise UserError(
            "--strategy=mirrored: only one device here; use --strategy=auto, or try it with --logical_cpus=2"
        )
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        return tf.distribute.MirroredStrategy(devices)
    return tf.distribute.get_strategy()


def scope(strategy):
    """`strategy.scope()`, or nothing on one device: Keras then chooses XLA and layouts by itself."""
    return strategy.scope() if strategy.num_replicas_in_sync > 1 else contextlib.nullcontext()


def set_precision(name):
    """Sets the precision that layers compute in; variables and logits stay float32.

    Args:
        name: `auto`, `bfloat16`, `float16` or `off`. `auto` is bfloat16 on GPUs from compute capability
            8.0 on, which have it in hardware, and float32 elsewhere.

    Returns:
        The name of the Keras policy that is now in force.
    """
    if name == "auto":
        gpus = tf.config.list_physical_devices("GPU")
        capability = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        modern = capability and all(d.get("compute_capability", (0, 0)) >= (8, 0) for d in capability)
        name = "bfloat16" if modern else "off"
    policy = "float32" if name == "off" else f"mixed_{name}"
    keras.config.set_dtype_policy(policy)
    return policy

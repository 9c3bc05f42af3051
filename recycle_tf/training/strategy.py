"""On which devices a training runs, and in which precision it computes."""

import contextlib

import keras
import tensorflow as tf

from recycle_tf.errors import UserError
from recycle_tf.models.recompute import RecomputedModel
from recycle_tf.training import multi_worker
from recycle_tf.training.accumulation import Accumulation

SMALL_SHARE = 32
"""Pictures of a batch on one device below which their statistics alone are too noisy to normalise with."""


def make_strategy(name, logical_cpus=1):
    """The scope in which a model is built.

    Args:
        name: `auto` (mirrored over all GPUs if there are several, else one device), `one_device`,
            `mirrored`, `multi_worker` (the hosts that `TF_CONFIG` names, with all their GPUs).
        logical_cpus: cut the CPU into this many devices first, to try `mirrored` without GPUs. Only before
            TensorFlow has used a device.

    Returns:
        A `tf.distribute.Strategy`; `tf.distribute.get_strategy()` for one device.

    Raises:
        UserError: `mirrored` with a single device, or no right `TF_CONFIG`.
    """
    if name == "multi_worker":
        return multi_worker.make_strategy()
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


def validate(config, replicas):
    """Holds a configuration against the devices that there are.

    Args:
        config: a `TrainConfig`.
        replicas: how many devices compute.

    Raises:
        UserError: a batch that cannot be divided, or XLA on several devices.
    """
    if config.batch_size % (replicas * config.accumulate):
        passes = f" times --accumulate={config.accumulate}" if config.accumulate > 1 else ""
        raise UserError(f"--batch_size={config.batch_size}: not a multiple of the {replicas} devices{passes}")
    if config.jit == "on" and replicas > 1:
        raise UserError(
            f"--jit=on: XLA cannot train on {replicas} devices; take --jit=auto, or --strategy=one_device"
        )


def scope(strategy):
    """`strategy.scope()`, or nothing on one device: Keras then chooses XLA and layouts by itself."""
    return strategy.scope() if strategy.num_replicas_in_sync > 1 else contextlib.nullcontext()


def model_class(strategy, remat, accumulate):
    """The class of the model that is trained: `keras.Model` and what these ask for beside it."""
    bases = [RecomputedModel if remat else keras.Model]
    if accumulate > 1:
        bases.insert(0, type("Accumulation", (Accumulation,), {"passes": accumulate}))
    if multi_worker.share(strategy)[1] > 1:
        bases.insert(0, multi_worker.MultiWorker)
    return bases[0] if len(bases) == 1 else type("TrainedModel", tuple(bases), {})


def synchronise(model, strategy, wanted, share):
    """Decides whether batch normalisation takes its statistics over the whole batch or each device's part.

    Args:
        model: what is trained.
        strategy: of the training.
        wanted: `auto` (where a device's part is small), `on`, `off`.
        share: pictures of a batch on one device.
    """
    several = strategy.num_replicas_in_sync > 1
    on = several and (wanted == "on" or (wanted == "auto" and share < SMALL_SHARE))
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = on


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

"""Devices: the distribution strategy of a training run and what follows from it."""

import contextlib

import keras
import tensorflow as tf

from recycle_tf.errors import UserError
from recycle_tf.models.recompute import RecomputedModel
from recycle_tf.training import multi_worker
from recycle_tf.training.accumulation import Accumulation
from recycle_tf.training.distillation import Distillation


def set_up(config):
    """Sets strategy and determinism of this process as a configuration wants them.

    Args:
        config: a `TrainConfig`.

    Returns:
        The `tf.distribute.Strategy`.

    Raises:
        UserError: the strategy needs other devices, or the configuration does not fit their number.
    """
    strategy = make_strategy(config.strategy, config.logical_cpus)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    validate(config, strategy.num_replicas_in_sync)
    return strategy


def make_strategy(name, logical_cpus=1):
    """Creates a distribution strategy.

    Args:
        name: `auto` (mirrored over all GPUs if there are several, else one device), `one_device`, `mirrored`
            or `multi_worker` (the hosts in `TF_CONFIG`, with all their GPUs).
        logical_cpus: number of devices to split the CPU into, to try `mirrored` without using GPUs; only
            before TensorFlow has used a device.

    Returns:
        A `tf.distribute.Strategy`; that of `tf.distribute.get_strategy()` for one device.

    Raises:
        UserError: `mirrored` with a single device, or an invalid `TF_CONFIG`.
    """
    if name == "multi_worker":
        return multi_worker.make_strategy()
    if logical_cpus > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        parts = [tf.config.LogicalDeviceConfiguration()] * logical_cpus
        try:
            tf.config.set_logical_device_configuration(cpu, parts)
            tf.config.set_visible_devices([], "GPU")
        except RuntimeError:
            raise UserError(
                f"`logical_cpus={logical_cpus}`: TensorFlow is in use already; set it in a new process"
            ) from None
    gpus = tf.config.list_logical_devices("GPU")
    devices = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
    if name == "mirrored" and len(devices) == 1:
        raise UserError(
            "`strategy=mirrored`: only one device is available; use `strategy=auto`, or try it with "
            "`logical_cpus=2`"
        )
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        return tf.distribute.MirroredStrategy(devices)
    return tf.distribute.get_strategy()


def validate(config, replicas):
    """Checks a configuration against the number of devices.

    Args:
        config: a `TrainConfig`.
        replicas: number of devices.

    Raises:
        UserError: the batch cannot be divided evenly, or XLA was asked for on several devices.
    """
    if config.batch_size % (replicas * config.accumulate):
        passes = f" times `accumulate={config.accumulate}`" if config.accumulate > 1 else ""
        raise UserError(
            f"`batch_size={config.batch_size}`: not a multiple of the {replicas} device(s){passes}"
        )
    if config.jit == "on" and replicas > 1:
        raise UserError(
            f"`jit=on`: XLA cannot train on {replicas} devices; use `jit=auto` or `strategy=one_device`"
        )


def scope(strategy):
    """`strategy.scope()`; an empty context on one device, where Keras then chooses XLA and layouts itself."""
    return strategy.scope() if strategy.num_replicas_in_sync > 1 else contextlib.nullcontext()


def model_class(strategy, remat, accumulate, teacher=None):
    """Builds the class of the model that is trained.

    Args:
        strategy: the run's distribution strategy.
        remat: whether activations are recomputed in the backward pass.
        accumulate: number of passes per batch.
        teacher: a `distillation.Teacher`, or None.

    Returns:
        `keras.Model` or a subclass.
    """
    bases = [RecomputedModel if remat else keras.Model]
    if accumulate > 1:
        bases.insert(0, type("Accumulation", (Accumulation,), {"passes": accumulate}))
    if teacher:
        bases.insert(0, type("Distillation", (Distillation,), {"teacher": teacher}))
    if multi_worker.index_and_count(strategy)[1] > 1:
        bases.insert(0, multi_worker.MultiWorkerModel)
    return bases[0] if len(bases) == 1 else type("TrainedModel", tuple(bases), {})

"""What a training run prints before its first epoch: data, model, memory and speed."""

import collections
import math
import time

import keras
import psutil
import tensorflow as tf

from recycle_tf.data.parallel import without_autotune
from recycle_tf.models import recompute

STEPS, SECONDS = 20, 2.0
"""How long a speed is measured: this number of steps, or as many as start within this time."""

FREED = (keras.layers.Add, keras.layers.Concatenate, keras.layers.ZeroPadding2D)
"""Layers whose outputs the backward pass does not need, or holds anyway as the input of a norm."""

GRAPH, GRAPH_LAYER = 3e8, 1e6
"""Measured memory of the graph of a training step, in bytes: a constant and an amount per layer."""


def describe_data(source):
    """A line on a dataset, one on each of several sources, and one on the files that are ignored.

    Args:
        source: a `data.sources.Source`.
    """
    sizes = {name: len(split) for name, split in source.splits.items()}
    text = f"{source.name}: {len(source.labels)} classes, {_counted(sizes)}"
    for part in source.splits["train"].part_names:
        sizes = {name: len(split.by_part().get(part, ())) for name, split in source.splits.items()}
        text += f"\n          {part}: {_counted(sizes)}"
    if source.ignored:
        text += f"\n          {len(source.ignored)} file(s) ignored, for example {source.ignored[0]}"
    return text


def _counted(sizes):
    return ", ".join(f"{size} {name}" for name, size in sizes.items())


def describe_model(training, precision):
    """A line on a model and the devices it is trained on.

    Args:
        training: a `loop.Training`.
        precision: as returned by `precision.choose`.
    """
    model, replicas = training.inference_model, training.model.distribute_strategy.num_replicas_in_sync
    return (
        f"{model.name} at {model.input_shape[1]} px, {model.count_params():,} parameters, "
        f"{'float32' if precision == 'off' else precision}, {replicas} device(s)"
    )


def expected_memory(training, images, remat):
    """Estimates the memory of a training run; docs/training.md compares it with measurements.

    It adds the present memory of the process, gradients (of the size of their weights) and the outputs of all
    layers for one batch.

    Args:
        training: a `loop.Training`; cached images have been read.
        images: number of images of a batch that are in memory at once.
        remat: whether activations inside blocks are recomputed.

    Returns:
        A line of text.
    """
    model = training.model
    state = _bytes([*model.variables, *model.optimizer.variables])
    trained = state + _bytes(model.trainable_variables)
    # Activations of auxiliary classifiers are few, and a model for any image size does not know its own.
    activations = images * activation_bytes(training.inference_model, remat)
    graph = GRAPH + GRAPH_LAYER * len(model.operations) * (2 if remat else 1)
    others = psutil.Process().memory_info().rss - state + graph
    return (
        f"{(trained + activations + others) / 1e9:.1f} GB expected: {activations / 1e9:.2f} activations of a "
        f"batch, {trained / 1e9:.2f} weights, gradients and optimizer, {others / 1e9:.2f} images, graph and "
        f"libraries; {psutil.virtual_memory().available / 1e9:.1f} GB are free"
    )


def activation_bytes(model, remat=False):
    """Bytes of one image's forward pass that the backward pass needs.

    Args:
        model: a Keras model.
        remat: whether activations inside blocks are recomputed.
    """
    blocks = collections.defaultdict(list)
    for operation in model.operations:
        block = recompute.block_of(operation.name) if remat else None
        if not isinstance(operation, FREED):
            blocks[block].append(_bytes(keras.tree.flatten(operation.output)))
    always = sum(blocks.pop(None))
    # A recomputed block holds its output, and one block at a time everything.
    return always + sum(sizes[-1] for sizes in blocks.values()) + max(map(sum, blocks.values()), default=0)


def _bytes(tensors):
    """Size of variables, or of one image's part of tensors."""
    sizes = ([size or 1 for size in tensor.shape] for tensor in tensors)
    types = (tf.as_dtype(tensor.dtype).size for tensor in tensors)
    return sum(math.prod(size) * kind for size, kind in zip(sizes, types, strict=True))


def describe_run(run, progress):
    """A line on the run folder and where training resumes.

    Args:
        run: the `runs.Run`; None at a worker that is not the chief.
        progress: the run's `Progress`.
    """
    resumed = f", resuming after {progress}" if progress.steps else ""
    return f"{run.path if run else 'is written by the chief'}{resumed}"


def speeds(model, batches, sample):
    """Measures how many images per second the input pipeline and the model process, each on its own.

    The compiled graph of the training steps is reused by `fit`.

    Args:
        model: a compiled model whose optimizer is built.
        batches: training batches; a new iterator reads them.
        sample: `(images, labels)`, one of them.

    Returns:
        A line of text.
    """
    pipeline = _Clock()
    for _ in batches.repeat():
        pipeline.tick()
        if pipeline.done:
            break
    prepared, trained = len(sample[0]) * pipeline.rate, training_speed(model, sample)
    slower = "pipeline" if prepared < trained else "model"
    return (
        f"pipeline {prepared:,.0f} images/s, model {trained:,.0f}, each alone: the {slower} is the bottleneck"
    )


def training_speed(model, sample):
    """Images per second of real training steps, all on the same batch; their effects are undone.

    Args:
        model: a compiled model whose optimizer is built.
        sample: `(images, labels)`, one batch.
    """
    steps = _Clock()
    variables = [*model.variables, *model.optimizer.variables]
    before = [variable.numpy() for variable in variables]
    repeated = without_autotune(tf.data.Dataset.from_tensors(tuple(sample)).repeat())
    model.fit(repeated, steps_per_epoch=STEPS + 1, shuffle=False, verbose=0, callbacks=[steps])
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
    return len(sample[0]) * steps.rate


class _Clock(keras.callbacks.Callback):
    """Times steps, without the first one, which builds graphs and fills buffers."""

    def __init__(self):
        super().__init__()
        self.times = []

    def tick(self):
        """Records the end of a step."""
        self.times.append(time.perf_counter())

    @property
    def done(self):
        """Whether enough steps were timed."""
        return len(self.times) > STEPS or (len(self.times) > 1 and self.times[-1] - self.times[0] > SECONDS)

    @property
    def rate(self):
        """Steps per second."""
        return (len(self.times) - 1) / (self.times[-1] - self.times[0])

    def on_train_batch_end(self, batch, logs=None):
        """Records a training step, and ends the measurement after enough of them."""
        self.tick()
        if self.done:
            self.model.stop_training = True

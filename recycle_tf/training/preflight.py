"""What a training will need and how fast it can be, before its first epoch."""

import collections
import math
import re
import time

import keras
import psutil
import tensorflow as tf

STEPS, SECONDS = 20, 2.0
"""How long a speed is measured: so many steps, or as many as begin within that time."""

LET_GO = (keras.layers.Add, keras.layers.Concatenate, keras.layers.ZeroPadding2D)
"""Layers whose outputs the backward pass does without, or holds anyway as the input of a norm."""


GRAPH, GRAPH_LAYER = 3e8, 1e6
"""Bytes that building and running the graph of a training step was measured to take, and those of a layer."""


def expected_memory(training, pictures, remat):
    """How much memory a training will take, in words; docs/training.md says how near that comes.

    What the process holds by now is measured, gradients are as large as their weights, and of a batch the
    outputs of the layers stay.

    Args:
        training: a `loop.Training`; the pictures that are kept have been read.
        pictures: of a batch, that are in memory at once.
        remat: whether blocks are made again.
    """
    model = training.model
    state = _bytes([*model.variables, *model.optimizer.variables])
    learned = state + _bytes(model.trainable_variables)
    # Those of auxiliary classifiers are few, and a model for any size does not know its own.
    activations = pictures * _activations(training.inference_model, remat)
    graph = GRAPH + GRAPH_LAYER * len(model.operations) * (2 if remat else 1)
    others = psutil.Process().memory_info().rss - state + graph
    return (
        f"{(learned + activations + others) / 1e9:.1f} GB expected: {activations / 1e9:.2f} activations of a "
        f"batch, {learned / 1e9:.2f} weights, gradients and optimizer, {others / 1e9:.2f} pictures, "
        f"graph and libraries; {psutil.virtual_memory().available / 1e9:.1f} GB are free"
    )


def _activations(model, remat):
    """Bytes that the backward pass needs of one picture's forward pass."""
    blocks = collections.defaultdict(list)
    for operation in model.operations:
        block = re.match(r"stage\d+_block\d+", operation.name) if remat else None
        if not isinstance(operation, LET_GO):
            blocks[block and block[0]].append(_bytes(keras.tree.flatten(operation.output)))
    always = sum(blocks.pop(None))
    # Of a block that is made again the output stays, and of one at a time everything.
    return always + sum(sizes[-1] for sizes in blocks.values()) + max(map(sum, blocks.values()), default=0)


def _bytes(tensors):
    """Of variables, or of one picture's part of tensors."""
    sizes = ([size or 1 for size in tensor.shape] for tensor in tensors)
    types = (tf.as_dtype(tensor.dtype).size for tensor in tensors)
    return sum(math.prod(size) * kind for size, kind in zip(sizes, types, strict=True))


def speeds(model, batches, sample):
    """How many pictures a second the pipeline makes, and the model learns from, each alone, in words.

    The model takes real training steps, on one batch again and again; what they change is put back. Their
    graph stays, so that `fit` need not build it again.

    Args:
        model: compiled, with its optimizer's slots.
        batches: of the training; they are read by an iterator that nothing else sees.
        sample: one of them, `(images, labels)`.
    """
    pipeline, steps = _Clock(), _Clock()
    for _ in batches.repeat():
        pipeline.tick()
        if pipeline.done:
            break

    variables = [*model.variables, *model.optimizer.variables]
    before = [variable.numpy() for variable in variables]
    again = tf.data.Dataset.from_tensors(tuple(sample)).repeat()
    model.fit(again, steps_per_epoch=STEPS + 1, shuffle=False, verbose=0, callbacks=[steps])
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
    made, learned = (len(sample[0]) * clock.rate for clock in (pipeline, steps))
    slower = "pipeline" if made < learned else "model"
    return f"pipeline {made:,.0f} images/s, model {learned:,.0f}, each alone: the {slower} is the bottleneck"


class _Clock(keras.callbacks.Callback):
    """Times steps from the end of the first on, which builds graphs and fills buffers."""

    def __init__(self):
        super().__init__()
        self.times = []

    def tick(self):
        """A step has ended."""
        self.times.append(time.perf_counter())

    @property
    def done(self):
        """Whether that is enough."""
        return len(self.times) > STEPS or (len(self.times) > 1 and self.times[-1] - self.times[0] > SECONDS)

    @property
    def rate(self):
        """Steps a second."""
        return (len(self.times) - 1) / (self.times[-1] - self.times[0])

    def on_train_batch_end(self, batch, logs=None):
        """The same for a step of a model."""
        self.tick()
        if self.done:
            self.model.stop_training = True

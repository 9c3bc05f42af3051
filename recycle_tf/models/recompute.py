"""Activation recomputation (gradient checkpointing): less memory in training, for a second forward pass.

The activations inside a block are discarded in the forward pass and computed again when the gradient of the
block needs them.

Chen et al.: Training Deep Nets with Sublinear Memory Cost, 2016, arXiv 1604.06174; Pleiss et al.:
Memory-Efficient Implementation of DenseNets, 2017, arXiv 1707.06990.

`keras.RematScope` is not an alternative: on TensorFlow, its mode "full" fails in `fit`, its mode
"activations" saves no memory, and both would update the moving statistics of batch normalization twice.
Here, a block runs as a pure function that returns its new statistics, which are assigned once, outside of
it. This is the only module of `models` that depends on the backend.
"""

import itertools
import re

import keras

from recycle_tf.errors import UserError


@keras.saving.register_keras_serializable("recycle_tf")
class RecomputedModel(keras.Model):
    """A functional model that, in training, recomputes the activations inside its blocks.

    Layers, weights, outputs and updates are those of `keras.Model(inputs, outputs)`.

    Raises:
        UserError: the model has no layer called `stageN_blockM…`.
    """

    # Keras loads a subclass as a functional model if its constructor has these arguments.
    def __init__(self, inputs, outputs, name=None, **kwargs):
        super().__init__(inputs, outputs, name=name, **kwargs)
        # A closure; Keras would track the blocks as additional layers if they were attributes.
        self._recomputed = _split_into_blocks(self)

    def call(self, inputs, training=None, mask=None):
        """Block by block in training, otherwise like the functional model."""
        if training:
            return self._recomputed(inputs)
        return super().call(inputs, training=training, mask=mask)


def _split_into_blocks(model):
    """Returns `model` as a function of its input that recomputes each block for its gradient."""
    segments = []
    for block, operations in itertools.groupby(_by_block(model), key=lambda pair: pair[1]):
        operations = [operation for operation, _ in operations]
        produced = {id(operation.output): operation.output for operation in operations}
        used = {id(t): t for operation in operations for t in keras.tree.flatten(operation.input)}
        segments.append((block, produced, {key: t for key, t in used.items() if key not in produced}))
    if not any(block for block, _, _ in segments):
        raise UserError(f"`remat`: {model.name} has no blocks to recompute")

    plan = []
    for number, (block, produced, inputs) in enumerate(segments):
        needed = {key for _, _, later in segments[number + 1 :] for key in later} | {id(model.output)}
        outputs = {key: tensor for key, tensor in produced.items() if key in needed}
        segment = keras.Model(list(inputs.values()), list(outputs.values()))
        plan.append((_recompute(segment) if block else segment, list(inputs), list(outputs)))

    def run(inputs):
        tensors = {id(model.input): inputs}
        for segment, input_keys, output_keys in plan:
            outputs = segment([tensors[key] for key in input_keys], training=True)
            tensors.update(zip(output_keys, keras.tree.flatten(outputs), strict=True))
        return tensors[id(model.output)]

    return run


def block_of(name):
    """`stageN_blockM` of a layer's name, also of a part such as `stage1_block1a_…`; None in no block."""
    match = re.match(r"(stage\d+_block\d+)[a-z]*_", name)
    return match and match[1]


def _by_block(model):
    """Yields (operation, `stageN_blockM` or None) in the order of execution."""
    blocks = {id(model.input): None}
    for operation in model.operations:
        if isinstance(operation, keras.layers.InputLayer):
            continue
        # Operations that are not layers have generated names: they belong to the block of their input.
        inherited = [blocks[id(t)] for t in keras.tree.flatten(operation.input)]
        block = block_of(operation.name)
        if not block and not isinstance(operation, keras.Layer):
            block = inherited[-1]
        blocks[id(operation.output)] = block
        yield operation, block


def _recompute(block):
    """Returns the model `block` as a function that saves only its inputs for the gradient."""
    statistics = [
        (layer.moving_mean, layer.moving_variance)
        for layer in block.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    changing = {id(variable) for variable in itertools.chain(*statistics)}

    def call(inputs, training):
        weights = [variable.value for variable in block.trainable_variables]
        # Copies: when the block is computed again, the variables have been updated.
        state = [keras.ops.copy(v.value) for v in block.non_trainable_variables]

        def pure(*tensors):
            tensors = list(tensors)
            inputs, weights = tensors[: len(block.inputs)], tensors[len(block.inputs) :]
            return block.stateless_call(weights, state, inputs, training=training)

        outputs, new_state = _CHECKPOINT[keras.backend.backend()](pure)(*inputs, *weights)
        for variable, value in zip(block.non_trainable_variables, new_state, strict=True):
            # Frozen kernels stay: in mixed precision they were read as rounded values.
            if id(variable) in changing or "int" in variable.dtype:
                variable.assign(value)
        return outputs

    return call


def _tensorflow(pure):
    import tensorflow as tf

    def call(*tensors):
        states = []

        def outputs_only(*tensors):
            outputs, state = pure(*tensors)
            states.append(state)
            return outputs

        # The state may contain integers (seeds), which have no gradient, so it does not pass through
        # `recompute_grad`. The first state is that of the forward pass; the one of the recomputation is
        # unused.
        outputs = tf.recompute_grad(outputs_only)(*tensors)
        return outputs, states[0]

    return call


def _jax(pure):
    import jax

    return jax.checkpoint(pure)


_CHECKPOINT = {"tensorflow": _tensorflow, "jax": _jax}

"""Activation recomputation: less memory in training, for a second forward pass through every block.

A block's inner maps are forgotten in the forward pass and made again when its gradient needs them.

Chen et al.: Training Deep Nets with Sublinear Memory Cost, 2016, arXiv 1604.06174; Pleiss et al.:
Memory-Efficient Implementation of DenseNets, 2017, arXiv 1707.06990.

`keras.RematScope` is not used: on TensorFlow its mode "full" fails in `fit`, its mode "activations" saves
nothing, and both would update the moving statistics of batch normalisation a second time. Here a block runs
as a pure function that returns them, and they are assigned once, outside. This is the one file of the models
that knows backends; `keras.RematScope` working in `fit` would remove it.
"""

import itertools
import re

import keras

from recycle_tf.errors import UserError


@keras.saving.register_keras_serializable("recycle_tf")
class RecomputedModel(keras.Model):
    """A functional model that, in training, recomputes the inside of its blocks.

    Same layers, same weights, same outputs and same updates as `keras.Model(inputs, outputs)`.

    Raises:
        UserError: none of its layers is called `stageN_blockM…`.
    """

    # Keras loads functional models of a class whose arguments are these.
    def __init__(self, inputs, outputs, name=None, **kwargs):
        super().__init__(inputs, outputs, name=name, **kwargs)
        # A closure, so that Keras does not count the blocks as further layers of this model.
        self._recomputed = _in_blocks(self)

    def call(self, inputs, training=None, mask=None):
        """As the functional model; in training block by block."""
        if training:
            return self._recomputed(inputs)
        return super().call(inputs, training=training, mask=mask)


def _in_blocks(model):
    """`model` as a function of its input that recomputes what belongs to a block."""
    pieces = []
    for block, operations in itertools.groupby(_by_block(model), key=lambda pair: pair[1]):
        operations = [operation for operation, _ in operations]
        made = {id(operation.output): operation.output for operation in operations}
        used = {id(t): t for operation in operations for t in keras.tree.flatten(operation.input)}
        pieces.append((block, made, {key: t for key, t in used.items() if key not in made}))
    if not any(block for block, _, _ in pieces):
        raise UserError(f"{model.name}: remat=True recomputes blocks, and this network has none")

    plan = []
    for number, (block, made, needed) in enumerate(pieces):
        wanted = {key for _, _, later in pieces[number + 1 :] for key in later} | {id(model.output)}
        left = {key: tensor for key, tensor in made.items() if key in wanted}
        piece = keras.Model(list(needed.values()), list(left.values()))
        plan.append((_recompute(piece) if block else piece, list(needed), list(left)))

    def run(inputs):
        tensors = {id(model.input): inputs}
        for piece, needed, left in plan:
            outputs = piece([tensors[key] for key in needed], training=True)
            tensors.update(zip(left, keras.tree.flatten(outputs), strict=True))
        return tensors[id(model.output)]

    return run


def _by_block(model):
    """(operation, `stageN_blockM` or None), in the order in which they run."""
    blocks = {id(model.input): None}
    for operation in model.operations:
        if isinstance(operation, keras.layers.InputLayer):
            continue
        named = re.match(r"stage\d+_block\d+(?=_)", operation.name)
        # Operations that are no layers have no name of ours: they belong where their input comes from.
        inherited = [blocks[id(t)] for t in keras.tree.flatten(operation.input)]
        block = named[0] if named else None if isinstance(operation, keras.Layer) else inherited[-1]
        blocks[id(operation.output)] = block
        yield operation, block


def _recompute(block):
    """`block`, a model, as a function that keeps nothing but its inputs for the gradient."""

    def call(inputs, training):
        weights = [variable.value for variable in block.trainable_variables]
        # Values of now, not variables: the recomputation comes after they have been assigned.
        state = [keras.ops.copy(v.value) for v in block.non_trainable_variables]

        def pure(*tensors):
            tensors = list(tensors)
            inputs, weights = tensors[: len(block.inputs)], tensors[len(block.inputs) :]
            return block.stateless_call(weights, state, inputs, training=training)

        outputs, new_state = _CHECKPOINT[keras.backend.backend()](pure)(*inputs, *weights)
        for variable, value in zip(block.non_trainable_variables, new_state, strict=True):
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

        # The state may hold integers (seeds), which have no gradient: it goes round `recompute_grad`. The
        # first is the forward pass's; another is made with the gradient and forgotten.
        outputs = tf.recompute_grad(outputs_only)(*tensors)
        return outputs, states[0]

    return call


def _jax(pure):
    import jax

    return jax.checkpoint(pure)


_CHECKPOINT = {"tensorflow": _tensorflow, "jax": _jax}

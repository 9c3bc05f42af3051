"""Models that only answer, for some hundred images at a time."""

import keras


def without_xla(model):
    """Makes `predict` of a model that is not compiled run without XLA.

    On a GPU, Keras uses XLA unless told otherwise, which compiles a network for every size of a batch. That
    pays for the thousands of steps of a training run, not for some hundred images.

    Args:
        model: a Keras model.

    Returns:
        The model itself.
    """
    model.jit_compile = False
    return model


def with_outputs(model, outputs):
    """A model with the inputs and layers of another, and other outputs.

    Args:
        model: a functional model from pixels.
        outputs: tensors of its layers, or computed from them.
    """
    return without_xla(keras.Model(model.inputs[0], outputs, name=model.name))

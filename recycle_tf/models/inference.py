"""Models that only answer, for some hundred images at a time."""

import keras


def without_xla(model):
    """Makes `predict` of a model that is not compiled run without XLA.

    Keras uses XLA on a GPU unless told otherwise. A training step pays for it; here it does not: after each
    training, the networks of the report took 100 seconds to translate on an H100 and some seconds to run.

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

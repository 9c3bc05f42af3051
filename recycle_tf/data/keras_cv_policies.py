"""Augmentation policies of keras-cv: the only module that imports it.

keras-cv draws from a stateful generator of its own. Its policies are therefore not repeatable, and must run
on one batch at a time to keep its draws in order.
"""

NAMES = ("randaugment", "augmix", "gridmask")
"""Names of the policies."""


def layer(name):
    """Makes the keras-cv layer of a policy.

    Args:
        name: one of `NAMES`.

    Returns:
        A Keras layer that maps float32 images `[batch, height, width, 3]`, 0..255, to images of the same
        shape and range. Call it with `training=True`.
    """
    # Imported here: it takes seconds.
    from keras_cv import layers

    make = {
        "randaugment": lambda: layers.RandAugment(value_range=(0, 255), magnitude=0.3),
        "augmix": lambda: layers.AugMix(value_range=(0, 255)),
        "gridmask": lambda: layers.GridMask(),
    }
    return make[name]()

"""From photographs of rubbish to a phone app that says which bin.

`recycle_tf.create_model("densenet121", num_classes=6)` builds a Keras model written from its paper;
`recycle_tf.list_models("resnet*")` and `recycle_tf.describe("resnet50")` say what there is.
"""

__version__ = "0.1.0"
__all__ = ["create_model", "describe", "list_models"]


def __getattr__(name):
    # Keras is imported when a model is first asked for, so that `--help` answers at once.
    if name in __all__:
        from recycle_tf import models

        return getattr(models, name)
    raise AttributeError(f"module 'recycle_tf' has no attribute {name!r}")

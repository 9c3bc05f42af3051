"""From photographs of waste to a phone app that says which bin.

`recycle_tf.create_model("densenet121", num_classes=6)` builds a Keras model written from its paper;
`recycle_tf.list_models("resnet*")` and `recycle_tf.describe("resnet50")` say what is available.

`import recycle_tf` is all that `keras.models.load_model("RUN/model.keras")` needs: it registers the layers
of this package with Keras, at once if Keras is already imported, else as soon as it is.
"""

import importlib.abc
import importlib.util
import sys

__version__ = "0.1.0"
__all__ = ["create_model", "describe", "list_models"]


def __getattr__(name):
    # Keras takes seconds to import; `--help` must not wait for it.
    if name in __all__:
        from recycle_tf import models

        return getattr(models, name)
    raise AttributeError(f"module 'recycle_tf' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])


class _RegisterLayersAfterKeras(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports `recycle_tf.models`, which registers our layers, right after Keras was imported."""

    def find_spec(self, name, path, target=None):
        if name != "keras":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None:
            self.loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        importlib.import_module("recycle_tf.models")


if "keras" in sys.modules:
    importlib.import_module("recycle_tf.models")
else:
    sys.meta_path.insert(0, _RegisterLayersAfterKeras())

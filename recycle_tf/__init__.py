"""From photographs of waste to a phone app that says which bin.

    import recycle_tf as rt

    data = rt.open_dataset("photos")  # a folder with one subfolder of images per class
    rt.audit(data)
    run = rt.train(data, arch="efficientnet_lite0", weights="imagenet", recipe="finetune", image_size=160)
    run.evaluate("other_photos")
    run.export("tflite_int8")
    rt.load(run.path).predict("new/").to_csv("bins.csv")

`rt.open_run` opens an earlier run. `rt.create_model("densenet121", num_classes=6)` builds a Keras model
written from its paper; `rt.list_models("resnet*")`, `rt.describe("resnet50")` and `rt.stages("resnet50")` say
what is available.

These names are public, with what their objects offer. All others may change in any version. Importing this
package imports neither TensorFlow nor Keras: that happens when a name is used for the first time.

`import recycle_tf` is all that `keras.models.load_model("RUN/model.keras")` needs: it registers the layers
of this package with Keras, at once if Keras is already imported, else as soon as it is.
"""

import importlib.abc
import importlib.util
import os
import sys
import typing

# Read when TensorFlow is imported. By itself it uses oneDNN only on processors with AVX-512 and VNNI; on
# others, a training step would take up to twice the time (docs/performance.md).
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

if typing.TYPE_CHECKING:  # For editors, which complete names without running anything.
    from recycle_tf.api import audit, average, compare, load, open_dataset, open_run, shard, train
    from recycle_tf.errors import UserError
    from recycle_tf.models import create_model, describe, list_models, stages

__version__ = "0.1.0"

__all__ = [
    "UserError",
    "audit",
    "average",
    "compare",
    "create_model",
    "describe",
    "list_models",
    "load",
    "open_dataset",
    "open_run",
    "shard",
    "stages",
    "train",
]

_MODELS = ("create_model", "describe", "list_models", "stages")
"""Names that need Keras, on any backend; those of `api` need TensorFlow."""


def __getattr__(name):
    # Keras and TensorFlow take seconds to import; `--help` must not wait for them.
    if name not in __all__:
        raise AttributeError(f"module 'recycle_tf' has no attribute {name!r}")
    if name == "UserError":
        return importlib.import_module("recycle_tf.errors").UserError
    if name in _MODELS:
        return getattr(importlib.import_module("recycle_tf.models"), name)
    importlib.import_module("recycle_tf.quiet").import_tensorflow()
    return getattr(importlib.import_module("recycle_tf.api"), name)


def __dir__():
    return sorted([*globals(), *__all__])


class _RegisterLayersAfterKeras(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports `recycle_tf.models`, which registers our layers, right after Keras was imported."""

    def find_spec(self, name, path, target=None):
        if name != "keras":
            return None
        # Not yet removed for good: TensorFlow looks for Keras before it imports it.
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is not None and spec.loader is not None:
            self.loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        importlib.import_module("recycle_tf.models")


if "keras" in sys.modules:
    importlib.import_module("recycle_tf.models")
else:
    sys.meta_path.insert(0, _RegisterLayersAfterKeras())

"""The exported formats, one row each. Imports nothing heavy, so that `--help` can list them quickly."""

import dataclasses
import importlib


@dataclasses.dataclass(frozen=True)
class Format:
    """An exported format and how it is verified.

    Every format belongs to a module of this package, and all of these have the same functions:

    * `why_not(model, name)`: why a Keras model cannot be exported to the format, or None;
    * `export(spec, model, name, folder, **inputs)`: writes the file and returns an `artifact.Artifact`;
      `inputs` are the arguments that `needs` lists;
    * `load(path)`: a function from uint8 images `[batch, size, size, 3]` to probabilities
      `[batch, num_classes]`, computed by the runtime in which the file will be used.

    Attributes:
        name: its name in the setting `formats`.
        module: name of its module.
        needs: arguments that `export` takes beyond the model: `representative_images`, `trained_ranges`,
            `web_runtime`.
        default: whether it is exported if no formats are given.
        precision: how it computes, which decides its gates; see `gates.judge`.
        bytes_per_parameter: of a `.tflite` for devices: such files are timed and can be chosen. Else None.
        selective: whether a file that fails its gates is exported again with its most sensitive layers in
            float; see `selective_quantization`.
    """

    name: str
    module: str
    precision: str
    needs: tuple = ()
    default: bool = True
    bytes_per_parameter: int | None = None
    selective: bool = False

    @property
    def timed(self):
        """Whether latency and peak memory are measured."""
        return self.bytes_per_parameter is not None

    def load_module(self):
        """Imports the module of the format."""
        return importlib.import_module(f".{self.module}", __package__)


_IMAGES = ("representative_images",)
# Not exported by default: int16x8, because LiteRT computes it tens of times slower on a CPU; ONNX and the web
# page, because they need further packages.
FORMATS = {
    one.name: one
    for one in (
        Format("saved_model", "saved_model", "exact"),
        Format("tflite_float32", "tflite", "exact", bytes_per_parameter=4),
        Format("tflite_float16", "tflite", "half", bytes_per_parameter=2),
        Format("tflite_dynamic", "tflite", "weights", bytes_per_parameter=1),
        Format(
            "tflite_int8",
            "int8",
            "integer",
            needs=(*_IMAGES, "trained_ranges"),
            bytes_per_parameter=1,
            selective=True,
        ),
        Format("tflite_int16x8", "tflite", "weights", needs=_IMAGES, bytes_per_parameter=1, default=False),
        Format("onnx", "onnx", "exact", default=False),
        Format("web", "web", "half", needs=("web_runtime",), default=False),
    )
}
"""Name -> `Format`, in the order in which they are exported."""

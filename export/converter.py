"""TensorFlow's converter to TFLite, at arm's length: no other file touches `tf.lite`.

It is deprecated in favor of one that takes Keras models only on PyTorch's backend (docs/decisions.md), it
leaks memory with every conversion, and an error in its C++ code ends the process. So it runs in a process of
its own, which starts with the first conversion, serves the next ones, and is replaced after `CONVERSIONS` of
them. A network goes there as a SavedModel, images as `.npy`; answers come back as files and JSON.
"""

import atexit
import contextlib
import csv
import dataclasses
import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import numpy as np

from recycle_tf.errors import UserError

CONVERSIONS = 16
"""Conversions after which the process is replaced."""


@dataclasses.dataclass(frozen=True)
class Conversion:
    """Settings of the converter for one format.

    Attributes:
        optimize: whether weights are stored in fewer bits.
        types: types in which the converter may store weights; () for int8.
        operations: sets of operations that the graph may contain.
        representative: whether activations are quantized, to ranges measured on representative images.
        input_type: type of the input, if it is to be changed.
    """

    optimize: bool = True
    types: tuple = ()
    operations: tuple = ("TFLITE_BUILTINS",)
    representative: bool = False
    input_type: str | None = None


def convert(folder, conversion, images=None):
    """Converts a SavedModel.

    Args:
        folder: of the SavedModel, whose signature is `serve`.
        conversion: a `Conversion`.
        images: the representative images, uint8 `[examples, batch, height, width, 3]`, if it needs them.

    Returns:
        The bytes of a `.tflite`.

    Raises:
        UserError: the converter failed.
    """
    if images is not None:
        np.save(_images(folder), images)
    if _PROCESS.conversions >= CONVERSIONS:
        _PROCESS.close()
    _PROCESS.conversions += 1
    return _bytes(_PROCESS.ask("convert", str(folder), dataclasses.asdict(conversion)))


def measure_losses(folder, conversion, images, batches):
    """Measures what each layer loses by rounding, worst first.

    Args:
        folder: as in `convert`; it is remembered for `convert_without`.
        conversion: a `Conversion` with representative images.
        images: as in `convert`.
        batches: on which losses are measured, uint8 `[examples, batch, height, width, 3]`.

    Returns:
        `{name of the layer's output tensor: loss}`, and the bytes of the network before quantization. The
        loss is the mean square of the error, if this layer alone computes in integers, as a share of the
        mean square of the output; averaged over channels, 0..1.
    """
    np.save(_images(folder), images)
    np.save(pathlib.Path(folder, "measured.npy"), batches)
    lost = _PROCESS.ask("measure", str(folder), dataclasses.asdict(conversion))
    return dict(sorted(lost.items(), key=lambda item: -item[1])), _bytes(str(_flat_buffer(folder)))


def convert_without(folder, nodes):
    """Converts a network whose losses were measured, with some operations in float.

    Args:
        folder: the one given to `measure_losses`.
        nodes: names of the operations' output tensors.

    Returns:
        The bytes of a `.tflite`.
    """
    return _bytes(_PROCESS.ask("convert_without", str(folder), list(nodes)))


def _bytes(path):
    return pathlib.Path(path).read_bytes()


def _images(folder):
    return pathlib.Path(folder, "representative.npy")


def _flat_buffer(folder):
    return pathlib.Path(folder, "converted.tflite")


class _Process:
    """The process that converts. It ends when its standard input does, hence with this process."""

    def __init__(self):
        self.child = None
        self.conversions = 0

    def ask(self, task, *arguments):
        """Has it do a task; returns the result.

        Raises:
            UserError: the converter failed, or its process crashed.
        """
        if self.child is None:
            self._start()
        try:
            self.child.stdin.write(json.dumps([task, *arguments]) + "\n")
            self.child.stdin.flush()
            line = self.child.stdout.readline()
        except BrokenPipeError:
            line = ""
        except BaseException:
            # Ctrl-C: the answer to this task must not be taken for that to the next one.
            self.close()
            raise
        if not line:
            raise UserError(f"TensorFlow's converter crashed: {self._reason()}")
        answer = json.loads(line)
        if "error" in answer:
            raise UserError(f"TensorFlow's converter failed: {answer['error']}")
        return answer["result"]

    def close(self):
        """Ends it."""
        if self.child:
            self.child.kill()
            self._reap()

    def _start(self):
        self.messages = tempfile.TemporaryFile()  # noqa: SIM115  (read if the process crashes)
        self.child = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.messages,
            text=True,
            env={
                **os.environ,
                # It finds this package wherever this process did.
                "PYTHONPATH": os.pathsep.join(sys.path),
                "TF_CPP_MIN_LOG_LEVEL": "2",
                # It computes on the CPU, and would take the memory of a GPU that this process needs.
                "CUDA_VISIBLE_DEVICES": "-1",
            },
        )

    def _reason(self):
        code = self.child.wait()
        self.messages.seek(0)
        lines = self.messages.read().decode("utf-8", "replace").strip().splitlines()
        self._reap()
        ended = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return f"{ended}, {lines[-1]}" if lines else ended

    def _reap(self):
        self.child.communicate()
        self.messages.close()
        self.child, self.conversions = None, 0


_PROCESS = _Process()
atexit.register(_PROCESS.close)


# ---- in the process that converts


def _serve():
    """Does the tasks that come as lines of JSON, and answers each with one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asked.
    # What TensorFlow prints goes where its messages go.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    debuggers = {}
    for line in sys.stdin:
        task, folder, *arguments = json.loads(line)
        try:
            answer = {"result": _TASKS[task](debuggers, folder, *arguments)}
        except Exception as error:
            # The first line says what is wrong; the rest is where in the converter.
            text = str(error).strip() or type(error).__name__
            answer = {"error": text.splitlines()[0][:500]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _convert(debuggers, folder, conversion):
    _flat_buffer(folder).write_bytes(_converter(folder, conversion).convert())
    return str(_flat_buffer(folder))


def _measure(debuggers, folder, conversion):
    import tensorflow as tf

    debugger = tf.lite.experimental.QuantizationDebugger(converter=_converter(folder, conversion))
    debuggers[folder] = debugger
    batches = np.load(pathlib.Path(folder, "measured.npy"))
    measuring = tf.lite.experimental.QuantizationDebugger(
        quant_debug_model_content=debugger.get_debug_quantized_model(),
        debug_dataset=lambda: ([batch] for batch in batches),
        debug_options=tf.lite.experimental.QuantizationDebugOptions(
            layer_direct_compare_metrics={"lost": _lost}
        ),
    )
    measuring.run()
    text = io.StringIO()
    measuring.layer_statistics_dump(text)
    text.seek(0)
    _flat_buffer(folder).write_bytes(debugger.calibrated_model)
    return {row["tensor_name"]: float(row["lost"]) for row in csv.DictReader(text)}


def _convert_without(debuggers, folder, nodes):
    import tensorflow as tf

    debugger = debuggers[folder]
    debugger.options = tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=nodes)
    _flat_buffer(folder).write_bytes(debugger.get_nondebug_quantized_model())
    return str(_flat_buffer(folder))


_TASKS = {"convert": _convert, "measure": _measure, "convert_without": _convert_without}


def _converter(folder, conversion):
    """TensorFlow's converter of a SavedModel, with the settings of a `Conversion` as a dict."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serve"])
    converter.target_spec.supported_ops = [getattr(tf.lite.OpsSet, name) for name in conversion["operations"]]
    converter.target_spec.supported_types = [getattr(tf, name) for name in conversion["types"]]
    if conversion["optimize"]:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if conversion["representative"]:
        images = np.load(_images(folder))
        converter.representative_dataset = lambda: ([batch] for batch in images)
    if conversion["input_type"]:
        converter.inference_input_type = getattr(tf, conversion["input_type"])
    return converter


def _lost(exact, rounded, scale, zero_point):
    """The loss per channel: quantization ruins channels of small numbers beside those of large ones."""
    exact = np.float64(exact).reshape(-1, exact.shape[-1])
    errors = ((np.float64(rounded).reshape(exact.shape) - zero_point) * scale - exact) ** 2
    power = (exact**2).mean(axis=0)
    alive = power > 0
    return float(np.minimum(1, errors.mean(axis=0)[alive] / power[alive]).mean()) if alive.any() else 0.0


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        _serve()

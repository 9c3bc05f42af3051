"""Which layers lose most in integers; and int8 with those left in float, where int8 alone fails its gate."""

import csv
import dataclasses
import io

import numpy as np
import tensorflow as tf
from tensorflow.lite.tools import flatbuffer_utils

from recycle_tf import cli

from . import tflite
from .artifact import open_batch

SHARES = (0.05, 0.15, 0.3)
"""Of the layers, the worst of which are tried in float."""

NAMED = 5
"""Layers that are named where nothing helped."""

MEASURED_PICTURES = 16


def rescue(model, calibration, artifact, answers, verdict, prove):
    """Exports int8 again, the layers that lose most in float; first few, then more, until it passes.

    Args:
        model: as in `tflite.export`.
        calibration: as in `tflite.export`.
        artifact: the `Artifact` in integers throughout, which failed.
        answers: its probabilities.
        verdict: the `Verdict` on it.
        prove: `prove(artifact) -> (answers, verdict)`.

    Returns:
        `(artifact, answers, verdict)` of the first that passes; its spec has `float_layers`. If none does,
        those it was given, `worst_layers` in the spec and in the failure.
    """
    whole = artifact.path.read_bytes()
    with tflite.converting(artifact.spec, model, artifact.format, calibration, in_part=True) as converter:
        debugger = tf.lite.experimental.QuantizationDebugger(converter=converter)
    batch = open_batch(artifact.spec) or 1
    lost = measure(debugger, [np.repeat(one[None], batch, 0) for one in calibration[:MEASURED_PICTURES]])
    readers = _readers(debugger.calibrated_model)
    for share in SHARES:
        worst = list(lost)[: max(1, round(share * len(lost)))]
        # Left in float alone, a layer's output would be rounded in front of the next one all the same.
        nodes = sorted({node for tensor in worst for node in (tensor, *readers[tensor])})
        with cli.hushed(1, 2):
            debugger.options = tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=nodes)
            flat_buffer = debugger.get_nondebug_quantized_model()
        spec = {**artifact.spec, "float_layers": list(dict.fromkeys(map(_layer, nodes)))}
        mixed = tflite.write(flat_buffer, spec, artifact.format, artifact.path.parent)
        found, judged = prove(mixed)
        if not judged.failure:
            return mixed, found, judged
    artifact.path.write_bytes(whole)
    worst = {_layer(tensor): round(lost[tensor], 4) for tensor in list(lost)[:NAMED]}
    failure = f"{verdict.failure}; float for its worst layers does not help: {', '.join(worst)}"
    artifact = dataclasses.replace(artifact, spec={**artifact.spec, "worst_layers": worst})
    return artifact, answers, dataclasses.replace(verdict, failure=failure)


def measure(debugger, batches):
    """What each layer's rounding loses, worst first.

    Args:
        debugger: a `QuantizationDebugger` with a converter.
        batches: uint8, each `[batch, image_size, image_size, 3]`.

    Returns:
        `{name of the layer's tensor: share}`: of the variance of its channels, on their average, what is
        error if the layer alone computes in integers; 0 to 1.
    """
    with cli.hushed(1, 2):
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
    lost = {row["tensor_name"]: float(row["lost"]) for row in csv.DictReader(text)}
    return dict(sorted(lost.items(), key=lambda item: -item[1]))


def _lost(exact, rounded, scale, zero_point):
    """Channel by channel: a channel of small numbers beside one of large ones is what integers ruin."""
    exact = np.float64(exact).reshape(-1, exact.shape[-1])
    errors = ((np.float64(rounded).reshape(exact.shape) - zero_point) * scale - exact) ** 2
    variance = (exact**2).mean(axis=0)
    alive = variance > 0
    return float(np.minimum(1, errors.mean(axis=0)[alive] / variance[alive]).mean()) if alive.any() else 0.0


def _readers(flat_buffer):
    """`{tensor: [outputs of the operations that read it]}`, by name."""
    graph = flatbuffer_utils.convert_bytearray_to_object(flat_buffer).subgraphs[0]
    names = [tensor.name.decode() for tensor in graph.tensors]
    readers = {name: [] for name in names}
    for operator in graph.operators:
        for tensor in operator.inputs:
            if tensor >= 0:
                readers[names[tensor]] += [names[output] for output in operator.outputs]
    return readers


def _layer(tensor):
    """The layer's name in a tensor's: `resnet18_1/stem_conv_act_1/Relu;…` is of `stem_conv_act`."""
    parts = tensor.partition(";")[0].split("/")
    # The converter has names of its own for what leaves the graph.
    return parts[1].removesuffix("_1") if len(parts) > 1 else "probabilities"

"""Finds the layers that lose most by quantization, and exports int8 with these layers in float."""

import csv
import dataclasses
import io

import numpy as np
import tensorflow as tf
from tensorflow.lite.tools import flatbuffer_utils

from recycle_tf import cli

from . import tflite
from .artifact import batch_dimension

SHARES = (0.05, 0.15, 0.3)
"""Shares of the layers, worst first, that are tried in float."""

NAMED = 5
"""Layers that are named if none of the attempts passes."""

MEASURED_IMAGES = 16


def rescue(model, images, artifact, verdict, judge):
    """Exports int8 again with the worst layers in float: first a few, then more, until a file passes.

    Args:
        model: as in `tflite.export`.
        images: the representative images, as in `tflite.export`.
        artifact: the `Artifact` with all layers in int8, which failed.
        verdict: its `Verdict`.
        judge: `judge(artifact) -> Verdict`, on the validation split: the test split must not select.

    Returns:
        `(artifact, verdict)` of the first file that passes; its spec has `float_layers`. If none passes: the
        given ones, with `worst_layers` in the spec.
    """
    original = artifact.path.read_bytes()
    with tflite.converting(artifact.spec, model, tflite.MIXED, images) as converter:
        debugger = tf.lite.experimental.QuantizationDebugger(converter=converter)
    batch = batch_dimension(artifact.spec) or 1
    lost = measure(debugger, [np.repeat(image[None], batch, 0) for image in images[:MEASURED_IMAGES]])
    readers = _readers(debugger.calibrated_model)
    for share in SHARES:
        worst = list(lost)[: max(1, round(share * len(lost)))]
        # The output of a layer in float would be rounded for the next layer, so that stays in float as well.
        nodes = sorted({node for tensor in worst for node in (tensor, *readers[tensor])})
        with cli.hushed(1, 2):
            debugger.options = tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=nodes)
            flat_buffer = debugger.get_nondebug_quantized_model()
        spec = {**artifact.spec, "float_layers": list(dict.fromkeys(map(_layer, nodes)))}
        mixed = tflite.write(flat_buffer, spec, artifact.format, artifact.path.parent)
        judged = judge(mixed)
        if not judged.failure:
            return mixed, judged
    artifact.path.write_bytes(original)
    worst = {_layer(tensor): round(lost[tensor], 4) for tensor in list(lost)[:NAMED]}
    return dataclasses.replace(artifact, spec={**artifact.spec, "worst_layers": worst}), verdict


def measure(debugger, batches):
    """Measures what each layer loses by rounding, worst first.

    Args:
        debugger: a `QuantizationDebugger` with a converter.
        batches: uint8, each `[batch, image_size, image_size, 3]`.

    Returns:
        `{name of the layer's output tensor: loss}`. The loss is the variance of the error, if this layer
        alone computes in integers, as a share of the variance of the output; averaged over channels, 0..1.
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
    """The loss per channel: quantization ruins channels of small numbers beside those of large ones."""
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
    """The layer's name in a tensor's name: `resnet18_1/stem_conv_act_1/Relu;…` is of `stem_conv_act`."""
    parts = tensor.partition(";")[0].split("/")
    # The converter renames the outputs of the graph.
    return parts[1].removesuffix("_1") if len(parts) > 1 else "probabilities"

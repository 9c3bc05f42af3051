"""Finds the layers that lose most by quantization, and exports int8 with these layers in float."""

import dataclasses
import itertools

from recycle_tf.quantization import fake_quantization

from . import converter, flat_buffer, tflite

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
    batches = tflite.batches(artifact.spec, images)
    with tflite.saved(artifact.spec, model, tflite.MIXED) as folder:
        # Behind the two uniform images, if there is more than one batch.
        size = batches.shape[1]
        measured = batches[min(-(-2 // size), len(batches) - 1) :][: -(-MEASURED_IMAGES // size)]
        lost, network = converter.measure_losses(folder, tflite.MIXED, batches, measured)
        readers = flat_buffer.readers(network)
        head = _head(readers)
        lost = {tensor: loss for tensor, loss in lost.items() if tensor not in head}
        for share in SHARES:
            worst = list(lost)[: max(1, round(share * len(lost)))]
            # The output of a layer in float would be rounded for the next layer, so that stays in float too.
            nodes = sorted({node for tensor in worst for node in (tensor, *readers[tensor])} - head)
            spec = {**artifact.spec, "float_layers": list(dict.fromkeys(map(_layer, nodes)))}
            content = converter.convert_without(folder, [*nodes, *sorted(head)])
            mixed = tflite.write(content, spec, artifact.format, artifact.path.parent)
            judged = judge(mixed)
            if not judged.failure:
                return mixed, judged
    artifact.path.write_bytes(original)
    worst = {_layer(tensor): round(lost[tensor], 4) for tensor in list(lost)[:NAMED]}
    return dataclasses.replace(artifact, spec={**artifact.spec, "worst_layers": worst}), verdict


def _head(readers):
    """The tensors that compute in float in every int8 file, and all that follow from them.

    Args:
        readers: as `flat_buffer.readers` returns them.

    Returns:
        A set of names.
    """
    outputs = set(itertools.chain(*readers.values()))
    found, pending = set(), [name for name in outputs if _layer(name) in fake_quantization.FLOAT]
    while pending:
        tensor = pending.pop()
        if tensor not in found:
            found.add(tensor)
            pending += readers[tensor]
    return found


def _layer(tensor):
    """The layer's name in a tensor's name: `resnet18_1/stem_conv_act_1/Relu;…` is of `stem_conv_act`."""
    parts = tensor.partition(";")[0].split("/")
    # The converter renames the outputs of the graph.
    return parts[1].removesuffix("_1") if len(parts) > 1 else "probabilities"

"""What architectures cost on this machine: `python -m export benchmark ARCH …`, with random weights.

Parameters, multiply-adds and activations of an image, activations that training keeps, images per second in
training, latency in Keras and as .tflite (float32 and int8, one thread), and sizes. Networks of a comparison
are timed in turn.

    python -m export benchmark resnet18 densenet121 'efficientnet_lite*' --image_size=128 --plot=costs.png

For the accuracy of trained networks beside their costs: `python -m recycle_tf compare RUN …`.
"""

import functools
import pathlib
import tempfile

from absl import flags

from recycle_tf import cli
from recycle_tf.commands import compare
from recycle_tf.errors import UserError, did_you_mean

FORMATS = ("float32", "int8")
REPRESENTATIVE_IMAGES = 8


@cli.command
def main(argv):
    """Prints the table, and writes CSV and plot."""
    values = flags.FlagValues()
    flags.DEFINE_integer(
        "image_size", None, "Default: that of each architecture.", lower_bound=1, flag_values=values
    )
    flags.DEFINE_integer("num_classes", 6, "Number of classes.", lower_bound=2, flag_values=values)
    flags.DEFINE_integer(
        "batch_size", 32, "Images of a training step; 0 does not time it.", lower_bound=0, flag_values=values
    )
    compare.define_outputs(values)
    patterns = cli.parse(argv, values, __doc__)
    compare.check_outputs(values)
    cli.import_tensorflow()
    compare.write_outputs(values, measure(find(patterns), values))


def find(patterns):
    """The architectures of shell patterns.

    Raises:
        UserError: no pattern, or one that no architecture matches.
    """
    from recycle_tf.models import list_models

    if not patterns:
        raise UserError("no architectures given; `python -m recycle_tf models` lists them")
    found = []
    for pattern in patterns:
        archs = list_models(pattern)
        if not archs:
            raise UserError(
                f"{pattern}: no architecture of that name, {did_you_mean(pattern, list_models())}"
            )
        found += [arch for arch in archs if arch not in found]
    return found


def measure(archs, values):
    """Measures architectures, one after another; latencies in turn.

    Returns:
        A `costs.Table`.
    """
    import numpy as np

    from recycle_tf import create_model
    from recycle_tf.evaluation import costs, latency, litert
    from recycle_tf.training import preflight

    models = {arch: create_model(arch, values.num_classes, values.image_size) for arch in archs}
    measured = {arch: {"training_memory": preflight.activation_bytes(models[arch])} for arch in archs}
    calls = {(arch, "keras"): latency.keras_call(model) for arch, model in models.items()}
    with tempfile.TemporaryDirectory() as folder:
        for arch, model in models.items():
            for kind, path in _export(model, pathlib.Path(folder) / arch):
                measured[arch][f"{kind}_bytes"] = path.stat().st_size
                image = np.zeros(model.input_shape[1:], np.uint8)
                calls[arch, kind] = functools.partial(litert.open_predictor(path), image)
        for (arch, kind), milliseconds in latency.time_alternately(calls).items():
            measured[arch][f"{kind}_ms"] = milliseconds
    if values.batch_size:
        for arch, model in models.items():
            measured[arch]["images_per_second"] = _training_speed(model, values)
    return costs.Table(costs.of_model(arch, model, **measured[arch]) for arch, model in models.items())


def _export(model, folder):
    """`(kind, path)` of the `.tflite` files that the model can be exported to."""
    import numpy as np

    from .formats import FORMATS as ALL

    folder.mkdir()
    size, classes = model.input_shape[1], model.output_shape[-1]
    spec = dict.fromkeys(("arch", "run", "input", "output", "resize"), "benchmark")
    spec |= {"labels": [str(number) for number in range(classes)], "batch": 1, "image_size": size}
    shape = (REPRESENTATIVE_IMAGES, size, size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    for kind in FORMATS:
        target = ALL[f"tflite_{kind}"]
        if target.load_module().why_not(model, target.name) is None:
            # A network that was never trained has no ranges of its own.
            inputs = {need: images for need in target.needs if need == "representative_images"}
            yield kind, target.load_module().export(spec, model, target.name, folder, **inputs).path


def _training_speed(model, values):
    """Images per second of training steps with the settings of a run."""
    import numpy as np
    import tensorflow as tf

    from recycle_tf.config import TrainConfig
    from recycle_tf.training import loop, preflight

    config = TrainConfig(arch=model.name, batch_size=values.batch_size)
    counts = np.ones(values.num_classes)
    training = loop.prepare(model, config, tf.distribute.get_strategy(), counts, 1, None)
    size = model.input_shape[1]
    images = np.random.default_rng(0).uniform(0, 255, (values.batch_size, size, size, 3)).astype(np.float32)
    labels = np.eye(values.num_classes, dtype=np.float32)[np.arange(values.batch_size) % values.num_classes]
    return preflight.training_speed(training.model, (tf.constant(images), tf.constant(labels)))

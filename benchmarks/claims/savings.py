"""Claim 7: what each part saves: 1x1 reduction, bottleneck, depthwise separable convolution, smaller kernels.

    python benchmarks/claims/savings.py

Multiply-adds by formula and as counted in the layers, and milliseconds of one image on this machine. The
feature maps are those of the papers: inception 3a (arXiv 1409.4842, table 1), a bottleneck of ResNet-50's
stage 1 (arXiv 1512.03385, figure 5), MobileNet's separable convolution (arXiv 1704.04861, section 3.1), and
VGG's three 3x3 for one 7x7 (arXiv 1409.1556, section 2.3).
"""

import dataclasses
import time
from collections.abc import Callable

import experiment

from recycle_tf import cli

CALLS = 60


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a network beside what it replaces.

    Attributes:
        name: of the part.
        plain: builds what it replaces, from a feature map.
        lean: builds the part.
        plain_macs: of what it replaces, by formula.
        lean_macs: of the part, by formula.
        shape: height, width and channels of the feature map.
    """

    name: str
    plain: Callable
    lean: Callable
    plain_macs: int
    lean_macs: int
    shape: tuple


def parts():
    """The rows of the table."""
    from recycle_tf.layers import conv, depthwise_conv
    from recycle_tf.models import googlenet

    module = googlenet.STAGES[0][0]

    def inception(x):
        return googlenet.inception(x, module, 5, conv_only, "lean")

    def conv_only(x, filters, kernel_size, name):
        return conv(x, filters, kernel_size, name=name)

    def direct(x):
        from keras import layers

        branches = [
            conv(x, filters, size, name=f"plain{size}")
            for filters, size in ((module.one, 1), (module.three, 3), (module.five, 5))
        ]
        # Without its projection, the pooling passes all channels on.
        return layers.Concatenate()([*branches, layers.MaxPooling2D(3, 1, "same")(x)])

    def bottleneck(x):
        x = conv(x, 64, 1, name="reduce")
        x = conv(x, 64, 3, name="middle")
        return conv(x, 256, 1, name="expand")

    def basic(x):
        return conv(conv(x, 256, 3, name="first"), 256, 3, name="second")

    def separable(x):
        return conv(depthwise_conv(x, 3, name="depthwise"), 256, 1, name="pointwise")

    def stacked(x):
        for number in range(3):
            x = conv(x, 128, 3, name=f"stacked{number}")
        return x

    pixels = 28 * 28
    reduced = 64 + 96 + 9 * 96 * 128 / 192 + 16 + 25 * 16 * 32 / 192 + 32
    return [
        Part(
            "1x1 reductions in inception 3a",
            direct,
            inception,
            pixels * 192 * (64 + 9 * 128 + 25 * 32),
            round(pixels * 192 * reduced),
            (28, 28, 192),
        ),
        Part(
            "bottleneck instead of two 3x3, 256 channels",
            basic,
            bottleneck,
            56 * 56 * 2 * 9 * 256 * 256,
            56 * 56 * (256 * 64 + 9 * 64 * 64 + 64 * 256),
            (56, 56, 256),
        ),
        Part(
            "depthwise separable 3x3, 256 channels",
            lambda x: conv(x, 256, 3, name="full"),
            separable,
            pixels * 9 * 256 * 256,
            pixels * (9 * 256 + 256 * 256),
            (28, 28, 256),
        ),
        Part(
            "three 3x3 instead of one 7x7, 128 channels",
            lambda x: conv(x, 128, 7, name="large"),
            stacked,
            pixels * 49 * 128 * 128,
            pixels * 3 * 9 * 128 * 128,
            (28, 28, 128),
        ),
    ]


def main():
    """Prints the table and draws what is saved."""
    values = experiment.parse(experiment.parser(__doc__))
    cli.import_tensorflow()
    rows = experiment.Rows(values.out / "savings.jsonl")
    found = [(part.name, rows.once([part.name], lambda p=part: measure(p))) for part in parts()]
    lines = [
        [
            name,
            f"{row['macs'][0] / 1e6:.1f}",
            f"{row['macs'][1] / 1e6:.1f}",
            f"{row['macs'][0] / row['macs'][1]:.1f}",
            f"{row['ms'][0]:.2f}",
            f"{row['ms'][1]:.2f}",
            f"{row['ms'][0] / row['ms'][1]:.1f}",
        ]
        for name, row in found
    ]
    titles = ["part", "MMACs without", "with", "factor", "ms without", "with", "factor"]
    experiment.table(titles, lines)
    experiment.save(lambda axes: draw(axes, found), values.out / "savings.png", size=(8, 3.6))


def build(part):
    """The networks `[without, with]`, and their multiply-adds as counted in their layers."""
    import keras

    from recycle_tf.models.summary import layer_cost

    models = []
    for make in (part.plain, part.lean):
        inputs = keras.Input(part.shape)
        models.append(keras.Model(inputs, make(inputs)))
    return models, [sum(layer_cost(layer)[0] for layer in model.layers) for model in models]


def measure(part):
    """Multiply-adds and milliseconds, `[without, with]`.

    Raises:
        AssertionError: the layers count differently from the formula.
    """
    from recycle_tf.evaluation import latency

    models, counted = build(part)
    assert counted == [part.plain_macs, part.lean_macs], (part.name, counted)
    return {"macs": counted, "ms": fastest([latency.keras_call(model) for model in models])}


def fastest(calls):
    """Milliseconds of the fastest call of each function, in turn: what other load disturbs least."""
    taken = [[] for _ in calls]
    for _ in range(CALLS):
        for call, times in zip(calls, taken, strict=True):
            start = time.perf_counter()
            call()
            times.append(1000 * (time.perf_counter() - start))
    return [min(times) for times in taken]


def draw(axes, found):
    """Two bars per part: how many times fewer multiply-adds, and how many times less time."""
    for place, (key, label, color) in enumerate(
        (("macs", "multiply-adds", "#1f6f8b"), ("ms", "time", "#c1440e"))
    ):
        factors = [row[key][0] / row[key][1] for _, row in found]
        axes.barh([i + 0.38 * place for i in range(len(found))], factors, 0.36, color=color, label=label)
    axes.set_yticks([i + 0.19 for i in range(len(found))], [name for name, _ in found])
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set(xlabel="factor saved (1: nothing)", xscale="log")
    axes.set_xticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
    axes.invert_yaxis()
    axes.legend()


if __name__ == "__main__":
    main()

"""What integers cost trained networks, and which files the gates accept.

    python benchmarks/real_networks.py …
    python benchmarks/quantization.py --runs=RUNS

For every run it prints three Markdown tables: the sound files of each format; files damaged on
purpose, as float16 and int8; and what each step of the int8 export brings, measured by the logit error
on the validation split, which is more precise than the accuracy on a test split of a few hundred images.
Damaged files and steps are simulated in Keras, which agrees with LiteRT (tests/export/test_int8.py).
"""

import argparse
import functools
import pathlib
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

NOISE = 0.02
"""Of every weight; the standard deviation of a relative error."""


class Network:
    """A trained network with the images that it is measured on.

    Args:
        path: the run folder.
    """

    def __init__(self, path):
        from recycle_tf import runs
        from recycle_tf.evaluation import datasets, temperature
        from recycle_tf.quantization import ranges

        self.run = runs.open_run(path)
        self.model = temperature.load_calibrated_model(self.run)
        self.splits = datasets.open_source(self.run).splits
        self.labels = self.splits["test"].labels
        settings = (self.model.input_shape[1], self.run.config["resize"], self.run.config["seed"])
        self.calibration = ranges.representative_images(self.splits["train"], *settings)
        self.test = self.decode(self.splits["test"])
        self.validation = self.decode(self.splits["validation"])
        self.expected = self.answers(self.model, self.test)

    def decode(self, split, resize=None):
        """The images of a split as uint8, `[examples, image_size, image_size, 3]`."""
        from recycle_tf.data import cache

        return cache.decode_all(split, self.model.input_shape[1], resize or self.run.config["resize"])

    def answers(self, model, images):
        """Probabilities, `[examples, num_classes]`."""
        from recycle_tf.evaluation import temperature

        logits = model.predict(np.float32(images), batch_size=32, verbose=0)
        return np.float32(temperature.softmax(logits))

    def judge(self, format_name, found):
        """The `Verdict` on probabilities of the test split."""
        from export import gates
        from export.formats import FORMATS

        return gates.judge(
            found, self.expected, self.labels, self.run.labels, 1, FORMATS[format_name].precision
        )


def sound(network):
    """Rows `(name, verdict, bytes, milliseconds)` of the files of each format."""
    from export import int8, tflite
    from recycle_tf.evaluation import latency, litert

    spec = dict.fromkeys(("arch", "run", "dataset", "input", "output", "resize"), "benchmark")
    spec |= {"labels": network.run.labels, "image_size": network.model.input_shape[1], "batch": 1}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        paths = {
            name: tflite.export(spec, network.model, name, folder).path
            for name in ("tflite_float32", "tflite_float16", "tflite_dynamic")
        }
        paths["tflite_int8"] = folder / "model_int8.tflite"
        paths["tflite_int8"].write_bytes(
            int8.convert(network.model, network.calibration, 1, network.run.trained_ranges)
        )
        predictors = {name: litert.open_predictor(path) for name, path in paths.items()}
        calls = {name: functools.partial(one, network.test[0]) for name, one in predictors.items()}
        times = latency.time_alternately(calls)
        for name, path in paths.items():
            found = np.stack([predictors[name](image) for image in network.test])
            yield name, network.judge(name, found), path.stat().st_size, times[name]


def damaged(network):
    """Rows `(format, damage, verdict)`."""
    from export import int8
    from recycle_tf.quantization import fold

    half = fold.fold(network.model)
    for layer in half.layers:
        layer.set_weights([np.float32(np.float16(weight)) for weight in layer.get_weights()])
    preprocess = network.model.get_layer("preprocess")
    scale, offset = np.float32(preprocess.scale), np.float32(preprocess.offset)
    inputs = {
        "blue for red": network.test[..., ::-1],
        # What a network sees that has no `preprocess`, before the one that this has.
        "no normalization": (network.test - offset) / scale,
        **{f"resize: {rule}": network.decode(network.splits["test"], rule) for rule in ("crop", "letterbox")},
    }
    integer = int8.simulate(network.model, network.calibration, network.run.trained_ranges)
    simulated = {"tflite_float16": half, "tflite_int8": integer}
    for name, model in simulated.items():
        found = network.answers(model, network.test)
        order = [1, 0, *range(2, found.shape[1])]
        yield name, "none", network.judge(name, found)
        yield name, "two labels swapped", network.judge(name, found[:, order])
        for damage, images in inputs.items():
            yield name, damage, network.judge(name, network.answers(model, images))
        add_noise(model)
        verdict = network.judge(name, network.answers(model, network.test))
        yield name, f"{NOISE:.0%} noise on weights", verdict


def add_noise(model):
    """Multiplies every weight of a kernel by a number near 1, in place."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if hasattr(layer, "kernel") and layer.weights:
            kernel, *rest = layer.get_weights()
            noise = 1 + NOISE * rng.normal(size=kernel.shape)
            layer.set_weights([np.float32(kernel * noise), *rest])


def steps(network):
    """Rows `(step, error of the logits on the validation split)` of the int8 export."""
    from export import gates, rounding
    from recycle_tf.quantization import fake_quantization, fold, ranges

    expected = network.answers(network.model, network.validation)
    exact = fold.fold(network.model, through_relu=False)
    measured = ranges.measure(exact, network.calibration)
    moments = {layer.name: found for layer, found in rounding.measure(exact, network.calibration).items()}

    def error(kernels, biases, maps):
        model = fold.fold(network.model, through_relu=False)
        for name, found in moments.items():
            layer = model.get_layer(name)
            kernel, bias = layer.get_weights()
            if kernels == "nearest":
                found = rounding.Moments(found.mean, None)
            rounded, change = rounding.round_kernel(layer, np.float64(kernel), found)
            layer.set_weights([np.float32(rounded), np.float32(bias + biases * change)])
        if maps:
            model = fake_quantization.insert(model, measured)
        return gates.logit_error(network.answers(model, network.validation), expected)

    yield (
        "feature maps only",
        gates.logit_error(
            network.answers(fake_quantization.insert(exact, measured), network.validation), expected
        ),
    )
    yield "kernels to nearest", error("nearest", False, False)
    yield "… and biases corrected", error("nearest", True, False)
    yield "kernels compensated, biases corrected", error("compensated", True, False)
    yield "… and feature maps: the int8 file", error("compensated", True, True)


def report(network):
    """Prints the tables of one network."""
    accuracy = float((network.expected.argmax(axis=1) == network.labels).mean())
    examples = len(network.labels)
    print(f"\n## {network.run.path.name}: {accuracy:.4f} of {examples} images in Keras\n")
    print("| file | MB | ms | drop | ± | flips | confident | logit error | mean gap | verdict |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, verdict, size, milliseconds in sound(network):
        print(f"| {name} | {size / 1e6:.2f} | {milliseconds:.2f} {row(verdict)}", flush=True)
    print("\n| format | damage | drop | ± | flips | confident | logit error | mean gap | verdict |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, damage, verdict in damaged(network):
        print(f"| {name} | {damage} {row(verdict)}", flush=True)
    if network.run.trained_ranges is not None:
        return
    print("\n| rounded | logit error |\n| --- | --- |")
    for step, found in steps(network):
        print(f"| {step} | {found:.4f} |", flush=True)


def row(verdict):
    """The figures of a verdict as cells of a table."""
    return (
        f"| {verdict.drop:.2f} | {verdict.drop_error:.2f} | {verdict.flips} | {verdict.confident_flips} "
        f"| {verdict.logit_error:.4f} | {verdict.mean_gap:.1e} | {verdict.failure or 'verified'} |"
    )


def main():
    """Prints the tables of every run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=pathlib.Path, required=True, help="folder of real_networks.py")
    parser.add_argument("--only", nargs="*", help="names of runs")
    flags = parser.parse_args()
    from recycle_tf import cli

    cli.import_tensorflow()
    for path in sorted(flags.runs.glob("*/calibration.json")):
        if not flags.only or path.parent.name in flags.only:
            report(Network(path.parent))


if __name__ == "__main__":
    main()

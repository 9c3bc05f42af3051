"""The textbooks' comparison of the families, measured: one budget, from scratch, on the same images.

    python benchmarks/claims/textbook.py --images=trashnet.zip --quick
    python benchmarks/claims/textbook.py --images=trashnet.zip

Sentences that are found in textbooks: AlexNet is the fastest and inaccurate; VGG is the largest and slowest;
GoogLeNet is the most efficient for its accuracy; ResNet is deep and efficient; DenseNet needs few parameters
for its accuracy; EfficientNet is the best for its size.

Every network sees the same number of images of the same size, with the same augmentation and schedule. The
learning rate is 0.05, and 0.01 for networks without batch normalization, which do not train at the higher
one. GoogLeNet trains without its auxiliary classifiers.
"""

import time

import experiment
import training

ARCHS = (
    "resnet18",
    "densenet121",
    "efficientnet_b0",
    "alexnet",
    "vgg16",
    "googlenet",
    "plain18",
    "preact_resnet18",
    "se_resnet18",
    "efficientnet_lite0",
    "lenet5",
)
BATCH = 64


def main():
    """Trains what was not trained before, and prints one row per network."""
    parser = experiment.parser(__doc__)
    parser.add_argument("--images", required=True, help="zip or folder with train/CLASS/*.jpg and test/")
    parser.add_argument("--archs", default=",".join(ARCHS), help="networks, separated by commas")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each network")
    values = experiment.parse(parser)
    size, epochs, per_class = (64, 2, 40) if values.quick else (128, 60, None)
    data = (
        *training.load_images(values.images, "train", per_class, size),
        *training.load_images(values.images, "test", per_class, size),
    )
    rows = experiment.Rows(values.out / "textbook.jsonl")
    found = {}
    for arch in values.archs.split(","):
        for seed in range(values.seed, values.seed + values.seeds):
            key = [arch, size, epochs, len(data[0]), seed]
            result = rows.once(key, lambda a=arch, s=seed: run(a, data, epochs, s))
            found.setdefault(arch, []).append(result)
    report(found, data, epochs, values.out)


def run(arch, data, epochs, seed):
    """Trains one network: parameters, multiply-adds, test error, and images per second in training."""
    import keras

    from recycle_tf import create_model, describe

    classes, size = int(data[1].max()) + 1, data[0].shape[1]

    def make():
        return create_model(arch, classes, image_size=size)

    network = make()
    norms = any(isinstance(layer, keras.layers.BatchNormalization) for layer in network.layers)
    rate = 0.05 if norms else 0.01
    start = time.perf_counter()
    model, history = training.train(
        make, data, epochs=epochs, seed=seed, batch_size=BATCH, learning_rate=rate
    )
    print(f"{arch} seed {seed}: {history[-1]}, {time.perf_counter() - start:.0f} s", flush=True)
    return {
        "parameters": network.count_params(),
        "macs": describe(arch, classes, image_size=size).macs,
        "history": history,
        "images_per_second": len(data[0]) / min(row["seconds"] for row in history),
        "gates": gates(model, data, classes),
    }


def gates(model, data, classes):
    """Mean gate of each channel by class, for each block with squeeze-and-excitation; see gates.py."""
    import keras

    excited = [layer for layer in model.layers if layer.name.endswith("_excite")]
    if not excited:
        return {}
    network = keras.Model(model.inputs[0], [layer.input[1] for layer in excited])
    found = network.predict(data[2].astype("float32"), batch_size=BATCH, verbose=0)
    return {
        layer.name.removesuffix("_se_excite"): [
            gate[data[3] == label].mean(axis=(0, 1, 2)).round(3).tolist() for label in range(classes)
        ]
        for layer, gate in zip(excited, keras.tree.flatten(found), strict=True)
    }


def report(found, data, epochs, out):
    """Prints the table, and draws accuracy over parameters and over multiply-adds."""
    from recycle_tf.evaluation.metrics import wilson

    examples, points, lines = len(data[2]), {}, []
    for arch, runs in found.items():
        right = sum(round((1 - run["history"][-1]["test_error"]) * examples) for run in runs)
        low, high = wilson(right, examples * len(runs))
        accuracy, first = right / (examples * len(runs)), runs[0]
        points[arch] = (first["parameters"], first["macs"], accuracy, low, high)
        lines.append(
            [
                f"`{arch}`",
                f"{first['parameters'] / 1e6:.2f}",
                f"{first['macs'] / 1e9:.3f}",
                f"{100 * accuracy:.1f} ({100 * low:.1f} to {100 * high:.1f})",
                f"{100 * (1 - first['history'][-1]['train_error']):.1f}",
                f"{first['images_per_second']:.0f}",
            ]
        )
    size = data[0].shape[1]
    print(f"{len(data[0])} training images of {size} pixels, {epochs} epochs, {examples} test images")
    titles = [
        "network",
        "million parameters",
        "GMACs",
        "test accuracy, % (95 %)",
        "training accuracy, %",
        "images/s",
    ]
    experiment.table(titles, lines)
    experiment.save(lambda axes: draw(axes, points), out / "textbook.png", columns=2, size=(12, 4.6))


def draw(axes, points):
    """Accuracy with its interval, over parameters and over multiply-adds."""
    from matplotlib import ticker

    for arch, (parameters, macs, accuracy, low, high) in points.items():
        for panel, cost in zip(axes, (parameters / 1e6, macs / 1e9), strict=True):
            bars = [[100 * (accuracy - low)], [100 * (high - accuracy)]]
            panel.errorbar(cost, 100 * accuracy, yerr=bars, fmt="o", capsize=3)
            panel.annotate(
                arch, (cost, 100 * accuracy), textcoords="offset points", xytext=(6, 4), fontsize=8
            )
    for panel, name in zip(axes, ("million parameters", "GMACs"), strict=True):
        panel.set(xscale="log", xlabel=name, ylabel="test accuracy, %")
        panel.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        panel.xaxis.set_minor_formatter(ticker.NullFormatter())
        panel.margins(x=0.2, y=0.1)
        panel.grid(alpha=0.3)


if __name__ == "__main__":
    main()

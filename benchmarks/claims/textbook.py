"""The textbooks' comparison of the families, measured: one budget, from scratch, on the same images.

    python benchmarks/claims/textbook.py --dataset=trashnet --manual_dir=trashnet --quick
    python benchmarks/claims/textbook.py --dataset=trashnet --manual_dir=trashnet --seeds=3

Sentences that are found in textbooks: AlexNet is the fastest and inaccurate; VGG is the largest and slowest;
GoogLeNet is the most efficient for its accuracy; ResNet is deep and efficient; DenseNet needs few parameters
for its accuracy; EfficientNet is the best for its size.

The budget is time: the speed of each network's training is measured first, and the number of epochs follows
from it, so that every schedule ends. Image size, augmentation and schedule are the same for all. The learning
rate is that of `--recipe=quick`, and a tenth of it for networks without batch normalization, which do not
train at the higher one.
"""

import pathlib

import experiment
import training

from recycle_tf import cli
from recycle_tf.config import TrainConfig

# Not FractalNet: its columns are made for 32 pixels, and cost 7.6 billion multiply-adds at 96.
ARCHS = (
    "lenet5",
    "alexnet",
    "vgg16",
    "googlenet",
    "plain18",
    "resnet18",
    "preact_resnet18",
    "se_resnet18",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_lite0",
    "deformable_resnet50",
    "highway20",
)
IMAGE_SIZE = 96
"""In pixels: AlexNet's poolings leave nothing of much smaller images."""
MEASURED_STEPS = 20


def main():
    """Trains what was not trained before, and prints one row per network."""
    parser = experiment.parser(__doc__)
    parser.add_argument("--dataset", default="trashnet", help="as in train.py")
    parser.add_argument("--manual_dir", help="as in train.py")
    parser.add_argument("--data_dir", help="as in train.py")
    parser.add_argument("--archs", default=",".join(ARCHS), help="networks, separated by commas")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each network")
    parser.add_argument("--minutes", type=float, default=25, help="training time of a run; 1 with --quick")
    values = experiment.parse(parser)
    cli.import_tensorflow()
    minutes = 1 if values.quick else values.minutes
    rows = experiment.Rows(values.out / "textbook.jsonl")
    found = {}
    for arch in values.archs.split(","):
        for seed in range(values.seed, values.seed + values.seeds):
            key = [arch, IMAGE_SIZE, minutes, values.dataset, seed]
            result = rows.once(key, lambda a=arch, s=seed: run(a, s, minutes, rows, values))
            found.setdefault(arch, []).append(result)
    report(found, minutes, values.out)


def run(arch, seed, minutes, rows, values):
    """Trains one network for a time: what it costs, and how it answers."""
    from recycle_tf.evaluation import stored_reports
    from recycle_tf.models.summary import describe_model

    folder = values.out / "textbook" / pathlib.PurePath(values.dataset).stem
    rate = TrainConfig(recipe="quick").learning_rate * (1 if has_norms(arch) else 0.1)
    flags = [
        f"--arch={arch}",
        f"--dataset={values.dataset}",
        f"--image_size={IMAGE_SIZE}",
        "--recipe=quick",
        f"--learning_rate={rate}",
        *training.place(values),
    ]

    def measure():
        short = (f"--epochs={MEASURED_STEPS}steps", "--warmup=0")
        probe = training.train(folder / f"{arch}_speed", *flags, *short)
        return [probe.history_rows()[-1]["images_per_second"], len(training.labels(probe))]

    speed, images = rows.once([arch, IMAGE_SIZE, "speed", values.dataset], measure)
    epochs = max(1, round(60 * minutes * speed / images))
    finished = training.train(
        folder / f"{arch}_{minutes:g}_{seed}", *flags, f"--epochs={epochs}", f"--seed={seed}"
    )
    found = describe_model(finished.load_model())
    summary = stored_reports.read(finished.report)
    return {
        "parameters": found.trainable,
        "macs": found.macs,
        "images_per_second": speed,
        "epochs": epochs,
        "trained": finished.history_rows()[-1]["accuracy"],
        "accuracy": summary["accuracy"],
        "examples": summary["examples"],
    }


def has_norms(arch):
    """Whether a network has batch normalization."""
    import keras

    from recycle_tf import create_model

    layers = create_model(arch, num_classes=2, image_size=IMAGE_SIZE).layers
    return any(isinstance(layer, keras.layers.BatchNormalization) for layer in layers)


def report(found, minutes, out):
    """Prints the table, and draws accuracy over parameters and over multiply-adds."""
    from recycle_tf.evaluation.metrics import wilson

    points, lines = {}, []
    for arch, runs in found.items():
        first = runs[0]
        examples = sum(run["examples"] for run in runs)
        right = sum(round(run["accuracy"] * run["examples"]) for run in runs)
        low, high = wilson(right, examples)
        points[arch] = (first["parameters"], first["macs"], right / examples, low, high)
        lines.append(
            [
                f"`{arch}`",
                f"{first['parameters'] / 1e6:.2f}",
                f"{first['macs'] / 1e9:.3f}",
                f"{first['images_per_second']:.0f}",
                first["epochs"],
                f"{100 * right / examples:.1f} ({100 * low:.1f} to {100 * high:.1f})",
                f"{100 * sum(run['trained'] for run in runs) / len(runs):.1f}",
            ]
        )
    print(f"{minutes:g} minutes of training at {IMAGE_SIZE} px, {len(next(iter(found.values())))} seed(s)")
    titles = [
        "network",
        "million parameters",
        "GMACs",
        "images/s",
        "epochs",
        "test accuracy, % (95 %)",
        "training accuracy, %",
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

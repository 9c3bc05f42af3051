"""Claims 5, 6, 8 and 9: what one setting does to the accuracy, with everything else equal.

    python benchmarks/claims/variants.py --group=augment --dataset=trashnet --arch=resnet18 --quick
    python benchmarks/claims/variants.py --group=shortcuts --dataset=claims/cifar_500 --arch=resnet20

Groups: `shortcuts` (arXiv 1512.03385, table 3: A, B and C are all better than none, and close to each other),
`gates` (arXiv 1709.01507: squeeze-and-excitation helps), `scaling` (arXiv 1905.11946, figure 8: at equal
multiply-adds, compound.py), `augment`, `mix` and `class_balance` (what they do to the accuracy and to the
recall of the class with the fewest training images). Every variant is a run of train.py, which is resumed or
found complete when the program is called again.
"""

import experiment
import training

from recycle_tf import cli, options

GROUPS = {
    "shortcuts": {
        "none": ["--overrides=shortcut=none"],
        "A, zero channels": ["--overrides=shortcut=identity"],
        "B, 1x1 where the shape changes": ["--overrides=shortcut=projection"],
        "C, 1x1 everywhere": ["--overrides=shortcut=all_projection"],
    },
    "gates": {
        "without": ["--overrides=attention=none"],
        "with": ["--overrides=attention=squeeze_excite"],
    },
    "scaling": {
        "all three": ["--overrides=phi=1"],
        "depth": ["--overrides=depth=2.31"],
        "width": ["--overrides=width=1.65"],
        "resolution": [],
    },
    "augment": {name: [f"--augment={name}"] for name in options.POLICIES},
    "mix": {name: [f"--mix={name}"] for name in options.MIXES},
    "class_balance": {name: [f"--class_balance={name}"] for name in options.CLASS_BALANCES},
}

LARGER_IMAGES = {"all three": 1.15, "resolution": 1.56}
"""Factor of the images' side in the group `scaling`."""


def main():
    """Trains the variants of a group, prints a row per variant and draws the intervals."""
    parser = experiment.parser(__doc__)
    parser.add_argument("--group", required=True, choices=GROUPS, help="which setting")
    parser.add_argument("--dataset", required=True, help="as in train.py")
    parser.add_argument("--arch", default="resnet18", help="as in train.py")
    parser.add_argument("--epochs", type=int, default=100, help="as in train.py; at most 5 with --quick")
    parser.add_argument("--manual_dir", help="as in train.py")
    parser.add_argument("--data_dir", help="as in train.py")
    parser.add_argument("--batch_size", type=int, default=32, help="as in train.py")
    values = experiment.parse(parser)
    cli.import_tensorflow()
    rows = {name: run(name, flags, values) for name, flags in GROUPS[values.group].items()}
    rare = next(iter(rows.values()))["rare"]
    lines = [
        [
            name,
            f"{100 * row['accuracy']:.1f}",
            "{:.1f} to {:.1f}".format(*percent(row)),
            f"{row['recall']:.3f}",
        ]
        for name, row in rows.items()
    ]
    experiment.table([values.group, "accuracy, %", "95 % interval", f"recall of {rare}"], lines)
    path = values.out / f"variants_{values.group}.png"
    experiment.save(lambda axes: draw(axes, rows), path, size=(7, 0.6 + 0.5 * len(rows)))


def run(name, flags, values):
    """Trains a variant: accuracy, its interval, and the rarest class with its recall."""
    import numpy as np

    from recycle_tf.evaluation import stored_reports

    folder = values.out / f"variants_{values.group}" / "".join(c if c.isalnum() else "_" for c in name)
    small = [f"--epochs={min(values.epochs, 5)}", "--warmup=1"]
    finished = training.train(
        folder,
        f"--arch={values.arch}",
        f"--dataset={values.dataset}",
        f"--seed={values.seed}",
        f"--batch_size={values.batch_size}",
        *training.place(values),
        *(small if values.quick else [f"--epochs={values.epochs}"]),
        *image_size(name, values),
        *flags,
    )
    report = stored_reports.read(finished.report)
    counts = np.bincount(training.labels(finished), minlength=len(finished.labels))
    rare = finished.labels[int(counts.argmin())]
    return {
        "accuracy": report["accuracy"],
        "accuracy_interval": report["accuracy_interval"],
        "rare": rare,
        "recall": report["per_class"][rare]["recall"],
    }


def image_size(name, values):
    """The flag for the side of a variant's images, if it is not the network's own."""
    if values.group == "scaling":
        return [f"--image_size={round((64 if values.quick else 224) * LARGER_IMAGES.get(name, 1))}"]
    return ["--image_size=32"] if values.quick else []


def percent(row):
    """The interval in percent."""
    return [100 * bound for bound in row["accuracy_interval"]]


def draw(axes, rows):
    """Accuracy with its interval, one line per variant."""
    for place, row in enumerate(rows.values()):
        low, high = percent(row)
        center = 100 * row["accuracy"]
        axes.errorbar(
            center, place, xerr=[[center - low], [high - center]], fmt="o", capsize=3, color="#1f6f8b"
        )
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_xlabel("test accuracy, % (95 % interval)")
    axes.invert_yaxis()
    axes.grid(alpha=0.3)


if __name__ == "__main__":
    main()

"""Where Grad-CAM is warm: the share of the heat on the object, against a network with random weights.

    python train.py --arch=resnet18 --dataset=recyclables_synth --image_size=96 --run_dir=runs/resnet18
    python benchmarks/claims/heat.py runs/resnet18 …

Selvaraju et al., arXiv 1610.02391, and Adebayo et al., arXiv 1810.03292: a map that looks the same for a
network with random weights explains nothing. On drawn images the object's mask is known, so the share of the
heat that lies on it can be measured. A map that knows nothing has the share of the object's area.
"""

import pathlib
import sys

import experiment
import numpy as np

from recycle_tf import cli

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEST_SEEDS = range(125, 150)
"""Of the test split of recyclables_synth, for each class."""
OPAQUE = 25
"""Opacity from which on a pixel belongs to the object, of 255."""


def main():
    """Prints a row per run, and draws examples."""
    parser = experiment.parser(__doc__)
    parser.add_argument("runs", nargs="+", help="runs on recyclables_synth")
    values = experiment.parse(parser)
    cli.import_tensorflow()
    sys.path.insert(0, str(ROOT / "datasets"))
    from recycle_tf import runs

    seeds = TEST_SEEDS[:4] if values.quick else TEST_SEEDS
    rows = experiment.Rows(values.out / "heat.jsonl")
    lines = []
    for path in values.runs:
        run = runs.open_run(path)
        key = [run.path.resolve().name, len(seeds), values.seed]
        row = rows.once(key, lambda r=run: measure(r, seeds, values.seed))
        lines.append(
            [
                row["arch"],
                f"{100 * row['accuracy']:.0f}",
                f"{100 * row['area']:.0f}",
                *(
                    f"{100 * row[name]['mean']:.0f} ± {100 * row[name]['error']:.0f}"
                    for name in ("trained", "random")
                ),
            ]
        )
    titles = ["network", "accuracy, %", "object's area, %", "heat on the object, %", "with random weights, %"]
    experiment.table(titles, lines)
    examples(runs.open_run(values.runs[0]), values)


def measure(run, seeds, seed):
    """Shares of the heat of a run's network and of one with random weights: mean, standard error, 0..1."""
    import keras

    from recycle_tf import create_model
    from recycle_tf.config import TrainConfig
    from recycle_tf.evaluation import explain

    trained = run.load_model()
    images, masks, labels = drawn(run, seeds)
    answers = trained.predict(images, verbose=0).argmax(axis=1)
    keras.utils.set_random_seed(seed)
    overrides = TrainConfig(**run.config).model_overrides()
    random = create_model(run.config["arch"], len(run.labels), trained.input_shape[1], **overrides)
    found = {
        "arch": run.config["arch"],
        "accuracy": float((answers == labels).mean()),
        "area": float(masks.mean()),
    }
    for name, model in (("trained", trained), ("random", random)):
        heat = explain.grad_cam(model, images, answers)
        # A map without any heat says nothing about where.
        warm = heat.sum(axis=(1, 2)) > 0
        shares = (heat * masks).sum(axis=(1, 2))[warm] / heat.sum(axis=(1, 2))[warm]
        found[name] = {
            "mean": float(shares.mean()),
            "error": float(shares.std(ddof=1) / np.sqrt(len(shares))),
            "maps": int(warm.sum()),
        }
    return found


def drawn(run, seeds):
    """Images of the test split as the network sees them, masks of their objects (0 or 1), and labels."""
    from recyclables_synth import drawing

    from recycle_tf.evaluation import inputs

    size, resize = run.load_model().input_shape[1], run.config["resize"]
    images, masks, labels = [], [], []
    for name in drawing.LABELS:
        for seed in seeds:
            images.append(inputs.read(drawing.draw(name, seed), size, resize))
            mask = inputs.read(drawing.draw_mask(name, seed).convert("RGB"), size, resize)
            # Glass is transparent.
            masks.append(mask[..., 0] > OPAQUE)
            labels.append(run.labels.index(name))
    return np.stack(images), np.stack(masks), np.array(labels)


def examples(run, values):
    """Draws one image per class with its mask's outline and the heat of the trained network."""
    from recycle_tf.evaluation import explain

    model = run.load_model()
    images, masks, labels = drawn(run, TEST_SEEDS[:1])
    answers = model.predict(images, verbose=0).argmax(axis=1)
    heat = explain.grad_cam(model, images, answers)

    def draw(axes):
        for panel, image, mask, map_, answer, label in zip(
            axes.flat, images, masks, heat, answers, labels, strict=True
        ):
            panel.imshow(image)
            panel.imshow(map_, cmap="jet", alpha=0.45, vmin=0, vmax=1)
            panel.contour(mask, [0.5], colors="white", linewidths=1)
            panel.set_title(f"{run.labels[label]}, predicted {run.labels[answer]}", fontsize=9)
            panel.axis("off")

    experiment.save(draw, values.out / "heat.png", rows=2, columns=3, size=(8, 5.6))


if __name__ == "__main__":
    main()

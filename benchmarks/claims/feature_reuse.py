"""Claim 4: the layers of a dense block read the feature maps of all layers before them.

    python benchmarks/claims/feature_reuse.py --quick --cifar=cifar10.zip
    python benchmarks/claims/feature_reuse.py --cifar=cifar10.zip

Huang et al., arXiv 1608.06993, figure 5: the mean absolute weight that each layer of a trained DenseNet-40
(k = 12) gives to the feature maps of each earlier layer of its block.
"""

import experiment
import numpy as np
import training

from recycle_tf import cli

ARCH = "densenet40_k12"


def main():
    """Trains the network unless it was trained before, prints and draws the weights."""
    parser = experiment.parser(__doc__)
    parser.add_argument("--cifar", required=True, help="zip or folder with train/CLASS/*.jpg and test/")
    values = experiment.parse(parser)
    cli.import_tensorflow()
    per_class, epochs = (300, 12) if values.quick else (3000, 40)
    images = values.out / f"cifar_{per_class}"
    training.choose_images(values.cifar, per_class, images)
    rows = experiment.Rows(values.out / "feature_reuse.jsonl")
    key = [training.RECIPE, ARCH, per_class, epochs, values.seed]
    folder = values.out / "feature_reuse" / "_".join(map(str, key[1:]))
    report(rows.once(key, lambda: run(images, folder, epochs, values.seed)), values.out)


def run(images, folder, epochs, seed):
    """Trains the network: its last errors, and the weights of each block before and after."""
    import keras

    from recycle_tf import create_model
    from recycle_tf.evaluation import stored_reports

    finished = training.train_on_cifar(images, folder, ARCH, epochs, seed)
    keras.utils.set_random_seed(seed)
    return {
        "training_error": 1 - finished.history_rows()[-1]["accuracy"],
        "test_error": 1 - stored_reports.read(finished.report)["accuracy"],
        "start": reuse(create_model(ARCH, len(finished.labels))),
        "end": reuse(finished.load_model()),
    }


def reuse(model):
    """Mean absolute weight of each source in each layer of a block: `[blocks][layers][sources]`.

    The first source is the input of the block, the others are its layers. Every source has as many weights
    per feature map, so means can be compared.
    """
    blocks = []
    for stage in (1, 2, 3):
        kernels = [
            np.abs(np.asarray(layer.kernel)).mean(axis=(0, 1, 3))
            for layer in model.layers
            if layer.name.startswith(f"stage{stage}_block") and layer.name.endswith("_conv2")
        ]
        growth = len(kernels[1]) - len(kernels[0])
        first = len(kernels[0])
        blocks.append(
            [
                [float(part.mean()) for part in np.split(kernel, range(first, len(kernel), growth))]
                for kernel in kernels
            ]
        )
    return blocks


def shares(block):
    """Weights of a block, layers by sources, each layer divided by its largest; NaN where there is none."""
    size = len(block)
    matrix = np.full((size, size), np.nan)
    for row, sources in enumerate(block):
        matrix[row, : len(sources)] = np.array(sources) / max(sources)
    return matrix


def report(found, out):
    """Prints how much the deeper half of a block reads from the shallower half, and draws the heat map."""
    print(f"training error {found['training_error']:.3f}, test error {found['test_error']:.3f}")
    lines = []
    for number, (start, end) in enumerate(zip(found["start"], found["end"], strict=True), start=1):
        cells = []
        for block in (start, end):
            matrix = shares(block)
            half = len(block) // 2
            cells.append(f"{np.nanmean(matrix[half:, 1:half]):.2f}")
        lines.append([number, *cells])
    experiment.table(["block", "untrained", "trained"], lines)
    experiment.save(
        lambda axes: draw(axes, found["end"]), out / "feature_reuse.png", columns=3, size=(12, 4.2)
    )


def draw(axes, blocks):
    """One heat map per dense block: layers over their sources."""
    for number, (panel, block) in enumerate(zip(axes, blocks, strict=True), start=1):
        shown = panel.imshow(shares(block).T, cmap="jet", vmin=0, vmax=1, origin="upper")
        panel.set(title=f"dense block {number}", xlabel="layer", ylabel="source (0: input of the block)")
    panel.figure.colorbar(shown, ax=axes, label="mean |weight|, of the layer's largest")


if __name__ == "__main__":
    main()

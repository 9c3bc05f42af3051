"""Claim 4: the layers of a dense block read the feature maps of all layers before them.

    python benchmarks/claims/feature_reuse.py --quick --cifar=cifar10.zip
    python benchmarks/claims/feature_reuse.py --cifar=cifar10.zip

Huang et al., arXiv 1608.06993, figure 5: the mean absolute weight that each layer of a trained DenseNet-40
(k = 12) gives to the feature maps of each earlier layer of its block.
"""

import experiment
import numpy as np
import training

ARCH = "densenet40_k12"


def main():
    """Trains the network unless it was trained before, prints and draws the weights."""
    parser = experiment.parser(__doc__)
    parser.add_argument("--cifar", required=True, help="zip or folder with train/CLASS/*.jpg and test/")
    values = experiment.parse(parser)
    per_class, epochs = (100, 3) if values.quick else (3000, 40)
    data = (
        *training.load_images(values.cifar, "train", per_class),
        *training.load_images(values.cifar, "test", min(per_class, 500)),
    )
    rows = experiment.Rows(values.out / "feature_reuse.jsonl")
    found = rows.once([ARCH, per_class, epochs, values.seed], lambda: run(data, epochs, values.seed))
    report(found, values.out)


def run(data, epochs, seed):
    """Trains the network: its last errors, and the weights of each block before and after."""
    from recycle_tf import create_model

    before = []

    def make():
        model = create_model(ARCH, int(data[1].max()) + 1)
        before.extend(reuse(model))
        return model

    model, history = training.train(make, data, epochs=epochs, seed=seed, batch_size=64)
    print(history[-1], flush=True)
    return {"last": history[-1], "start": before, "end": reuse(model)}


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
    print(f"training error {found['last']['train_error']:.3f}, test error {found['last']['test_error']:.3f}")
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

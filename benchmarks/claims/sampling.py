"""Claim 8: the sampling points of a deformable convolution spread with the size of the object.

    python train.py --arch=deformable_resnet50 --dataset=recyclables_synth … --run_dir=runs/deformable
    python benchmarks/claims/sampling.py runs/deformable

Dai et al., arXiv 1703.06211, figures 5 and 6 and table 2: the effective dilation of a filter, the mean
distance between neighboring sampling points, is larger on large objects than on small ones, and differs
between objects and background. Drawn objects are shown at several sizes and angles, on a floor of one color,
to a run with deformable convolutions. Without offsets, the effective dilation is 1.
"""

import pathlib
import sys

import experiment
import numpy as np
from PIL import Image

from recycle_tf import cli

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEST_SEEDS = range(125, 135)
"""Of the test split of recyclables_synth, for each class."""
SCALES = (0.4, 0.6, 0.8, 1.0)
"""Sizes of the object; 1 is as it is drawn."""
ANGLES = (0, 30, 60, 90)
"""Turns of the object, in degrees."""
OPAQUE = 25
"""Opacity from which on a pixel belongs to the object, of 255."""
NEIGHBORS = np.array(
    [(row * 3 + column, row * 3 + column + 1) for row in range(3) for column in range(2)]
    + [(row * 3 + column, row * 3 + column + 3) for row in range(2) for column in range(3)]
)
"""Pairs of the nine taps of a 3x3 filter that lie next to each other."""


def main():
    """Prints the effective dilation by size, and draws the points on one object at all sizes and angles."""
    parser = experiment.parser(__doc__)
    parser.add_argument("run", help="a run on recyclables_synth with deformable convolutions")
    values = experiment.parse(parser)
    cli.import_tensorflow()
    sys.path.insert(0, str(ROOT / "datasets"))
    from recyclables_synth import drawing

    from recycle_tf import runs

    run = runs.open_run(values.run)
    model = run.load_model()
    seeds = TEST_SEEDS[:1] if values.quick else TEST_SEEDS
    shown = [(name, seed) for name in drawing.LABELS for seed in seeds]
    lines, offsets = [], []
    for scale in SCALES:
        images = [laid(model, *one, scale, 0) for one in shown]
        inside, outside = dilations(model, images)
        offsets.append(learned_offsets(model, images)[1])
        lines.append([scale, *(f"{part.mean():.2f} ± {error(part):.2f}" for part in (inside, outside))])
    experiment.table(["size of the object", "dilation on the object", "on the floor"], lines)
    offsets = np.concatenate(offsets).reshape(-1, offsets[0].shape[-1])
    constant, spread = np.abs(offsets.mean(axis=0)).mean(), offsets.std(axis=0).mean()
    print(f"offsets, in pixels: {constant:.2f} on average, spread over images and positions {spread:.2f}")
    size = (2.6 * len(SCALES), 5.4)
    experiment.save(
        lambda axes: draw(axes, model, shown[0]), values.out / "sampling.png", 2, len(SCALES), size
    )


def laid(model, name, seed, scale, angle):
    """A drawn object, turned and resized about the center of a floor of its own image's mean color.

    Returns:
        uint8 `[size, size, 3]` as the model expects it, and where the object is, bool `[size, size]`.
    """
    from recyclables_synth import drawing

    size = model.input_shape[1]
    image, mask = drawing.draw(name, seed), drawing.draw_mask(name, seed)
    floor = Image.new("RGB", image.size, tuple(np.asarray(image)[:2].mean(axis=(0, 1)).astype(int)))
    small = [round(scale * side) for side in image.size]
    place = [(whole - part) // 2 for whole, part in zip(image.size, small, strict=True)]
    moved = []
    for one, empty in ((image, floor.copy()), (mask, Image.new("L", image.size))):
        turned = one.rotate(angle, Image.Resampling.BILINEAR, fillcolor=empty.getpixel((0, 0)))
        empty.paste(turned.resize(small, Image.Resampling.BOX), place)
        moved.append(empty)
    floor.paste(moved[0], mask=moved[1])
    shape = (size, size)
    return np.asarray(floor.resize(shape)), np.asarray(moved[1].resize(shape)) > OPAQUE


def dilations(model, shown):
    """Effective dilation of each image: the mean over positions on the object, and over those beside it.

    Args:
        model: whose last deformable convolution is 3x3.
        shown: images and masks, as `laid` returns them.

    Returns:
        Two arrays `[examples]`, in pixels of the feature map that is sampled.
    """
    layer, offsets = learned_offsets(model, shown)
    points = np.asarray(layer.positions(offsets))
    steps = points[..., NEIGHBORS[:, 0], :] - points[..., NEIGHBORS[:, 1], :]
    found = np.linalg.norm(steps, axis=-1).mean(axis=-1)
    covered = np.stack([share_of_cells(mask, found.shape[1]) for _, mask in shown])
    on, off = covered > 0.5, covered == 0
    return tuple(
        np.array([a[b].mean() for a, b in zip(found, where, strict=True) if b.any()]) for where in (on, off)
    )


def learned_offsets(model, shown):
    """The last deformable convolution, and its offsets for some images, `[examples, rows, columns, 18]`."""
    import keras

    from recycle_tf.layers import DeformableConv2D

    layer = [layer for layer in model.layers if isinstance(layer, DeformableConv2D)][-1]
    images = np.stack([image for image, _ in shown])
    return layer, keras.Model(model.inputs[0], layer.input[1]).predict(images, verbose=0)


def share_of_cells(mask, rows):
    """Share of each cell of a grid that a mask covers: `[rows, rows]`."""
    side = len(mask) // rows
    return mask[: rows * side, : rows * side].reshape(rows, side, rows, side).mean(axis=(1, 3))


def error(values):
    """Standard error of the mean."""
    return values.std(ddof=1) / np.sqrt(len(values))


def draw(axes, model, one):
    """One object, at all sizes above and all angles below, with the points of the position in its middle."""
    from recycle_tf.evaluation import explain

    cases = [*((scale, 0) for scale in SCALES), *((1.0, angle) for angle in ANGLES)]
    images = np.stack([laid(model, *one, *case)[0] for case in cases])
    points = explain.sampling_points(model, images)
    size, middle = images.shape[1], points.shape[1] // 2
    for panel, image, grid, (scale, angle) in zip(axes.flat, images, points, cases, strict=True):
        panel.imshow(image)
        taps = size * grid[middle, middle]
        panel.scatter(taps[:, 1], taps[:, 0], s=14, color="#c1440e", edgecolors="white", linewidths=0.5)
        panel.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5))
        panel.set_title(f"size {scale:g}, turned by {angle}°", fontsize=9)
        panel.axis("off")


if __name__ == "__main__":
    main()

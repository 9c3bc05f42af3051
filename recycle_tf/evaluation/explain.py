"""What a network looks at: Grad-CAM, gates, sampling points, and the training images most like an image.

Works for every architecture, because all have a layer `features`, the last feature map. Selvaraju et al.,
Grad-CAM, arXiv 1610.02391. What such maps show must be compared with a network of random weights: Adebayo et
al., Sanity Checks for Saliency Maps, arXiv 1810.03292.
"""

import dataclasses
import re

import keras
import numpy as np
import tensorflow as tf

from recycle_tf.data import cache, decode, pipeline
from recycle_tf.errors import UserError
from recycle_tf.evaluation import inputs, metrics, plots, temperature
from recycle_tf.files import replacing
from recycle_tf.layers import DeformableConv2D
from recycle_tf.models import inference

BATCH = 32
ROWS = 12
"""Images of a figure at most."""
POINTS = 4
"""Positions of an image whose sampling points are drawn."""


@dataclasses.dataclass(frozen=True)
class Explained:
    """What a network found in some images.

    Attributes:
        images: uint8 `[examples, size, size, 3]`.
        probabilities: `[examples, num_classes]`.
        features: mean of the last feature map, `[examples, channels]`.
        heat: of the two most probable classes, 0..1, `[examples, 2, size, size]`.
        points: where the last deformable convolution samples, `[examples, rows, columns, taps, 2]` as (y, x)
            in 0..1 of the image; None without such a layer.
    """

    images: np.ndarray
    probabilities: np.ndarray
    features: np.ndarray
    heat: np.ndarray
    points: np.ndarray | None


def examine(model, images):
    """Runs a model on images and explains its two most probable classes.

    Args:
        model: a Keras model with logits.
        images: uint8 `[examples, size, size, 3]`.

    Returns:
        An `Explained`.
    """
    probabilities = keras.ops.convert_to_numpy(
        keras.ops.softmax(model.predict(images, batch_size=BATCH, verbose=0))
    )
    top = np.argsort(-probabilities, axis=1, kind="stable")[:, :2]
    return Explained(
        images,
        probabilities,
        features(model, images),
        np.stack([grad_cam(model, images, column) for column in top.T], axis=1),
        sampling_points(model, images),
    )


def grad_cam(model, images, classes):
    """Grad-CAM: feature maps, weighted by the mean gradient of a class's logit; arXiv 1610.02391, equation 2.

    Args:
        model: a Keras model with logits and a layer `features`.
        images: uint8 or float32 `[examples, size, size, 3]`.
        classes: index of the class to explain in each image, `[examples]`.

    Returns:
        float32 `[examples, size, size]`, each with a maximum of 1, or 0 where nothing speaks for the class.
    """
    outputs = [model.get_layer("features").output, keras.tree.flatten(model.output)[0]]
    both, found = inference.with_outputs(model, outputs), []
    for start in range(0, len(images), BATCH):
        part = tf.cast(images[start : start + BATCH], tf.float32)
        with tf.GradientTape() as tape:
            # Also records what lies behind frozen layers.
            tape.watch(part)
            maps, logits = both(part, training=False)
            score = tf.gather(logits, classes[start : start + BATCH], axis=1, batch_dims=1)
        weights = tf.reduce_mean(tape.gradient(score, maps), axis=(1, 2), keepdims=True)
        heat = tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1, keepdims=True))
        found.append(tf.image.resize(heat, part.shape[1:3])[..., 0].numpy())
    heat = np.concatenate(found)
    return heat / np.maximum(heat.max(axis=(1, 2), keepdims=True), 1e-12)


def features(model, images):
    """Mean of the last feature map, `[examples, channels]`, of an array or a `tf.data.Dataset` of batches."""
    pooled = keras.ops.mean(model.get_layer("features").output, axis=(1, 2))
    batch_size = None if isinstance(images, tf.data.Dataset) else BATCH
    return inference.with_outputs(model, pooled).predict(images, batch_size=batch_size, verbose=0)


def nearest(found, known, count):
    """The known images most like each image, by the cosine of their features.

    Args:
        found: features of the images, `[examples, channels]`.
        known: features of other images, `[known, channels]`.
        count: number of images.

    Returns:
        Indices, `[examples, count]`, most similar first.
    """
    units = [rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (found, known)]
    return np.argsort(-(units[0] @ units[1].T), axis=1, kind="stable")[:, :count]


def sampling_points(model, images):
    """Where the last deformable convolution samples its input.

    Args:
        model: a Keras model.
        images: uint8 `[examples, size, size, 3]`.

    Returns:
        `[examples, rows, columns, taps, 2]`, (y, x) as a share of the image; a share outside of 0..1 is in
        the padding. None without such a layer.
    """
    deformable = [layer for layer in model.layers if isinstance(layer, DeformableConv2D)]
    if not deformable:
        return None
    layer = deformable[-1]
    feature_map, offsets = layer.input
    found = inference.with_outputs(model, offsets).predict(images, batch_size=BATCH, verbose=0)
    return (layer.positions(found) + 0.5) / np.float32(feature_map.shape[1:3])


def gates(model, images, labels, num_classes):
    """Mean gates of squeeze-and-excitation, by class; arXiv 1709.01507, figure 5.

    Args:
        model: a Keras model.
        images: uint8 `[examples, size, size, 3]`.
        labels: true classes, `[examples]`.
        num_classes: number of classes.

    Returns:
        `{name of the block: [num_classes, channels]}`, from input to output; NaN for a class without images,
        {} without such blocks.
    """
    excited = [layer for layer in model.layers if re.search(r"_excite$", layer.name)]
    if not excited:
        return {}
    # Feature map and gate, in this order; see `layers.squeeze_excite`.
    squeezed = inference.with_outputs(model, [layer.input[1] for layer in excited])
    found = squeezed.predict(images, batch_size=BATCH, verbose=0)
    return {
        layer.name.removesuffix("_excite"): np.stack([_mean(gate, labels == c) for c in range(num_classes)])
        for layer, gate in zip(excited, keras.tree.flatten(found), strict=True)
    }


def _mean(gate, chosen):
    """Mean over some examples and both spatial axes; NaN, which plots leave out, if there are none."""
    return gate[chosen].mean(axis=(0, 1, 2)) if chosen.any() else np.full(gate.shape[-1], np.nan)


def explain(run, images, neighbors=None, count=3):
    """Draws what a run's network looks at, and the training images most like each image.

    Args:
        run: a `runs.Run`.
        images: as `predictor.Predictor.predict` accepts them; the first `ROWS` are drawn.
        neighbors: a `sources.Split` of images to compare with, or None.
        count: number of its images that are drawn.

    Returns:
        A matplotlib `Figure`, one row per image.

    Raises:
        UserError: there is no model yet, or an image cannot be read.
    """
    model = temperature.load_calibrated_model(run)
    places = inputs.expand(images)[:ROWS]
    if not places:
        raise UserError("`images`: an empty list; give at least one image")
    size, resize = model.input_shape[1], run.config["resize"]
    pixels = np.stack([inputs.read(one, size, resize) for one in places])
    names = [inputs.name(one).rpartition("/")[2] for one in places]
    return draw(examine(model, pixels), names, run.labels, known_images(run, model, neighbors), count)


def explain_split(run, split, neighbors=None, count=3):
    """Explains where a run errs and where it is least certain, and its gates by class.

    Args:
        run: a `runs.Run`.
        split: a `sources.Split`.
        neighbors: as in `explain`.
        count: as in `explain`.

    Returns:
        `{name: Figure}`: `mistakes` unless there are none, `uncertain`, and `gates` for a network with
        squeeze-and-excitation.
    """
    model = temperature.load_calibrated_model(run)
    pixels = cache.decode_all(split, model.input_shape[1], run.config["resize"])
    logits = model.predict(pixels, batch_size=BATCH, verbose=0)
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    known = known_images(run, model, neighbors)
    chosen = {
        "mistakes": metrics.confident_mistakes(probabilities, split.labels, ROWS),
        "uncertain": np.argsort(probabilities.max(axis=1), kind="stable")[:ROWS],
    }
    figures = {
        name: draw(
            examine(model, pixels[indices]),
            [f"true: {run.labels[split.labels[index]]}" for index in indices],
            run.labels,
            known,
            count,
        )
        for name, indices in chosen.items()
        if len(indices)
    }
    found = gates(model, pixels, split.labels, len(run.labels))
    return figures | ({"gates": draw_gates(found, run.labels)} if found else {})


def write(directory, figures):
    """Writes figures as PNG; yields their paths.

    Args:
        directory: created if necessary.
        figures: `{name: Figure}`.

    Raises:
        OSError: it cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        path = directory / f"{name}.png"
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=90, format="png")
        yield path


def known_images(run, model, split):
    """What others are compared with: a function from index to pixels, features, labels; None for None."""
    if split is None:
        return None
    size, resize = model.input_shape[1], run.config["resize"]
    # Only features are kept: the pixels of a large training split would not fit into memory.
    batches = pipeline.build_evaluation(split, len(run.labels), size, BATCH, resize, cache="off")

    def pixels(index):
        return decode.decode(split.encoded(tf.constant(index, tf.int64)), size, resize).numpy()

    return pixels, features(model, batches.map(lambda images, _: images)), split.labels


def draw(explained, names, labels, known=None, count=3):
    """The figure of `explain`.

    Args:
        explained: an `Explained`.
        names: title of each image.
        labels: names of the classes.
        known: as returned by `known_images`, or None.
        count: number of known images per row.

    Returns:
        A matplotlib `Figure`.
    """
    rows = len(explained.images)
    columns = 3 + (explained.points is not None) + (count if known else 0)
    with plots.figure(rows, columns, figsize=(2.3 * columns, 2.45 * rows), squeeze=False) as (figure, grid):
        for axes in grid.flat:
            axes.axis("off")
        for index, line in enumerate(grid):
            cells = iter(line)
            _show(next(cells), explained.images[index], names[index])
            order = np.argsort(-explained.probabilities[index], kind="stable")[:2]
            for rank, label in enumerate(order):
                title = f"{labels[label]} {explained.probabilities[index, label]:.0%}"
                axes = next(cells)
                _show(axes, explained.images[index], title)
                axes.imshow(explained.heat[index, rank], cmap="jet", alpha=0.45, vmin=0, vmax=1)
            if explained.points is not None:
                _show_points(next(cells), explained, index)
            if known:
                pixels, vectors, true = known
                for other in nearest(explained.features[index : index + 1], vectors, count)[0]:
                    _show(next(cells), pixels(other), f"like: {labels[true[other]]}")
    return figure


def draw_gates(found, labels):
    """Draws gates by class, like figure 5 of arXiv 1709.01507: one panel for the last block of each stage.

    Args:
        found: as returned by `gates`, with at least one block.
        labels: names of the classes.

    Returns:
        A matplotlib `Figure`.
    """
    last = {name.partition("_")[0]: name for name in found}
    columns = min(3, len(last))
    rows = -(-len(last) // columns)
    with plots.figure(rows, columns, figsize=(4.2 * columns, 2.9 * rows), squeeze=False) as (figure, grid):
        for axes in grid.flat[len(last) :]:
            axes.axis("off")
        for axes, name in zip(grid.flat, last.values(), strict=False):
            for label, curve in zip(labels, found[name], strict=True):
                axes.plot(curve, linewidth=0.9, label=label)
            axes.set(xlabel="channel", ylabel="gate", ylim=(0, 1), title=name)
        grid.flat[0].legend(fontsize=8)
    return figure


def _show(axes, image, title):
    axes.imshow(image)
    axes.set_title(title if len(title) < 26 else f"…{title[-24:]}", fontsize=9)


def _show_points(axes, explained, index):
    """Draws the taps at the hottest positions; a larger dot is the position itself."""
    size = explained.images.shape[1]
    points = explained.points[index]
    rows, columns = points.shape[:2]
    heat = tf.image.resize(explained.heat[index, 0][..., None], (rows, columns))[..., 0].numpy()
    _show(axes, explained.images[index], "sampling points")
    for number, place in enumerate(np.argsort(-heat, axis=None, kind="stable")[:POINTS]):
        row, column = divmod(int(place), columns)
        taps = size * points[row, column]
        axes.scatter(taps[:, 1], taps[:, 0], s=9, color=f"C{number}")
        axes.scatter(
            size * (column + 0.5) / columns, size * (row + 0.5) / rows, s=50, color=f"C{number}", alpha=0.6
        )
    axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5))

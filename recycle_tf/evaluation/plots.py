"""Plots of an evaluation. Nothing here changes matplotlib's settings or backend for the caller."""

import contextlib
import pathlib

import matplotlib
import numpy as np
import tensorflow as tf
from matplotlib import font_manager, ticker
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from recycle_tf.data import checks, decode
from recycle_tf.evaluation import metrics
from recycle_tf.evaluation.style import BLUE
from recycle_tf.options import SHEET_MOST, SHEET_TITLE

KOREAN_FONTS = ("Noto Sans CJK KR", "NanumGothic", "Malgun Gothic", "AppleGothic")
WORST = 12
PREVIEW = 480
"""Longest side of an image among others on a plot, in pixels: twice as many as it is drawn with."""
SHEET_SIZE = 120
"""Height and width of the images of a sheet, in pixels."""
GRAY = "#888888"


@contextlib.contextmanager
def figure(*args, **kwargs):
    """A figure and its axes, as `plt.subplots` gives them, with fonts that hold Korean."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    fonts = ["DejaVu Sans", *(name for name in KOREAN_FONTS if name in installed)]
    grid = {key: kwargs.pop(key) for key in ("squeeze",) if key in kwargs}
    # A class may be called $_$.
    with matplotlib.rc_context({"text.parse_math": False, "font.family": fonts}):
        canvas = FigureCanvasAgg(Figure(layout="constrained", **kwargs))
        yield canvas.figure, canvas.figure.subplots(*args, **grid)


def draw(*functions, size=(5.2, 4.6)):
    """A figure with what functions draw, side by side.

    Args:
        *functions: each is called with matplotlib axes.
        size: of each, in inches.

    Returns:
        A matplotlib `Figure`.
    """
    width, height = size
    figsize = (width * len(functions), height)
    with figure(1, len(functions), figsize=figsize, squeeze=False) as (canvas, grid):
        for function, axes in zip(functions, grid.flat, strict=True):
            function(axes)
        return canvas


def save(path, function, size=(5.2, 4.6), dpi=120):
    """Writes a PNG of what `function(axes)` draws.

    Args:
        path: of the PNG.
        function: called with matplotlib axes.
        size: in inches.
        dpi: dots per inch.
    """
    draw(function, size=size).savefig(path, dpi=dpi)


def confusion_matrix(axes, confusion, names, title):
    """Rows are true classes, columns predicted ones, in examples; shaded by the share of the row."""
    counts = np.array(confusion)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, count, ha="center", va="center", color=color)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    accuracy = np.trace(counts) / counts.sum()
    axes.set(xlabel="predicted", ylabel="true", title=f"{title}: accuracy {accuracy:.1%}")


def confusion_pixels(confusion, names, title):
    """A confusion matrix as an image, uint8 `[height, width, 4]`; see `confusion_matrix`."""
    with figure(figsize=(5.2, 4.6)) as (canvas, axes):
        confusion_matrix(axes, confusion, names, title)
        canvas.canvas.draw()
        return np.array(canvas.canvas.buffer_rgba())


def reliability(axes, probabilities, labels):
    """Accuracy by confidence; a calibrated model's bars end on the diagonal."""
    shares, edges, accuracy, _ = metrics.calibration(probabilities, labels)
    axes.plot([0, 1], [0, 1], "--", color=GRAY)
    axes.bar(edges, accuracy, width=1 / len(edges), align="edge", color=BLUE, edgecolor="white")
    for edge, height, share in zip(edges, accuracy, shares, strict=True):
        if share:
            axes.text(edge + 0.5 / len(edges), height + 0.01, f"{share:.0%}", ha="center", fontsize=8)
    axes.set(xlim=(0, 1), ylim=(0, 1.08), xlabel="confidence", ylabel="accuracy")
    axes.set_title("reliability (above the bars: share of examples)")


def coverage(axes, probabilities, labels):
    """Accuracy of the most confident answers, over the share of images that are answered."""
    order = np.argsort(-probabilities.max(axis=1), kind="stable")
    right = (probabilities.argmax(axis=1) == labels)[order]
    number = np.arange(1, len(labels) + 1)
    axes.plot(number / len(labels), np.cumsum(right) / number, color=BLUE)
    axes.set(xlim=(0, 1), xlabel="share of images answered", ylabel="accuracy of the answers")
    axes.set_title("coverage (most confident first)")
    axes.grid(alpha=0.3)


def history(axes, rows):
    """Training and validation accuracy by epoch."""
    epochs = [row["epoch"] + 1 for row in rows]
    axes.plot(epochs, [row["accuracy"] for row in rows], color=GRAY, label="training, augmented")
    axes.plot(epochs, [row["val_accuracy"] for row in rows], color=BLUE, label="validation")
    axes.set(xlabel="epoch", ylabel="accuracy", title="training")
    axes.grid(alpha=0.3)
    axes.legend()


def shifts(robustness, strengths):
    """A figure with the accuracy over the strength of each simulated shift; without a shift, it is dashed.

    Args:
        robustness: a `shifts.Robustness`.
        strengths: of its figures.

    Returns:
        A matplotlib `Figure`.
    """
    columns = min(4, len(robustness.accuracy))
    lines = -(-len(robustness.accuracy) // columns)
    low = max(0.0, min(map(min, robustness.accuracy.values())) - 0.1)
    with figure(lines, columns, figsize=(2.2 * columns, 1.9 * lines), squeeze=False) as (canvas, grid):
        for axes in grid.flat[len(robustness.accuracy) :]:
            axes.set_visible(False)
        for axes, (name, row) in zip(grid.flat, robustness.accuracy.items(), strict=False):
            axes.axhline(robustness.clean, color=GRAY, linestyle="--", linewidth=1)
            axes.plot(strengths, row, marker=".", color=BLUE)
            axes.set_title(name.replace("_", " "), fontsize=9)
            axes.set(ylim=(low, 1.0), xticks=strengths)
            axes.tick_params(labelsize=8)
            axes.grid(alpha=0.3)
        canvas.supxlabel("strength", fontsize=9)
        canvas.supylabel(f"accuracy of {robustness.examples} images", fontsize=9)
        return canvas


def trade_off(axes, rows, cost, unit, title):
    """Accuracy over a cost, or latency where no accuracy is known; the area of a dot grows with parameters.

    Args:
        axes: of matplotlib.
        rows: a list of `costs.Costs`.
        cost: name of the attribute on the horizontal axis.
        unit: by which it is divided.
        title: of the horizontal axis.
    """
    trained = all(row.accuracy is not None for row in rows)
    for number, row in enumerate(rows):
        x, y = getattr(row, cost) / unit, 100 * row.accuracy if trained else row.keras_ms
        area = 30 + 12 * (row.parameters / 1e6)
        axes.scatter(x, y, s=area, color=f"C{number}", alpha=0.6)
        if trained:
            low, high = (100 * bound for bound in row.accuracy_interval)
            axes.errorbar(x, y, yerr=[[y - low], [high - y]], color=f"C{number}", capsize=3)
        axes.annotate(row.name, (x, y), xytext=(7, 5), textcoords="offset points", fontsize=8)
    axes.set(xscale="log", xlabel=title, ylabel="test accuracy, %" if trained else "latency in Keras, ms")
    # The usual labels of a logarithmic axis are formulas, which names of classes must not be.
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    axes.margins(x=0.2, y=0.1)
    axes.grid(alpha=0.3)


def image_rows(rows):
    """A figure with one row of images per name.

    Args:
        rows: `{name: uint8 images, [height, width, 3] each}`.

    Returns:
        A matplotlib `Figure`.
    """
    columns = max(1, *map(len, rows.values()))
    size = (1.5 * columns, 1.55 * len(rows))
    with figure(len(rows), columns, figsize=size, squeeze=False) as (canvas, grid):
        for line, (name, images) in zip(grid, rows.items(), strict=True):
            for axes in line:
                axes.set_xticks([])
                axes.set_yticks([])
            for axes, image in zip(line, images, strict=False):
                axes.imshow(image)
            for axes in line[max(1, len(images)) :]:
                axes.set_visible(False)
            line[0].set_ylabel(name.replace("_", " "), fontsize=9)
        return canvas


def sheet(source, split, columns, seed):
    """A figure with some images of each class, chosen at random; files that are damaged are left out.

    Args:
        source: a `sources.Source`.
        split: name of one of its splits.
        columns: number of images per class.
        seed: of the choice.

    Returns:
        A matplotlib `Figure`.
    """
    images, rng = source.splits[split], np.random.default_rng(seed)
    damaged = {fault.file for fault in source.faults if fault.kind in checks.UNUSABLE}
    whole = np.array([name not in damaged for name in images.ids], bool)
    rows = {}
    for index, label in enumerate(source.labels):
        chosen = rng.permutation(np.flatnonzero(whole & (images.labels == index)))[:columns]
        encoded = [images.encoded(tf.constant(one, tf.int64)) for one in chosen]
        rows[label] = [decode.decode(content, SHEET_SIZE, "letterbox").numpy() for content in encoded]
    return image_rows(rows)


def save_mistakes(path, split, probabilities, names):
    """Writes a PNG of the most confident mistakes of a split.

    Args:
        path: of the PNG.
        split: the `sources.Split` that was predicted.
        probabilities: `[len(split), num_classes]`.
        names: of the classes.
    """
    predicted = probabilities.argmax(axis=1)
    worst = metrics.confident_mistakes(probabilities, split.labels, WORST)
    with figure(3, 4, figsize=(10, 8.4)) as (canvas, grid):
        for axes in grid.flat:
            axes.axis("off")
        for axes, index in zip(grid.flat, worst, strict=False):
            axes.imshow(_preview(split.encoded(tf.constant(index, tf.int64))))
            share = probabilities[index, predicted[index]]
            verdict = f"{names[split.labels[index]]}, predicted {names[predicted[index]]} ({share:.0%})"
            axes.set_title(f"{pathlib.PurePath(split.ids[index]).name}\n{verdict}", fontsize=9)
        mistakes = int((predicted != split.labels).sum())
        canvas.suptitle(f"Mistakes: {mistakes} of {len(split)}; most confident first")
        canvas.savefig(path, dpi=100)


def save_answers(path, answers):
    """Writes a PNG of images with their predictions, the first `SHEET_MOST` of them.

    Args:
        path: of the PNG.
        answers: `answers.Answer` of each image, without errors.
    """
    answers = answers[:SHEET_MOST]
    columns = min(5, len(answers))
    rows = -(-len(answers) // columns)
    size = (2.4 * columns, 2.3 * rows)
    with figure(rows, columns, figsize=size, squeeze=False) as (canvas, grid):
        for axes in grid.flat:
            axes.axis("off")
        for axes, answer in zip(grid.flat, answers, strict=False):
            axes.imshow(_preview(pathlib.Path(answer.image).read_bytes()))
            unsure = f"{answer.doubt}:\n" if answer.doubt else ""
            axes.set_title(f"{unsure}{answer.label} {answer.probability:.0%}", fontsize=11)
        canvas.savefig(path, dpi=100, metadata={"Title": SHEET_TITLE})


def _preview(encoded):
    """An image no larger than it is drawn: a figure keeps all of its images until it is saved."""
    image = Image.fromarray(decode.decode_pixels(encoded).numpy())
    image.thumbnail((PREVIEW, PREVIEW))
    return image

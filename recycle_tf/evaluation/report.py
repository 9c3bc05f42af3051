"""The report of a run: `metrics.json`, pictures, and one page that shows them."""

import csv
import html
import json
import pathlib

import matplotlib
import numpy as np
import tensorflow as tf

from recycle_tf.data import decode
from recycle_tf.evaluation import metrics
from recycle_tf.files import replacing

matplotlib.use("Agg")
# A class may be called $_$.
matplotlib.rcParams["text.parse_math"] = False
from matplotlib import font_manager  # noqa: E402  (the backend is chosen first)
from matplotlib import pyplot as plt  # noqa: E402

KOREAN_FONTS = ("Noto Sans CJK KR", "NanumGothic", "Malgun Gothic", "AppleGothic")
_installed = {font.name for font in font_manager.fontManager.ttflist}
matplotlib.rcParams["font.family"] = ["DejaVu Sans", *(name for name in KOREAN_FONTS if name in _installed)]

WORST = 12
BLUE, GREY = "#1f6f8b", "#888888"

STYLE = """body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
img { max-width: 100%; vertical-align: top }
pre { background: #f4f6f7; padding: 1rem; overflow-x: auto }"""
"""Of every page that is written."""


def write(run, directory, split_name, split, probabilities):
    """Writes everything a run's `report/` holds.

    Args:
        run: a `runs.Run`.
        directory: `run.report`, or another folder for another split.
        split_name: `train`, `validation` or `test`.
        split: the `sources.Split` that was predicted.
        probabilities: `[len(split), num_classes]`.

    Returns:
        The summary of `metrics.summarise`, as written to `metrics.json`.
    """
    directory.mkdir(exist_ok=True)
    summary = {"split": split_name, **metrics.summarise(probabilities, split.labels, run.labels)}
    plots = {
        "confusion_matrix.png": lambda axes: draw_confusion(
            axes, summary["confusion"], run.labels, split_name
        ),
        "reliability.png": lambda axes: draw_reliability(axes, probabilities, split.labels),
        "history.png": lambda axes: draw_history(axes, run.history_rows()),
    }
    for name, draw in plots.items():
        figure, axes = plt.subplots(figsize=(5.2, 4.6), layout="constrained")
        draw(axes)
        figure.savefig(directory / name, dpi=120)
        plt.close(figure)
    _draw_mistakes(directory / "worst_mistakes.png", split, probabilities, run.labels)
    _write_table(directory / "per_class.csv", summary)
    (directory / "report.html").write_text(
        _page(run, summary, [*plots, "worst_mistakes.png"]), encoding="utf-8"
    )
    # Last: its presence says that the report is complete.
    with replacing(directory / "metrics.json") as temporary:
        temporary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return summary


def write_sheet(path, answers):
    """Draws pictures with their answers.

    Args:
        path: of the PNG.
        answers: `(file, label, probability)` of each picture.
    """
    columns = min(5, len(answers))
    rows = -(-len(answers) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(2.4 * columns, 2.3 * rows), layout="constrained", squeeze=False
    )
    for axes in grid.flat:
        axes.axis("off")
    for axes, (file, label, probability) in zip(grid.flat, answers, strict=False):
        axes.imshow(decode.decode_pixels(tf.io.read_file(str(file))))
        axes.set_title(f"{label} {probability:.0%}", fontsize=11)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def draw_confusion(axes, confusion, names, title):
    """True classes down, predicted classes across, in examples; shaded by the share of the row."""
    counts = np.array(confusion)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, count, ha="center", va="center", color=colour)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    accuracy = np.trace(counts) / counts.sum()
    axes.set(xlabel="predicted", ylabel="true", title=f"{title}: accuracy {accuracy:.1%}")


def confusion_picture(confusion, names, title):
    """The matrix as pixels, uint8 `[height, width, 4]`; see `draw_confusion`."""
    figure, axes = plt.subplots(figsize=(5.2, 4.6), layout="constrained")
    draw_confusion(axes, confusion, names, title)
    figure.canvas.draw()
    pixels = np.array(figure.canvas.buffer_rgba())
    plt.close(figure)
    return pixels


def draw_reliability(axes, probabilities, labels):
    """Accuracy over confidence; on the diagonal a confidence can be taken at its word."""
    shares, edges, accuracy, _ = metrics.calibration(probabilities, labels)
    axes.plot([0, 1], [0, 1], "--", color=GREY)
    axes.bar(edges, accuracy, width=1 / len(edges), align="edge", color=BLUE, edgecolor="white")
    for edge, height, share in zip(edges, accuracy, shares, strict=True):
        if share:
            axes.text(edge + 0.5 / len(edges), height + 0.01, f"{share:.0%}", ha="center", fontsize=8)
    axes.set(xlim=(0, 1), ylim=(0, 1.08), xlabel="confidence", ylabel="accuracy")
    axes.set_title("reliability (above the bars: share of examples)")


def draw_history(axes, rows):
    """Accuracy by epoch, of training and validation."""
    epochs = [row["epoch"] + 1 for row in rows]
    axes.plot(epochs, [row["accuracy"] for row in rows], color=GREY, label="training, augmented")
    axes.plot(epochs, [row["val_accuracy"] for row in rows], color=BLUE, label="validation")
    axes.set(xlabel="epoch", ylabel="accuracy", title="training")
    axes.grid(alpha=0.3)
    axes.legend()


def _draw_mistakes(path, split, probabilities, names):
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != split.labels)
    worst = wrong[np.argsort(-probabilities[wrong, predicted[wrong]])][:WORST]
    figure, grid = plt.subplots(3, 4, figsize=(10, 8.4), layout="constrained")
    for axes in grid.flat:
        axes.axis("off")
    for axes, index in zip(grid.flat, worst, strict=False):
        axes.imshow(decode.decode_pixels(split.encoded(tf.constant(index, tf.int64))))
        share = probabilities[index, predicted[index]]
        verdict = f"{names[split.labels[index]]}, taken for {names[predicted[index]]} ({share:.0%})"
        axes.set_title(f"{pathlib.PurePath(split.ids[index]).name}\n{verdict}", fontsize=9)
    figure.suptitle(f"{len(wrong)} mistakes in {len(split)}; the surest first")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _write_table(path, summary):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("class", "precision", "recall", "f1", "examples"))
        for name, row in summary["per_class"].items():
            figures = (f"{row[key]:.4f}" for key in ("precision", "recall", "f1"))
            writer.writerow((name, *figures, row["examples"]))


def _page(run, summary, pictures):
    figures = "\n".join(f'<img src="{name}" alt="{name.removesuffix(".png")}">' for name in pictures)
    return f"""<!doctype html>
<meta charset="utf-8">
<title>{html.escape(run.path.name)}</title>
<style>{STYLE}</style>
<h1>{html.escape(run.path.name)}</h1>
<p>{html.escape(summary["split"])} split: accuracy <b>{summary["accuracy"]:.1%}</b> on {summary["examples"]}
pictures, log loss {summary["log_loss"]:.3f},
expected calibration error {summary["calibration_error"]:.1%}.</p>
<pre>{html.escape(metrics.table(summary))}</pre>
{figures}
"""

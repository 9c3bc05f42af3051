"""The report of an evaluation: `metrics.json`, plots, and a page that shows them."""

import csv
import dataclasses
import json

from recycle_tf import files
from recycle_tf.data import joining
from recycle_tf.evaluation import metrics, page, plots, shifts
from recycle_tf.evaluation.answers import inert


def write(run, directory, split_name, split, probabilities, other=None, model=None):
    """Writes everything a run's `report/` holds; an earlier report is replaced when the new one is complete.

    Args:
        run: a `runs.Run`.
        directory: `run.report`, or another folder for another split.
        split_name: `train`, `validation`, `test` or `all`.
        split: the `sources.Split` that was predicted.
        probabilities: `[len(split), num_classes]`, calibrated.
        other: the `datasets.EvaluationSet` if it is not the run's own data, else None.
        model: path of the artifact that predicted, or None for the run's model.

    Returns:
        The summary of `metrics.summarise`, as written to `metrics.json`; of several sources the summary of
        each too, in `sources`.

    Raises:
        UserError: the folder cannot be written.
    """
    calibration = run.calibration or {}
    unlike = calibration.get("unlike", {}).get("threshold")
    summary = {
        "model": model and str(model),
        "dataset": other.name if other else run.config["dataset"],
        "own": other is None,
        "location": other.location if other else None,
        # From wherever it is evaluated again.
        "place": str(joining.places(other.location)[0]) if other and other.location else None,
        "split": split_name,
        "left_out": list(other.left_out) if other else [],
        **metrics.summarise(
            probabilities,
            split.labels,
            run.labels,
            calibration.get("threshold"),
            calibration.get("temperature"),
            unlike,
        ),
        "sources": {
            name: metrics.summarise(
                probabilities[rows], split.labels[rows], run.labels, calibration.get("threshold")
            )
            for name, rows in split.by_part().items()
        },
    }
    with files.writing(directory), files.replacing_folder(directory) as partial:
        _write_files(run, partial, summary, split, probabilities)
    return summary


def write_shifts(directory, robustness, image):
    """Writes the figures and plots of `shifts.measure`.

    Args:
        directory: its folder; an earlier one is replaced.
        robustness: a `shifts.Robustness`.
        image: uint8 `[size, size, 3]`, an example that shows every shift.

    Raises:
        UserError: the folder cannot be written.
    """
    with files.writing(directory), files.replacing_folder(directory) as partial:
        record = {
            **dataclasses.asdict(robustness),
            "strengths": shifts.STRENGTHS,
            "mean_at_strength_3": robustness.mean(3),
        }
        (partial / "shifts.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        plots.shifts(robustness, shifts.STRENGTHS).savefig(partial / "shifts.png", dpi=120)
        rows = {
            name: [image, *(shifts.shift(name, image[None], s)[0] for s in shifts.STRENGTHS)]
            for name in robustness.accuracy
        }
        plots.image_rows(rows).savefig(partial / "examples.png", dpi=80)


def _write_files(run, directory, summary, split, probabilities):
    draw = {
        "confusion_matrix.png": lambda axes: plots.confusion_matrix(
            axes, summary["confusion"], run.labels, summary["split"]
        ),
        "reliability.png": lambda axes: plots.reliability(axes, probabilities, split.labels),
        "coverage.png": lambda axes: plots.coverage(axes, probabilities, split.labels),
        "history.png": lambda axes: plots.history(axes, run.history_rows()),
    }
    for name, function in draw.items():
        plots.save(directory / name, function)
    page.write(run, directory, summary, split, probabilities)
    plots.save_mistakes(directory / "worst_mistakes.png", split, probabilities, run.labels)
    _write_table(directory / "per_class.csv", summary)
    # Its presence says that a run is complete.
    (directory / "metrics.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


def _write_table(path, summary):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("class", "precision", "recall", "f1", "examples"))
        for name, row in summary["per_class"].items():
            figures = (row[key] for key in ("precision", "recall", "f1"))
            cells = ("" if figure is None else f"{figure:.4f}" for figure in figures)
            writer.writerow((inert(name), *cells, row["examples"]))

"""Evaluation of a run on one or several datasets."""

import dataclasses
import json
import pathlib

import numpy as np

from recycle_tf.data import cache, pipeline
from recycle_tf.errors import UserError
from recycle_tf.evaluation import comparing, metrics, report, shifts, temperature
from recycle_tf.evaluation.datasets import EvaluationSet
from recycle_tf.evaluation.predictor import open_predictor


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What was found on one set of images.

    Attributes:
        set: the images.
        summary: of `metrics.summarise`.
        directory: of the report.
        probabilities: `[examples, num_classes]`, calibrated.
    """

    set: EvaluationSet
    summary: dict
    directory: pathlib.Path
    probabilities: np.ndarray = dataclasses.field(repr=False)

    @property
    def name(self):
        """Dataset and split, for a table."""
        return f"{self.set.name} {self.set.split_name}"


def evaluate(run, sets):
    """Evaluates a run's calibrated model and writes a report for each set.

    Args:
        run: a `runs.Run`.
        sets: a list of `datasets.EvaluationSet`.

    Returns:
        A list of `Evaluation`.

    Raises:
        UserError: there is no model yet, or a report cannot be written.
    """
    model = temperature.load_answering_model(run)
    directories = _directories(run, sets)
    return [_evaluate(run, model, *pair) for pair in zip(sets, directories, strict=True)]


def evaluate_shifts(run, model_path, images, names, progress=iter):
    """Evaluates a run, or one of its artifacts, on simulated shifts, and writes `RUN/report-shifts-MODEL/`.

    Args:
        run: a `runs.Run`.
        model_path: the run's folder or an exported file.
        images: a `datasets.EvaluationSet`.
        names: of the shifts.
        progress: wraps the iteration, as tqdm does.

    Returns:
        The `shifts.Robustness` and the folder.

    Raises:
        UserError: the model cannot be opened, or the folder cannot be written.
    """
    predictor = open_predictor(model_path)
    pixels = cache.decode_all(images.split, predictor.image_size, predictor.resize)
    found = shifts.measure(predictor.probabilities, pixels, images.split.labels, names, progress=progress)
    directory = run.path / f"report-shifts-{pathlib.Path(model_path).stem}"
    report.write_shifts(directory, found, pixels[0])
    return found, directory


def against(run, other, images):
    """Compares a run with another one on the same images.

    Args:
        run: a `runs.Run`.
        other: a `runs.Run` with the same classes, in any order.
        images: a `datasets.EvaluationSet` of `run`.

    Returns:
        A `comparing.Comparison`; its first network is that of `other`.

    Raises:
        UserError: the other run has other classes, or a model is missing.
    """
    if set(other.labels) != set(run.labels):
        raise UserError(
            f"{other.path}: its classes are {', '.join(other.labels)}, not {', '.join(run.labels)}"
        )
    order = [other.labels.index(label) for label in run.labels]
    own, others = (_predict(each, temperature.load_answering_model(each), images) for each in (run, other))
    return comparing.compare(others[:, order], own, images.split.labels)


def own_accuracy(run):
    """Accuracy on the run's own test split, 0..1, from its report; None if there is no report.

    Raises:
        UserError: the report is damaged.
    """
    path = run.report / "metrics.json"
    return _read(path)["accuracy"] if path.is_file() else None


def _read(path):
    """A report's `metrics.json` as a dict with a number as `accuracy`."""
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        return {**summary, "accuracy": float(summary["accuracy"])}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(f"{path}: damaged, cannot be read; evaluate the run again to replace it") from error


def elsewhere(run):
    """The summaries of a run's reports on photographs of another origin, `{dataset and split: summary}`.

    Raises:
        UserError: a report is damaged.
    """
    found = {}
    for path in sorted(run.path.glob("report-*/metrics.json")):
        summary = _read(path)
        if summary.get("own") is False:
            found[f"{summary.get('dataset')} {summary.get('split')}"] = summary
    return found


def _directories(run, sets):
    """The folder of each set's report; `run.report` is that of the run's own test split."""
    found = []
    for images in sets:
        name = f"report-{images.name}-{images.split_name}"
        path = run.report if images.own and images.split_name == "test" else run.path / name
        # Two folders may have the same name.
        same = sum(path == earlier or earlier.name.startswith(f"{name}-") for earlier in found)
        found.append(path.with_name(f"{name}-{same + 1}") if same else path)
    return found


def _evaluate(run, model, images, directory):
    probabilities = _predict(run, model, images)
    summary = report.write(
        run,
        directory,
        images.split_name,
        images.split,
        probabilities,
        other=None if images.own else images,
    )
    return Evaluation(images, summary, directory, probabilities)


def _predict(run, model, images):
    """Probabilities of a run's classes, `[examples, num_classes]`."""
    size, batch_size = model.input_shape[1], run.config["batch_size"]
    batches = pipeline.build_evaluation(images.split, len(run.labels), size, batch_size, run.config["resize"])
    return metrics.predict_probabilities(model, batches)

"""Evaluation of a run on one or several datasets."""

import dataclasses
import html
import pathlib

import numpy as np

from recycle_tf.data import cache, joining, pipeline
from recycle_tf.errors import UserError
from recycle_tf.evaluation import (
    comparing,
    metrics,
    notebook,
    plots,
    report,
    rules,
    shifts,
    stored_reports,
    temperature,
)
from recycle_tf.evaluation.datasets import EvaluationSet, warn_of_training_images
from recycle_tf.evaluation.predictor import open_predictor


@dataclasses.dataclass(frozen=True, repr=False)
class Evaluation:
    """What was found on one set of images.

    Attributes:
        set: the images.
        summary: of `metrics.summarise`.
        directory: of the report.
        probabilities: `[examples, num_classes]`, calibrated.
        place: the `rules.Rules` of the bins, or None.
        reference: accuracy on the run's own test split, 0..1, if this is not the run's own data and that is
            known; else None.
    """

    set: EvaluationSet
    summary: dict
    directory: pathlib.Path
    probabilities: np.ndarray
    place: rules.Rules | None = None
    reference: float | None = None

    @property
    def name(self):
        """Dataset and split, for a table."""
        return f"{self.set.name} {self.set.split_name}"

    @property
    def classes(self):
        """Names of the run's classes, in index order."""
        return tuple(self.summary["per_class"])

    @property
    def accuracy(self):
        """Share of the images that are predicted correctly, 0..1."""
        return self.summary["accuracy"]

    @property
    def page(self):
        """Path of `report.html`."""
        return self.directory / "report.html"

    @property
    def bins(self):
        """Accuracy and cost of the bins, see `rules.Rules.summarise`; None without rules."""
        return self.place and self.place.summarise(self.probabilities, self.set.split.labels, self.classes)

    def plot(self):
        """A matplotlib `Figure` with the confusion matrix and the reliability diagram."""
        confusion, labels = self.summary["confusion"], self.set.split.labels
        return plots.draw(
            lambda axes: plots.confusion_matrix(axes, confusion, self.classes, self.name),
            lambda axes: plots.reliability(axes, self.probabilities, labels),
        )

    def __repr__(self):
        parts = [metrics.table(self.summary), self.remarks]
        if not self.set.own:
            parts.append(metrics.comparison({self.name: self.summary}, self.reference))
        return "\n".join(parts)

    @property
    def remarks(self):
        """Lines for people: classes that were left out, where the report is, and the bins."""
        lines = [
            f"left out  {self.set.name}: {label}, a class that the run does not know"
            for label in self.set.left_out
        ]
        lines.append(f"report    {self.page}")
        if self.place:
            lines.append(f"bins      {self.place.title}")
        for answer, found in (self.bins or {}).items():
            accuracy, cost = f"accuracy {found['accuracy']:.4f}", f"cost {found['cost']:.3f} per image"
            lines.append(f"          {answer.replace('_', ' '):13} bin: {accuracy}, {cost}")
        return "\n".join(lines)

    def _repr_html_(self):
        tested = [(name, row) for name, row in self.summary["per_class"].items() if row["examples"]]
        rows = [
            (name, *(round(row[key], 3) for key in ("precision", "recall", "f1")), row["examples"])
            for name, row in tested
        ]
        low, high = self.summary["accuracy_interval"]
        accuracy = f"accuracy {self.accuracy:.4f} (95 % interval {low:.3f} to {high:.3f})"
        examples = f"{self.summary['examples']:,} examples"
        note = f"{html.escape(self.name)}: {accuracy}, {examples}. {notebook.link(self.page)}"
        return notebook.table(("class", "precision", "recall", "f1", "examples"), rows, note)


class Evaluations(list):
    """A list of `Evaluation`, one per dataset."""

    def __repr__(self):
        reference = next((found.reference for found in self if found.reference is not None), None)
        summaries = {found.name: found.summary for found in self}
        return "\n".join([*(found.remarks for found in self), metrics.comparison(summaries, reference)])


def evaluate(run, sets, place=None, model_path=None):
    """Evaluates a run's calibrated model, or one of its artifacts, and writes a report for each set.

    Args:
        run: a `runs.Run`.
        sets: a list of `datasets.EvaluationSet`.
        place: the `rules.Rules` of the bins, or None.
        model_path: an exported file; None for the run's model.

    Returns:
        `Evaluations`.

    Raises:
        UserError: there is no model yet, the artifact cannot be opened or has other classes, or a report
            cannot be written.
    """
    predict, sets = _predictions(run, model_path), _distinct(sets)
    directories = _directories(run, sets, model_path)
    found = [None] * len(sets)
    # The run's own images last: their page shows the others.
    for index in sorted(range(len(sets)), key=lambda index: sets[index].own):
        found[index] = _evaluate(run, predict, sets[index], directories[index], model_path, place)
    if all(images.own for images in sets):
        return Evaluations(found)
    # After the run's own data was evaluated, if it is among the sets.
    reference = stored_reports.own_accuracy(run)
    return Evaluations(dataclasses.replace(each, reference=reference) for each in found)


@dataclasses.dataclass(frozen=True)
class AtPrecision:
    """How many images of one set are answered if answers must be right with at least some precision.

    Attributes:
        name: of the set.
        examples: number of images.
        answered: number of images whose confidence reaches the threshold.
        right: number of these whose answer is right.
    """

    name: str
    examples: int
    answered: int
    right: int

    def __str__(self):
        if not self.answered:
            return f"{self.name}: no answer is that confident"
        low, high = metrics.wilson(self.right, self.answered)
        return (
            f"{self.name}: {self.answered / self.examples:.1%} answered, {self.right / self.answered:.1%} of "
            f"these right (95 % interval {low:.3f} to {high:.3f})"
        )


def at_precision(run, evaluations, validation, precision, model_path=None):
    """How many images are answered if answers must be right with at least some precision.

    Args:
        run: a `runs.Run`.
        evaluations: a list of `Evaluation`.
        validation: the `datasets.EvaluationSet` on which the threshold is chosen.
        precision: share of the answers that must be right there, 0..1.
        model_path: as in `evaluate`.

    Returns:
        The threshold (1.01 if no answer reaches the precision), and a list of `AtPrecision`, one per
        evaluation.

    Raises:
        UserError: as `evaluate`.
    """
    chosen = _predictions(run, model_path)(validation)
    threshold = temperature.find_threshold(chosen, validation.split.labels, precision)
    rows = []
    for evaluation in evaluations:
        answered = evaluation.probabilities.max(axis=1) >= threshold
        right = evaluation.probabilities.argmax(axis=1) == evaluation.set.split.labels
        counts = (len(answered), int(answered.sum()), int(right[answered].sum()))
        rows.append(AtPrecision(evaluation.name, *counts))
    return threshold, rows


def evaluate_shifts(run, model_path, images, names, progress=iter):
    """Evaluates a run, or one of its artifacts, on simulated shifts.

    It writes `RUN/report-shifts/`, whose name also has the artifact, and a dataset that is not the run's own.

    Args:
        run: a `runs.Run`.
        model_path: the run's folder or an exported file.
        images: a `datasets.EvaluationSet`.
        names: of the shifts.
        progress: wraps the iteration, as tqdm does.

    Returns:
        The `shifts.Robustness` and the folder.

    Raises:
        UserError: the model cannot be opened or has other classes, or the folder cannot be written.
    """
    predictor = _open_predictor(run, model_path)
    pixels = cache.decode_all(images.split, predictor.image_size, predictor.resize)
    found = shifts.measure(predictor.probabilities, pixels, images.split.labels, names, progress=progress)
    parts = ["report-shifts"] + [pathlib.Path(model_path).stem] * (pathlib.Path(model_path) != run.path)
    if not images.own or images.split_name != "test":
        parts += [images.name, images.split_name]
    directory = run.path / "-".join(parts)
    report.write_shifts(directory, found, shifts.example(pixels))
    return found, directory


def against(run, other, images):
    """Compares a run with another one on the same images.

    Args:
        run: a `runs.Run`.
        other: a `runs.Run` with the same classes, in any order.
        images: a `datasets.EvaluationSet` of `run`.

    Returns:
        A `comparing.Comparison`; its first network is that of `run`.

    Raises:
        UserError: the other run has other classes, or a model is missing.
    """
    if set(other.labels) != set(run.labels):
        raise UserError(
            f"{other.path}: its classes are {', '.join(other.labels)}, not {', '.join(run.labels)}"
        )
    warn_of_training_images(other, images.split, images.name)
    order = [other.labels.index(label) for label in run.labels]
    own, others = (_predictions(each)(images) for each in (run, other))
    return comparing.compare(own, others[:, order], images.split.labels)


def _directories(run, sets, model_path):
    """The folder of each set's report; `run.report` is that of the run's own model and test split."""
    prefix = "report" if model_path is None else f"report-{pathlib.Path(model_path).stem}"
    found = []
    for images in sets:
        own = images.own and images.split_name == "test" and model_path is None
        paths = (run.path / f"{prefix}-{name}-{images.split_name}" for name in joining.numbered(images.name))
        free = (path for path in paths if path not in found and not _of_another_set(path, images))
        found.append(run.report if own else next(free))
    return found


def _of_another_set(directory, images):
    """Whether a folder holds the report of a dataset at another place, which may have the same name."""
    try:
        stored = stored_reports.read(directory)
    except UserError:
        return False  # There is no report, or a damaged one.
    if images.location is None or "place" not in stored:
        return stored.get("location", images.location) != images.location
    return stored["place"] != str(joining.places(images.location)[0])


def _distinct(sets):
    """The sets, with a number after a name that another one has too."""
    names, found = set(), []
    for images in sets:
        name = next(one for one in joining.numbered(images.name) if (one, images.split_name) not in names)
        names.add((name, images.split_name))
        found.append(dataclasses.replace(images, name=name))
    return found


def _evaluate(run, predict, images, directory, model_path, place):
    probabilities = predict(images)
    summary = report.write(
        run,
        directory,
        images.split_name,
        images.split,
        probabilities,
        other=None if images.own else images,
        model=model_path,
    )
    return Evaluation(images, summary, directory, probabilities, place)


def _open_predictor(run, model_path):
    """The predictor of a run or an exported file, whose classes are those of the run, in the same order."""
    predictor = open_predictor(model_path)
    if predictor.labels != run.labels:
        raise UserError(
            f"`model={model_path}`: its classes are {', '.join(predictor.labels)}, the run's are "
            f"{', '.join(run.labels)}"
        )
    return predictor


def _predictions(run, model_path=None):
    """A function from an `EvaluationSet` to probabilities of the run's classes, `[examples, num_classes]`."""
    if model_path is not None:
        predictor = _open_predictor(run, model_path)
        return lambda images: predictor.probabilities(
            cache.decode_all(images.split, predictor.image_size, predictor.resize)
        )
    model = temperature.load_answering_model(run)
    size, batch_size, resize = model.input_shape[1], run.config["batch_size"], run.config["resize"]
    return lambda images: metrics.predict_probabilities(
        model, pipeline.build_evaluation(images.split, len(run.labels), size, batch_size, resize)
    )

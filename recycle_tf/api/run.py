"""Runs and predictors: train, evaluate, export, load."""

import dataclasses
import importlib
import importlib.util
import os
import pathlib
import sys
import typing

from recycle_tf import runs
from recycle_tf.api.data import Dataset
from recycle_tf.commands import train as training
from recycle_tf.config import TrainConfig
from recycle_tf.errors import UserError, did_you_mean
from recycle_tf.evaluation import (
    costs,
    datasets,
    evaluate,
    explain,
    notebook,
    plots,
    predictor,
    shifts,
    stored_reports,
)
from recycle_tf.evaluation import rules as bins
from recycle_tf.files import writing
from recycle_tf.paths import from_user


@dataclasses.dataclass(frozen=True, repr=False)
class Run:
    """A training run. It can be given wherever a run's path can.

    Attributes:
        folder: the `recycle_tf.runs.Run`, which knows the files of the run.
    """

    folder: runs.Run

    @property
    def path(self):
        """The run's folder."""
        return self.folder.path

    @property
    def classes(self):
        """Names of the classes, in index order."""
        return tuple(self.folder.labels)

    @property
    def settings(self):
        """The settings it was trained with, as a dict."""
        return self.folder.config

    def __fspath__(self):
        return str(self.path)

    def plot_history(self):
        """Draws training and validation accuracy by epoch.

        Returns:
            A matplotlib `Figure`; a notebook draws it.

        Raises:
            UserError: no epoch has ended yet.

        Examples:
            >>> run.plot_history().axes[0].get_xlabel()
            'epoch'
        """
        rows = self.folder.history_rows()
        if not rows:
            raise UserError(f"{self.path}: has no history yet; it is saved at the end of an epoch")
        return notebook.show(plots.draw(lambda axes: plots.history(axes, rows)))

    def evaluate(self, dataset=None, *, rules=None, model=None, **how):
        """Evaluates the run on its own test split or on other images, and writes a report.

        Args:
            dataset: a `Dataset` or a single source as `open_dataset` takes it: images with some of the run's
                classes, in any order; a list of these for several; None for the run's own data.
            rules: also evaluate bins: a `.yaml` file, or built-in: `"england"`, `"korea"`.
            model: an exported file of the run, instead of its model.
            **how: which images: `split` (train, validation or test; default: test, or all images of a dataset
                without a split), `manual_dir`, `data_dir` (as in `open_dataset`; default: the run's own) and
                `ignore_unknown` (leave out images of classes that the run does not know, instead of an
                error).

        Returns:
            A `recycle_tf.evaluation.evaluate.Evaluation`; a list of them for a list of datasets. A notebook
            draws the confusion matrix and the reliability diagram of a single one.

        Raises:
            UserError: the data is missing or has other classes, or the report cannot be written.

        Examples:
            >>> result = run.evaluate()
            >>> 0 <= result.accuracy <= 1
            True
            >>> result.page.name
            'report.html'
        """
        place = rules and bins.load_for(rules, self.classes)
        several = isinstance(dataset, list | tuple)
        if several and not dataset:
            raise UserError("`dataset`: an empty list; give at least one")
        sets = [self._open(one, **how) for one in (dataset if several else [dataset])]
        results = evaluate.evaluate(self.folder, sets, place, model)
        if several:
            return results
        notebook.show(results[0].plot())
        return results[0]

    def at_precision(self, results, precision, *, model=None, **how):
        """How many images are answered if answers must be right with at least some precision.

        Args:
            results: what `evaluate` returned, for the run or `model`.
            precision: share of the answers that must be right on the validation split, 0..1.
            model: as in `evaluate`.
            **how: where the run's own data is: `manual_dir`, `data_dir`.

        Returns:
            The confidence that answers must reach (1.01 if none does), and for each result a
            `recycle_tf.evaluation.evaluate.AtPrecision`.

        Raises:
            UserError: as `evaluate`.

        Examples:
            >>> threshold, (own,) = run.at_precision(run.evaluate(), 0.5)
            >>> own.answered <= own.examples
            True
        """
        if not 0 <= precision <= 1:
            raise UserError(f"`precision={precision}`: expected a share, 0 to 1")
        results = results if isinstance(results, list) else [results]
        validation = self._open(None, "validation", **how)
        return evaluate.at_precision(self.folder, results, validation, precision, model)

    def evaluate_shifts(self, names="all", dataset=None, model=None, progress=iter, **how):
        """Evaluates the run, or one of its artifacts, under simulated conditions: light, blur, distance, ….

        Args:
            names: a name of `recycle_tf.evaluation.shifts.SHIFTS`, a list of them, or `"all"`.
            dataset: as in `evaluate`; one dataset.
            model: an exported file of the run; None for the run itself.
            progress: wraps the iteration, as tqdm does.
            **how: further arguments of `evaluate` that choose the images.

        Returns:
            A `recycle_tf.evaluation.shifts.Robustness` and the folder of its plots.

        Raises:
            UserError: an unknown name, or as `evaluate`.
        """
        names = [names] if isinstance(names, str) else list(names)
        if not names:
            raise UserError(f"`shift`: empty; choose from all, {', '.join(shifts.SHIFTS)}")
        for name in names:
            if name not in ("all", *shifts.SHIFTS):
                raise UserError(f"`shift={name}`: {did_you_mean(name, ['all', *shifts.SHIFTS])}")
        names = list(shifts.SHIFTS) if "all" in names else names
        images = self._open(dataset, **how)
        return evaluate.evaluate_shifts(self.folder, model or self.path, images, names, progress)

    def compare(self, other, dataset=None, **how):
        """Says whether this run is better than another one, on the same images.

        Args:
            other: the other run, or its path; it has the same classes.
            dataset: as in `evaluate`; one dataset.
            **how: further arguments of `evaluate` that choose the images.

        Returns:
            A `recycle_tf.evaluation.comparing.Comparison`: this run is the first, the other one the second.

        Raises:
            UserError: the other run has other classes, or as `evaluate`.

        Examples:
            >>> run.compare(run).p_value
            1.0
        """
        return evaluate.against(self.folder, runs.open_run(other, "against"), self._open(dataset, **how))

    def explain(self, images=None, nearest=3, out=None, manual_dir=None, data_dir=None):
        """Shows what the network looks at, and the training images most like each image.

        Args:
            images: a path, folder, pattern, PIL image, array, or a list of these, of which the first 12 are
                drawn; None for the most confident mistakes and the least certain answers of the test split.
            nearest: number of training images beside each image; 0 does without the dataset.
            out: folder to write the figures to, as PNG; None to write nothing.
            manual_dir: as in `open_dataset`; None for the run's own.
            data_dir: as in `open_dataset`; None for the run's own.

        Returns:
            A matplotlib `Figure`, which a notebook draws; without images, `{name: Figure}`.

        Raises:
            UserError: there is no model yet, an image cannot be read, or the data is missing.

        Examples:
            >>> figure = run.explain(image, nearest=0)
            >>> len(figure.axes) > 1
            True
        """
        if type(nearest) is not int or not 0 <= nearest <= 6:
            raise UserError(f"`nearest={nearest}`: expected a number of images from 0 to 6")
        out = None if out is None else from_user(out, "out")
        source = (
            datasets.open_source(self.folder, None, manual_dir, data_dir)
            if nearest or images is None
            else None
        )
        neighbors = source.splits["train"] if nearest else None
        if images is not None:
            figures = {"images": explain.explain(self.folder, images, neighbors, nearest)}
        else:
            figures = explain.explain_split(self.folder, source.splits["test"], neighbors, nearest)
        if out is not None:
            with writing(out):
                list(explain.write(out, figures))
        for figure in figures.values():
            notebook.show(figure)
        return figures if images is None else figures["images"]

    def export(self, *formats, **settings):
        """Writes the run as files for apps and servers, each verified on the test split.

        Args:
            *formats: names such as `"tflite_int8"`, `"saved_model"`, `"onnx"`; none for all that the network
                supports by default.
            **settings: further settings of an export, as flags of `python -m export` have them.

        Returns:
            `{format: path}` of the files that were written.

        Raises:
            UserError: an unknown setting, something is missing, or a file was rejected.

        Examples:
            >>> paths = run.export("tflite_float32")
            tflite_float32   verified
            ...
            >>> paths["tflite_float32"].name
            'model_float32.tflite'
        """
        export = _export_package()
        fields = {field.name for field in dataclasses.fields(export.settings.ExportSettings)}
        for name in settings:
            if name not in fields:
                raise UserError(f"`{name}`: no such setting, {did_you_mean(name, fields)}")
        if "run" in settings:
            raise UserError("`run`: is this run; leave it out")
        if formats and "formats" in settings:
            raise UserError("`formats`: given twice")
        given = {"run": str(self.path), "formats": ",".join(formats) or None, **settings}
        return export.exporting.export(export.settings.ExportSettings(**given))

    def _open(self, dataset, split=None, manual_dir=None, data_dir=None, ignore_unknown=False):
        label_map = None
        if isinstance(dataset, Dataset):
            manual_dir = manual_dir or dataset.settings["manual_dir"]
            data_dir = data_dir or dataset.settings["data_dir"]
            label_map = dataset.settings["label_map"]
            dataset = dataset.settings["dataset"]
        return datasets.open_set(self.folder, dataset, split, manual_dir, data_dir, ignore_unknown, label_map)

    def __repr__(self):
        found, rows = self.settings, self.folder.history_rows()
        accuracy = stored_reports.own_accuracy(self.folder)
        tested = "not finished" if accuracy is None else f"accuracy {accuracy:.4f} on its test split"
        return (
            f"{self.path}: {found['arch']} on {found['dataset']}, {len(self.classes)} classes, "
            f"{len(rows)} epochs, {tested}"
        )


def train(dataset, **settings):
    """Trains a network, calibrates and evaluates it, and leaves everything in a run folder.

    Args:
        dataset: a `Dataset`, or what `open_dataset` takes.
        **settings: of `recycle_tf.config.TrainConfig`, the flags of train.py: `arch`, `weights`, `recipe`,
            `epochs`, `run_dir`, …. Calling it again with the same settings continues a run that was
            interrupted.

    Returns:
        A `Run`; None with `lr_finder`.

    Raises:
        UserError: an unknown setting or invalid value, or data that cannot be used.

    Examples:
        >>> run = rt.train(data, epochs=1, run_dir="runs/short", **tiny)
        data      photos: 6 classes, 48 train, 12 validation, 12 test
        ...
        >>> run.path.name
        'short'
    """
    given = {name: _as_setting(name, value) for name, value in settings.items()}
    if isinstance(dataset, Dataset):
        defaults = TrainConfig()
        how = {
            name: _as_setting(name, value)
            for name, value in dataset.settings.items()
            if value != getattr(defaults, name)
        }
        given = {**how, "dataset": _as_setting("dataset", dataset.settings["dataset"]), **given}
    else:
        given["dataset"] = os.fspath(dataset)
    run = training.train(training.resolve(given))
    return run and Run(runs.Run(run.path))


def open_run(path):
    """Opens the folder of a run that was trained before.

    Args:
        path: the run's folder.

    Returns:
        A `Run`.

    Raises:
        UserError: no such folder, or not a run.

    Examples:
        >>> rt.open_run(run.path).classes == run.classes
        True
    """
    return Run(runs.open_run(path))


def compare(paths):
    """Compares runs: what their networks cost, and how accurate they are.

    Args:
        paths: runs, or their folders; trained on the same data.

    Returns:
        A `recycle_tf.evaluation.costs.Table`: its `to_csv` and `to_plot` write files.

    Raises:
        UserError: not a run, one without a model or report, or one of other data.

    Examples:
        >>> rt.compare([run])[0].parameters > 1000
        True
    """
    return costs.of_runs([runs.open_run(path) for path in paths])


def load(path, rules=None):
    """Opens a run or an exported file; all of them give the same answers.

    Args:
        path: a run's folder, a `Run`, a `.tflite`, a SavedModel's folder, or a `.onnx`.
        rules: also say which bin: a `.yaml` file, or built-in: `"england"`, `"korea"`.

    Returns:
        A `recycle_tf.evaluation.predictor.Predictor`.

    Raises:
        UserError: no such file or folder, one that was not exported by this package, or a class without a
            bin.

    Examples:
        >>> clf = rt.load(run)
        >>> answers = clf.predict(image)  # a path, a folder, a pattern, a PIL image, an array, or a list
        >>> answers[0].label in clf.labels
        True
        >>> answers.to_csv("bins.csv")
    """
    return predictor.open_predictor(path, rules)


def _as_setting(name, value):
    """A value of Python as the setting holds it: `epochs=15` is the text `15`, a path is a text."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    hint = typing.get_type_hints(TrainConfig).get(name)
    text = str in (typing.get_args(hint) or (hint,))
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if text and number else value


def _export_package():
    """The package of `python -m export`: `recycle_tf.export` when installed, the folder of a checkout."""
    name, library = "recycle_tf.export", pathlib.Path(__file__).parents[1]
    if name not in sys.modules and not (library / "export").is_dir():
        folder = library.parent / "export"
        spec = importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    importlib.import_module(f"{name}.exporting")
    return sys.modules[name]

"""Averages of the weights of several runs, which often hold better on other photographs than each run alone.

Runs that started from the same weights can be averaged weight by weight. Of two, for example a linear probe
and the fine-tuning that started from it, the best point between them is chosen (Wortsman et al., Robust
Fine-Tuning of Zero-Shot Models, arXiv 2109.01903). Of more, runs are added from the best on as long as the
average improves (Wortsman et al., Model Soups, arXiv 2203.05482, recipe 1).

What is better is decided on the validation split and on shifted copies of it; the test split is read once,
by the report of the average.
"""

import contextlib
import dataclasses
import math

import numpy as np
import tensorflow as tf

from recycle_tf.api.run import Run
from recycle_tf.commands import train as training
from recycle_tf.config import resolve
from recycle_tf.data import cache, joining
from recycle_tf.errors import UserError
from recycle_tf.evaluation import datasets, shifts
from recycle_tf.files import replacing
from recycle_tf.paths import from_user
from recycle_tf.runs import open_run as open_folder
from recycle_tf.training import resume
from recycle_tf.training.batches import Batches

SHIFTED, STRENGTH = ("background", "small", "dim", "blur"), 3
"""The shifts of the copies of the validation split, and their strength."""

STEPS = 10
"""Between two runs, proportions are tried in steps of 1 over this."""

_SAME = ("arch", "overrides", "resize")


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One average that was tried.

    Attributes:
        proportions: of each run, their sum is 1.
        validation: accuracy on the validation split, 0..1.
        shifted: mean accuracy on its shifted copies, 0..1.
    """

    proportions: tuple
    validation: float
    shifted: float

    @property
    def score(self):
        """What decides: the mean of both accuracies."""
        return (self.validation + self.shifted) / 2


def average(paths, run_dir, proportions=None, progress=iter):
    """Averages the weights of runs into a new run, which is calibrated and evaluated.

    Args:
        paths: two or more runs, or their folders, of one architecture on one dataset.
        run_dir: folder of the new run; it must not exist, unless it is empty or of an interrupted average.
        proportions: of each run, positive; None to choose them on the validation split and shifted copies.
        progress: wraps the iteration over candidates of two runs, as tqdm does.

    Returns:
        The new `Run`, and the list of `Candidate` that were tried, the chosen one first.

    Raises:
        UserError: the runs differ, or the folder exists or cannot be written.

    Examples:
        >>> both, tried = rt.average([run, other], "runs/both", proportions=(1, 1))
        >>> tried[0].proportions
        (0.5, 0.5)
    """
    runs = [open_folder(path) for path in paths]
    _check(runs, proportions)
    # The ranges of a network that was trained with integers are not those of the average.
    # How the training images were drawn no longer matters, and may not be possible without `from_run`.
    own = {"run_dir": str(run_dir), "from_run": None, "quantize": "none", "source_weights": "size"}
    config = resolve(own, earlier=runs[0].config)
    path = from_user(run_dir, "run_dir")
    if path.exists() and not resume.discard_average(path):
        raise UserError(f"`run_dir={run_dir}`: exists; choose another folder")
    model, *others = (run.load_model() for run in runs)
    for run, other in zip(runs[1:], others, strict=True):
        _require_same_images(model, other, runs[0], run)
    weights = [one.get_weights() for one in (model, *others)]
    if any([w.shape for w in one] != [w.shape for w in weights[0]] for one in weights):
        raise UserError(
            f"{runs[0].path}: the other runs have layers of other sizes; average runs of one network"
        )
    source = datasets.open_source(runs[0])
    judge = _Judge(model, weights, source.splits["validation"], config.resize)
    if proportions is not None:
        tried = [judge(np.float64(proportions) / sum(proportions))]
    elif len(runs) == 2:
        tried = [judge((1 - share, share)) for share in progress(np.linspace(0, 1, STEPS + 1))]
    else:
        tried = _greedy(judge, len(runs))
    tried.sort(key=lambda candidate: -candidate.score)
    model.set_weights(judge.mean(tried[0].proportions))
    parts = {str(run.path): share for run, share in zip(runs, tried[0].proportions, strict=True)}
    return Run(_write(model, config, source, parts)), tried


def _require_same_images(model, other, run, other_run):
    """Raises a `UserError` if two networks take images differently, which no weight shows."""
    # The networks, because `image_size` may be the default of the architecture or its very number.
    size, other_size = (one.input_shape[1] for one in (model, other))
    if size != other_size:
        raise UserError(
            f"{other_run.path}: takes images of {other_size} pixels, {run.path} of {size}; average runs with "
            "one `image_size`"
        )
    ours, theirs = (one.get_layer("preprocess") for one in (model, other))
    if not (np.allclose(ours.scale, theirs.scale) and np.allclose(ours.offset, theirs.offset)):
        raise UserError(
            f"{other_run.path}: normalizes pixels in another way than {run.path}, as its published weights "
            "do; average runs that started from the same weights"
        )


class _Judge:
    """Computes averages and their accuracies."""

    def __init__(self, model, weights, split, resize):
        self._model, self._weights, self._labels = model, weights, split.labels
        pixels = cache.decode_all(split, model.input_shape[1], resize)
        self._images = [pixels, *(shifts.shift(name, pixels, STRENGTH) for name in SHIFTED)]

    def mean(self, proportions):
        """The averaged weights, in the order of `model.get_weights()`."""
        return [
            np.average(np.stack(same), axis=0, weights=proportions).astype(same[0].dtype)
            for same in zip(*self._weights, strict=True)
        ]

    def __call__(self, proportions):
        """A `Candidate`."""
        self._model.set_weights(self.mean(proportions))
        validation, *shifted = (
            float((self._model.predict(images, verbose=0).argmax(axis=1) == self._labels).mean())
            for images in self._images
        )
        return Candidate(tuple(float(share) for share in proportions), validation, float(np.mean(shifted)))


def _greedy(judge, count):
    """Each run alone, then averages that grow as long as they are not worse."""
    alone = [judge(np.eye(count)[index]) for index in range(count)]
    order = sorted(range(count), key=lambda index: -alone[index].score)
    best, used, tried = alone[order[0]], [order[0]], list(alone)
    for index in order[1:]:
        members = np.isin(np.arange(count), [*used, index])
        candidate = judge(members / members.sum())
        tried.append(candidate)
        if candidate.score >= best.score:
            best, used = candidate, [*used, index]
    # First, because it stays there when candidates of equal score are sorted.
    return [best, *(candidate for candidate in tried if candidate is not best)]


def _check(runs, proportions):
    if len(runs) < 2:
        raise UserError("average: give two or more runs")
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise UserError("average: a run is named twice")
    for run in runs:
        if not run.complete:
            raise UserError(f"{run.path}: its training has not ended; resume it first")
    for run in runs[1:]:
        for name in _SAME:
            if run.config[name] != runs[0].config[name]:
                raise UserError(
                    f"{run.path}: its {name} is {run.config[name]}, that of {runs[0].path} is "
                    f"{runs[0].config[name]}; average runs of one network on one dataset"
                )
        if joining.places(run.config["dataset"]) != joining.places(runs[0].config["dataset"]):
            raise UserError(
                f"{run.path}: its dataset is {run.config['dataset']}, that of {runs[0].path} is "
                f"{runs[0].config['dataset']}; average runs of one network on one dataset"
            )
        if run.labels != runs[0].labels:
            raise UserError(
                f"{run.path}: its classes are {', '.join(run.labels)}, not those of {runs[0].path}"
            )
        if run.fingerprint != runs[0].fingerprint:
            raise UserError(
                f"{run.path}: was trained on other images or another split than {runs[0].path}, and may have "
                "seen what that validates and tests on; average runs with one split"
            )
    if proportions is None:
        return
    positive = all(0 < share < math.inf for share in proportions) and math.isfinite(sum(proportions))
    if len(proportions) != len(runs) or not positive:
        raise UserError(f"`proportions`: give {len(runs)} positive numbers, one per run")


def _write(model, config, source, parts):
    """Saves, calibrates and evaluates the averaged model as a run of its own."""
    strategy = tf.distribute.get_strategy()
    with contextlib.ExitStack() as locks:
        run = resume.create(config, source, strategy, locks, averaged=parts)
        locks.enter_context(resume.writing(run))
        with replacing(run.model_file) as temporary:
            model.save(temporary)
        training.conclude(run, source, Batches(source, config, model.input_shape[1], strategy))
        resume.finish(run)
    return run

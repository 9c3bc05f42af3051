"""Repeating a run with other classes: it starts from the earlier network instead of from scratch."""

import dataclasses
import pathlib

import numpy as np

from recycle_tf.models import weights
from recycle_tf.paths import from_user
from recycle_tf.runs import Run, open_run


@dataclasses.dataclass(frozen=True)
class Kept:
    """Which classes a head has from an earlier run.

    Attributes:
        path: folder of that run.
        remaining: names of classes that both runs have.
        new: names of classes that only the new run has; their part of the head is newly initialized.
        gone: names of classes that only the earlier run had.
    """

    path: pathlib.Path
    remaining: tuple
    new: tuple
    gone: tuple


def keep(model, config, labels):
    """Gives a model the weights of the run in `from_run`, if that has other classes and some of these.

    The head's kernel and bias have a column per class: those of the classes that remain are kept, by name.
    Nothing happens for a network of another architecture, or if the run is to start from other `weights`
    than the earlier one did or its own. A run that continues the earlier one may also have the classes in
    another order.

    Args:
        model: a model of `create_model`.
        config: a `TrainConfig`.
        labels: names of the classes of the data.

    Returns:
        A `Kept`; None if nothing was kept.

    Raises:
        UserError: there is no such run, or its model is damaged.
    """
    if config.from_run is None:
        return None
    open_run(config.from_run, "from_run")
    run = start_of(config, labels)
    if run is None:
        return None
    remaining = tuple(label for label in labels if label in run.labels)
    head = model.get_layer("logits")
    if config.continues:
        # `config.weights` may have filled it with columns of other classes.
        head.set_weights(_untrained(head))
    if not remaining:
        return None
    initial = head.get_weights()
    weights.load(model, run.model_file)
    earlier = run.load_model().get_layer("logits").get_weights()
    to, of = ([names.index(label) for label in remaining] for names in (list(labels), run.labels))
    head.set_weights([_with_columns(*pair, to, of) for pair in zip(initial, earlier, strict=True)])
    new = tuple(label for label in labels if label not in remaining)
    return Kept(run.path, remaining, new, tuple(label for label in run.labels if label not in remaining))


def start_of(config, labels):
    """The run with other classes whose network one for these classes starts from; None if there is none.

    It is the run in `from_run`, or, where that is repeated as it was, the one that it had started from
    itself. What is not there any more is not found.

    Args:
        config: a `TrainConfig`, or the `settings` of a run.
        labels: names of the classes of the data.
    """
    earlier, seen = config.from_run, set()
    while earlier and earlier not in seen:
        seen.add(earlier)
        run = Run(from_user(earlier, "from_run"))
        if not run.config_file.is_file():
            return None
        if differ(config, run, labels):
            return run
        repeats = not config.continues and set(labels) == set(run.labels) and _same_start(config, run)
        earlier = run.config["from_run"] if repeats else None
    return None


def differ(config, run, labels):
    """Whether a network for these classes gets the weights of a run with other classes; see `keep`.

    Args:
        config: a `TrainConfig`.
        run: the `Run` in `from_run`.
        labels: names of the classes of the data.
    """
    order = list if config.continues else set
    return _same_start(config, run) and order(labels) != order(run.labels)


def _same_start(config, run):
    """Whether a network is that of a run before its first step, or is to continue it."""
    same = all(run.config[name] == getattr(config, name) for name in ("arch", "overrides"))
    return same and (config.continues or config.weights == run.config["weights"])


def _untrained(head):
    """Kernel and bias of a dense layer as they are in the beginning; an initializer repeats its draw."""
    return [head.kernel_initializer(head.kernel.shape), head.bias_initializer(head.bias.shape)]


def _with_columns(initial, earlier, to, of):
    """The columns `of` of one array at the places `to` of a copy of the other."""
    result = np.array(initial)
    result[..., to] = earlier[..., of]
    return result

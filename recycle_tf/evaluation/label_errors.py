r"""Probable label errors, found by confident learning.

Northcutt, Jiang and Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, arXiv 1911.00068.
Out-of-fold probabilities p(j | x), from classifiers that did not learn the example x, are compared with the
given labels y of n examples:

* The threshold of class j is its mean self-confidence (section 3.1): the mean of p(j | x) over the examples
  that are labeled j.
* The confident joint C[i, j] counts the examples labeled i that confidently belong to class j: among the
  classes l whose p(l | x) reaches their threshold, p(j | x) is the largest. Examples without such a class are
  not counted.
* The sum of C off its diagonal is the number of label errors. Each threshold follows the confidence that the
  classifiers have in its class, so that the count needs no setting.
* The examples with the lowest normalized margin, as many as that, are the probable label errors (section 3.2
  ranks by margin): p(y | x) - max over j != y of p(j | x). The class of that maximum is the suggested label.

Counting and ranking are separate steps here: on TrashNet with 5 % of the labels changed, the lowest margins
contain 83 % of the errors, and as many examples off the diagonal of C 64 % (`benchmarks/label_errors.py`).

The classifiers are multinomial logistic regressions on the pooled features of a network that stays fixed. A
network that was trained on these labels has memorized a part of the errors in them; one with published
ImageNet weights has not seen them, but its features separate the classes less well.
`benchmarks/label_errors.py` measures both.
"""

import dataclasses

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from recycle_tf import runs
from recycle_tf.data import audit, decode
from recycle_tf.data.parallel import without_autotune
from recycle_tf.errors import UserError
from recycle_tf.models import inference, registry
from recycle_tf.options import SPLITS

KIND = "label_error"

FOLDS = 5
REPEATS = 3
"""Cross-validations, with different folds, whose probabilities are averaged: less noise in the ranking."""

COMPONENTS = 512
"""Principal components of the features that the regressions see; more change no result and take longer."""

PENALTY = 1e-3
"""Weight of the squared norm of the coefficients, half of which is added to the mean log loss."""

NEIGHBORS = 5
"""Images of the suggested class that are shown beside a probable label error."""

BATCH = 32


@dataclasses.dataclass(frozen=True)
class LabelError(audit.Finding):
    """A finding of the audit: an image that is probably labeled wrong, then similar images to compare with.

    Attributes:
        suggested: the class that the image probably belongs to.
        probability: of that class, out of fold, 0..1.
        margin: probability of the given label minus the largest other one, -1..1; the lower, the more
            suspicious.
    """

    suggested: str
    probability: float
    margin: float


@dataclasses.dataclass(frozen=True)
class Errors:
    """Probable label errors, most suspicious first.

    Attributes:
        indices: of the examples, int64 `[errors]`.
        suggested: indices of the classes they probably belong to, int64 `[errors]`.
        margins: normalized margins of all examples, `[examples]`.
    """

    indices: np.ndarray
    suggested: np.ndarray
    margins: np.ndarray


def add_to(found, source, run, weights=None):
    """Adds the probable label errors of a dataset to its audit.

    Args:
        found: the `audit.Audit`.
        source: the `data.sources.Source` that was audited.
        run: as in `find_in_source`.
        weights: as in `find_in_source`.

    Returns:
        An `audit.Audit`.

    Raises:
        UserError: as `find_in_source`.
    """
    unusable = {finding.files[0] for finding in found.findings if finding.kind in audit.BLOCKING}
    errors = find_in_source(source, run, weights, unusable)
    order = list(audit.KINDS)
    findings = sorted([*found.findings, *errors], key=lambda finding: order.index(finding.kind))
    return dataclasses.replace(found, findings=tuple(findings))


def find_in_source(source, run, weights=None, unusable=()):
    """Finds the probable label errors of a dataset, over all splits.

    Args:
        source: a `data.sources.Source`; its classes may differ from the run's.
        run: path of the run whose network computes the features.
        weights: None for the run's own; or, for features that have seen none of these labels, a file of
            published weights of the run's architecture, or `"imagenet"` to download it.
        unusable: names of examples to leave out, e.g. because they cannot be decoded.

    Returns:
        A tuple of `LabelError`, most suspicious first.

    Raises:
        UserError: no such run or weights, or a class with fewer usable examples than there are folds.
    """
    unusable = set(unusable)
    places = [
        (name, index)
        for name in SPLITS
        for index, example in enumerate(source.splits[name].ids)
        if example not in unusable
    ]
    labels = np.array([source.splits[name].labels[index] for name, index in places])
    for number, label in enumerate(source.labels):
        if (labels == number).sum() < FOLDS:
            raise UserError(
                f"{source.name}: class {label!r} has fewer than {FOLDS} images that can be used, too few to "
                "search for label errors"
            )
    features = extract(source, places, *open_extractor(runs.open_run(run, "labels"), weights))
    probabilities = out_of_fold(features, labels)
    errors = find(labels, probabilities)
    return tuple(_findings(source, places, labels, features, probabilities, errors))


def open_extractor(run, weights=None):
    """The network that computes features.

    Args:
        run: a `runs.Run`.
        weights: as in `find_in_source`.

    Returns:
        `(model, resize)`: uint8 images `[batch, height, width, 3]` -> features `[batch, channels]`, and how
        images become square, one of `options.RESIZES`.
    """
    model = run.load_model()
    if weights:
        size = model.input_shape[1]
        model = registry.create_model(run.config["arch"], len(run.labels), image_size=size, weights=weights)
    features = model.get_layer("features").output
    if len(features.shape) == 4:
        features = keras.layers.GlobalAveragePooling2D()(features)
    else:
        features = keras.layers.Flatten()(features)
    return inference.with_outputs(model, features), run.config["resize"]


def extract(source, places, model, resize):
    """Features of examples, float32 `[examples, channels]`.

    Args:
        source: a `data.sources.Source`.
        places: `(split, index)` of each example, those of one split together.
        model: of `open_extractor`.
        resize: one of `options.RESIZES`.
    """
    size, found = model.input_shape[1], []
    for name in dict.fromkeys(name for name, _ in places):
        split, chosen = source.splits[name], [index for split, index in places if split == name]
        images = tf.data.Dataset.from_tensor_slices(np.array(chosen, np.int64))
        images = images.map(
            lambda index, split=split: decode.decode(split.encoded(index), size, resize),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        images = without_autotune(images.batch(BATCH).prefetch(1))
        batches = tqdm(images, f"features of {name}", leave=False, disable=None)
        found += [model.predict_on_batch(batch) for batch in batches]
    return np.concatenate(found)


def out_of_fold(features, labels, seed=0):
    """Probabilities of every example from classifiers that did not learn it.

    The mean of `REPEATS` cross-validations with `FOLDS` folds each. Features are standardized and reduced to
    their principal components, which use no labels.

    Args:
        features: `[examples, channels]`.
        labels: indices of the given classes, `[examples]`; every class has at least `FOLDS` examples.
        seed: of the folds.

    Returns:
        float64 `[examples, num_classes]`.
    """
    inputs = principal_components(features)(features)
    total = np.zeros((len(labels), labels.max() + 1))
    for repeat in range(REPEATS):
        folds = _folds(labels, np.random.default_rng([seed, repeat]))
        for fold in range(FOLDS):
            learned = folds != fold
            weights = fit_logistic(inputs[learned], labels[learned])
            total[~learned] += _softmax(inputs[~learned] @ weights)
    return total / REPEATS


def principal_components(features, most=COMPONENTS):
    """Standardizes features and reduces them to fewer dimensions.

    Args:
        features: `[examples, channels]`, from which mean, deviation and axes are computed.
        most: number of dimensions.

    Returns:
        A function from features `[examples, channels]` to float32 `[examples, dimensions]`; the last
        dimension is a constant 1. Without it, the mean squared length of the given ones is 1.
    """
    features = np.float64(features)
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6

    def scaled(features):
        return (np.float64(features) - mean) / deviation / np.sqrt(len(mean))

    _, axes = np.linalg.eigh(scaled(features).T @ scaled(features))
    axes = axes[:, ::-1][:, :most]

    def reduced(features):
        constant = np.ones((len(features), 1))
        return np.concatenate([scaled(features) @ axes, constant], axis=1).astype(np.float32)

    return reduced


def _folds(labels, rng):
    """The fold of each example; every class is spread over all folds."""
    folds = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        folds[members] = (np.arange(len(members)) + rng.integers(FOLDS)) % FOLDS
    return folds


def fit_logistic(inputs, labels, penalty=PENALTY, steps=500, tolerance=1e-4, importance=None):
    """Multinomial logistic regression.

    Minimizes the mean log loss plus penalty / 2 times the squared norm of the weights. The Hessian is bounded
    by the constant matrix B = X^T X / 2n + penalty I in each class (Bohning, Multinomial logistic regression
    algorithm, Annals of the Institute of Statistical Mathematics 44, 1992), so that the step -B^-1 gradient
    never increases the loss and needs no line search. Nesterov's momentum, restarted where it points uphill
    (O'Donoghue and Candes, arXiv 1204.3982), accelerates it.

    Args:
        inputs: `[examples, dimensions]`, with a constant column if there is to be a bias.
        labels: class indices, `[examples]`.
        penalty: see above; positive.
        steps: maximum number of steps.
        tolerance: largest component of the gradient at which it stops.
        importance: weight of each example in the mean, `[examples]`; None for equal weights.

    Returns:
        Weights, `[dimensions, num_classes]`.
    """
    number, dimensions = inputs.shape
    targets = np.eye(labels.max() + 1, dtype=inputs.dtype)[labels]
    shares = np.full(number, 1 / number) if importance is None else importance / importance.sum()
    shares = shares.astype(inputs.dtype)[:, None]
    bound = inputs.T @ (shares * inputs) / 2 + penalty * np.eye(dimensions, dtype=inputs.dtype)
    inverse = np.linalg.inv(bound)
    weights = ahead = np.zeros((dimensions, targets.shape[1]), inputs.dtype)
    momentum = 1.0
    for _ in range(steps):
        gradient = inputs.T @ (shares * (_softmax(inputs @ ahead) - targets)) + penalty * ahead
        if np.abs(gradient).max() < tolerance:
            break
        new = ahead - inverse @ gradient
        if np.sum((ahead - new) * (new - weights)) > 0:
            momentum = 1.0
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + inputs.dtype.type((momentum - 1) / following) * (new - weights)
        weights, momentum = new, following
    return ahead


def _softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def find(labels, probabilities):
    """Confident learning; see the top of this file for the formulas.

    Args:
        labels: indices of the given classes, `[examples]`; every class has an example.
        probabilities: out of fold, `[examples, num_classes]`.

    Returns:
        `Errors`.
    """
    margins, suggested = normalized_margins(labels, probabilities)
    joint = confident_joint(labels, probabilities)
    errors = np.argsort(margins, kind="stable")[: joint.sum() - np.trace(joint)]
    errors = errors[margins[errors] < 0]
    return Errors(errors, suggested[errors], margins)


def confident_joint(labels, probabilities):
    """Counts of examples by given label (rows) and the class they confidently belong to (columns).

    Args:
        labels: indices of the given classes, `[examples]`; every class has an example.
        probabilities: out of fold, `[examples, num_classes]`.

    Returns:
        int64 `[num_classes, num_classes]`.
    """
    classes = probabilities.shape[1]
    thresholds = np.array([probabilities[labels == label, label].mean() for label in range(classes)])
    above = np.where(probabilities >= thresholds, probabilities, -1.0)
    confident = above.max(axis=1) >= 0
    joint = np.zeros((classes, classes), np.int64)
    np.add.at(joint, (labels[confident], above.argmax(axis=1)[confident]), 1)
    return joint


def normalized_margins(labels, probabilities):
    """How much more probable the given label is than the most probable other one.

    Args:
        labels: indices of the given classes, `[examples]`.
        probabilities: `[examples, num_classes]`.

    Returns:
        `(margins, others)`: -1..1, and the index of the most probable other class; `[examples]` each.
    """
    rows = np.arange(len(labels))
    others = probabilities.copy()
    others[rows, labels] = -1
    return probabilities[rows, labels] - others.max(axis=1), others.argmax(axis=1)


def _findings(source, places, labels, features, probabilities, errors):
    """Each error as a `LabelError`, with its nearest images of the suggested class."""
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    suspects = set(errors.indices.tolist())
    trusted = np.array([index not in suspects for index in range(len(labels))])
    for index, suggested in zip(errors.indices, errors.suggested, strict=True):
        candidates = np.flatnonzero(trusted & (labels == suggested))
        nearest = candidates[np.argsort(-(unit[candidates] @ unit[index]), kind="stable")][:NEIGHBORS]
        shown = [int(index), *nearest.tolist()]
        probability = float(probabilities[index, suggested])
        label, other = source.labels[labels[index]], source.labels[suggested]
        yield LabelError(
            kind=KIND,
            files=tuple(source.splits[places[one][0]].ids[places[one][1]] for one in shown),
            labels=tuple(source.labels[labels[one]] for one in shown),
            splits=tuple(places[one][0] for one in shown),
            detail=f"labeled {label} ({probabilities[index, labels[index]]:.0%}), probably {other} "
            f"({probability:.0%}); beside it the most similar images labeled {other}",
            suggested=other,
            probability=round(probability, 4),
            margin=round(float(errors.margins[index]), 4),
        )

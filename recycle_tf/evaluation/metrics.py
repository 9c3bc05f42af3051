"""Figures over a whole split, from its predictions and NumPy."""

import keras
import numpy as np

from recycle_tf.evaluation import familiarity

CALIBRATION_BINS = 10
CONFUSED = 5
TOP_K = (2, 3, 5)
FIGURES = ("recall", "precision", "f1")
"""Of a class; the macro averages are their means."""

NORMAL_95 = 1.959964
"""Quantile of the standard normal distribution for a 95 % interval."""


def predict_probabilities(model, dataset, verbose=0):
    """A model's probabilities for every image of a dataset.

    Args:
        model: a Keras model that returns what `familiarity.probabilities` takes.
        dataset: (images, labels) batches, every example once.
        verbose: 1 for a progress bar.

    Returns:
        float32 `[examples, num_classes]`, in the dataset's order.
    """
    found = model.predict(dataset.map(lambda images, _: images), verbose=verbose)
    return keras.ops.convert_to_numpy(familiarity.probabilities(found))


def summarise(probabilities, labels, names, threshold=None, temperature=None, unlike=None):
    """The metrics of a classification.

    Args:
        probabilities: `[examples, num_classes]`.
        labels: index of the true class, `[examples]`.
        names: of the classes.
        threshold: confidence below which the answer is "not sure", 0..1, or None.
        temperature: by which the logits were divided, or None.
        unlike: probability of being unlike the training images from which the answer is "unlike", or None.

    Returns:
        A dict for JSON: `examples`, `accuracy` with its `accuracy_interval` (95 %, Wilson), `top_k` (`{k:
        share whose true class is among the k most probable}`), `macro_recall`, `macro_precision` and
        `macro_f1` (over the classes with examples), `log_loss` (nats), `calibration_error` (expected, 10
        bins), `per_class` (precision, recall, f1, examples; recall and f1 are None without examples),
        `confusion` (rows: true class), with a threshold `answered` (share of the examples at or above it) and
        `accuracy_answered` (None if there are none), and with a temperature `before_temperature`: log loss
        and calibration error without it; and `unlike`, the share called unlike the training images.
    """
    predicted = probabilities.argmax(axis=1)
    right = predicted == labels
    confusion = np.zeros((len(names), len(names)), int)
    np.add.at(confusion, (labels, predicted), 1)
    per_class = {name: _class_figures(confusion, index) for index, name in enumerate(names)}
    tested = [row for row in per_class.values() if row["examples"]]
    before = None
    if temperature is not None:
        # Of an image unlike those of training, the sum of the probabilities is below 1, before as after.
        sums = probabilities.sum(axis=1, keepdims=True)
        before = _confidence(sums * without(probabilities, temperature), labels)
    return {
        "examples": len(labels),
        "accuracy": float(right.mean()),
        "accuracy_interval": wilson(int(right.sum()), len(labels)),
        "top_k": {str(k): top_k(probabilities, labels, k) for k in TOP_K if k < len(names)},
        **{f"macro_{key}": float(np.mean([row[key] for row in tested])) for key in FIGURES},
        **_confidence(probabilities, labels),
        **({} if before is None else {"before_temperature": before}),
        **({} if threshold is None else _answered(probabilities.max(axis=1) >= threshold, right)),
        **({} if unlike is None else {"unlike": float((familiarity.unlike(probabilities) >= unlike).mean())}),
        "per_class": per_class,
        "confusion": confusion.tolist(),
    }


def _class_figures(confusion, index):
    hits, found, examples = confusion[index, index], confusion[:, index].sum(), confusion[index].sum()
    return {
        "precision": float(hits / max(1, found)),
        "recall": float(hits / examples) if examples else None,
        "f1": float(2 * hits / (found + examples)) if examples else None,
        "examples": int(examples),
    }


def _confidence(probabilities, labels):
    """Log loss and calibration error."""
    true_probability = probabilities[np.arange(len(labels)), labels]
    shares, _, accuracies, confidences = calibration(probabilities, labels)
    return {
        "log_loss": float(-np.log(np.maximum(true_probability, 1e-12)).mean()),
        "calibration_error": float((shares * np.abs(accuracies - confidences)).sum()),
    }


def without(probabilities, temperature):
    """Probabilities before their logits were divided by a temperature: softmax(z) from softmax(z / T).

    Args:
        probabilities: `[examples, num_classes]`.
        temperature: above 0.

    Returns:
        `[examples, num_classes]`; of an image so unlike the training images that all its probabilities are 0,
        the same for every class.
    """
    # In logarithms: a power of small probabilities may be 0.
    logits = temperature * np.log(np.maximum(np.float64(probabilities), np.finfo(np.float64).tiny))
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def top_k(probabilities, labels, k):
    """Share of the examples whose true class is among the k most probable, 0..1."""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((order == np.asarray(labels)[:, None]).any(axis=1).mean())


def confused_pairs(confusion, names, most=CONFUSED):
    """The most frequent confusions, as dicts of `true`, `predicted`, `count` and `share` of the true class.

    Args:
        confusion: rows are true classes, columns predicted ones.
        names: of the classes.
        most: number of pairs.
    """
    counts = np.array(confusion)
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    return [
        {
            "true": names[row],
            "predicted": names[column],
            "count": int(wrong[row, column]),
            "share": float(wrong[row, column] / counts[row].sum()),
        }
        for row, column in zip(*np.unravel_index(order, wrong.shape), strict=True)
        if wrong[row, column]
    ]


def _answered(answered, right):
    accuracy = float(right[answered].mean()) if answered.any() else None
    return {"answered": float(answered.mean()), "accuracy_answered": accuracy}


def wilson(hits, examples, quantile=NORMAL_95):
    """Confidence interval of a proportion; Wilson, J. Am. Stat. Assoc. 22 (1927), 209-212.

    Args:
        hits: number of successes.
        examples: number of trials, at least 1.
        quantile: of the standard normal distribution.

    Returns:
        `[low, high]`, 0..1.
    """
    share, square = hits / examples, quantile**2
    center = (share + square / (2 * examples)) / (1 + square / examples)
    spread = quantile / (1 + square / examples)
    spread *= np.sqrt(share * (1 - share) / examples + square / (4 * examples**2))
    # Rounding must not leave the share outside.
    return [float(max(0, min(share, center - spread))), float(min(1, max(share, center + spread)))]


def calibration(probabilities, labels, bins=CALIBRATION_BINS):
    """Accuracy by confidence: the reliability diagram.

    Returns:
        For each of `bins` equal intervals of confidence: share of the examples, lower edge, accuracy and mean
        confidence (both 0 if it is empty).
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    accuracy = np.bincount(place, right, bins) / np.maximum(count, 1)
    mean_confidence = np.bincount(place, confidence, bins) / np.maximum(count, 1)
    return count / len(labels), np.arange(bins) / bins, accuracy, mean_confidence


def confident_mistakes(probabilities, labels, most):
    """Indices of the wrong answers with the highest confidence, most confident first.

    Args:
        probabilities: `[examples, num_classes]`.
        labels: index of the true class, `[examples]`.
        most: number of indices at most.
    """
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    return wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:most]


def table(summary):
    """The per-class figures as lines of text, those of the whole split below."""
    width = max(len("all"), *map(len, summary["per_class"]))
    lines = [f"{'class':{width}}  precision  recall     f1  examples"]
    for name, row in summary["per_class"].items():
        if not row["examples"]:
            lines.append(f"{name:{width}}  not tested, no images")
            continue
        lines.append(
            f"{name:{width}}  {row['precision']:9.3f}  {row['recall']:6.3f}  {row['f1']:5.3f}"
            f"  {row['examples']:8d}"
        )
    low, high = summary["accuracy_interval"]
    lines.append(
        f"{'all':{width}}  accuracy {summary['accuracy']:.4f} (95 % interval {low:.3f} to {high:.3f}), "
        f"{summary['examples']} examples"
    )
    return "\n".join([*lines, *_more(summary)])


def _more(summary):
    """Lines on averages, confusions and calibration."""
    ranks = ", ".join(f"top-{k} {100 * share:.1f} %" for k, share in summary["top_k"].items())
    averages = ", ".join(f"{name} {summary[f'macro_{name}']:.3f}" for name in FIGURES)
    lines = [f"averages  macro {averages}" + (f"; {ranks}" if ranks else "")]
    pairs = [
        f"{pair['true']} as {pair['predicted']} {pair['count']} ({100 * pair['share']:.0f} %)"
        for pair in confused_pairs(summary["confusion"], list(summary["per_class"]))
    ]
    if pairs:
        lines.append(f"confused  {', '.join(pairs)}")
    before = summary.get("before_temperature")
    change = [
        f"{label} {f'{before[key]:.3f} -> ' if before else ''}{summary[key]:.3f}"
        for key, label in (("log_loss", "log loss"), ("calibration_error", "calibration error"))
    ]
    lines.append(f"trust     {', '.join(change)}" + (" by the temperature" if before else ""))
    return lines


def comparison(summaries, reference=None):
    """One row per dataset: how a run does on several.

    Args:
        summaries: `{name: summary}` of `summarise`.
        reference: accuracy on the run's own test split, 0..1, for the column `change`; or None.

    Returns:
        Lines of text; percentages, and points (hundredths) in the column `change`.
    """
    width = max(len("dataset"), *map(len, summaries))
    columns = "examples  accuracy  95 % interval  macro recall   ECE  answered  right of those  unlike"
    lines = [f"{'dataset':{width}}  {columns}" + ("  change" if reference is not None else "")]
    for name, found in summaries.items():
        low, high = (100 * bound for bound in found["accuracy_interval"])
        line = (
            f"{name:{width}}  {found['examples']:8d}  {100 * found['accuracy']:7.1f}%"
            f"  {low:5.1f} to {high:5.1f}  {100 * found['macro_recall']:11.1f}%"
            f"  {100 * found['calibration_error']:3.0f}%"
        )
        if "answered" in found:
            right = found["accuracy_answered"]
            right = "-" if right is None else f"{100 * right:.1f}%"
            line += f"  {100 * found['answered']:7.1f}%  {right:>14}"
        else:
            line += f"  {'-':>8}  {'-':>14}"
        line += f"  {100 * found['unlike']:5.1f}%" if "unlike" in found else f"  {'-':>6}"
        if reference is not None:
            line += f"  {100 * (found['accuracy'] - reference):+6.1f}"
        lines.append(line)
    return "\n".join(lines)

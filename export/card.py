"""The model card: the exported files, how well they answer, and their limits."""

import re

from recycle_tf.evaluation import metrics, rules

from .artifact import translations

CARD = """# {arch}, run {run}

Classifies a photograph of waste into one of {number} classes.

## Details

{details}

| index | label |{locale_heads}
| --- | --- |{locale_rules}
{labels}

Input: {input}, values 0..255, not normalized. Resizing to a square: {resize}. Output: {output}, in
the order of the table.

## Accuracy

{measured}

## Confidence

{calibration}

## Limits

{strangers}

{elsewhere}
"""

MEASURED = """The Keras model on the {examples} images of the test split of {source}:

```
{table}
```"""

FILES = """Each exported file on the images of the test split; flips are answers that differ from those of the
Keras model:

| file | bytes | accuracy | points lost | flips | largest difference of a probability | verdict |
| --- | --- | --- | --- | --- | --- | --- |
{artifacts}"""

NOT_MEASURED = "Nothing was measured: the dataset was not available when the files were exported."
NOT_MEASURED_AGAIN = "The Keras model was not measured: the dataset was not available for the last export."

CALIBRATED = """The logits are divided by a temperature of {temperature:.3f}, found on the {examples} images
of the validation split. There, log loss went from {log_loss_before:.3f} to {log_loss_after:.3f}, and expected
calibration error from {calibration_error_before:.3f} to {calibration_error_after:.3f}.

{unsure}"""

UNSURE = """Below a probability of {threshold:.3f} an app should say "not sure". Of the validation images,
{share_above_threshold:.0%} are at or above it{right}."""

NEVER_SURE = 'At no probability were 95 % of the answers right: an app should say "not sure" with every one.'

STRANGERS = """The probabilities of an image sum to 1 minus the probability that it is unlike the training
images: a cat, a wall, or waste that looks like nothing the model has learned. From {threshold:g} on, an app
should say so instead of naming a class; its largest probability is then below the threshold as well. Not
every such image is recognized."""

NO_STRANGERS = """The model always answers with one of its classes, also for an object that belongs to none of
them."""

NOT_ELSEWHERE = """**Warning: this model was never evaluated on photographs of another origin.** The figures
above hold for images like those of its dataset, {dataset}; elsewhere, accuracy is often half of that.
Photograph some objects with the cameras, light and backgrounds of its use, and run
`python -m recycle_tf evaluate` with `--dataset=FOLDER`."""

ELSEWHERE = """The figures above hold for images like those of its dataset, {dataset}. On photographs of
another origin:

| dataset | images | accuracy | called unlike |
| --- | --- | --- | --- |
{rows}

Measure it before you use it with other cameras, lighting, backgrounds or countries."""

NOT_CALIBRATED = "The temperature is 1: the probabilities were not calibrated on data."


def make_card(spec, rows, source=None, summary=None, elsewhere=None):
    """The text of `card.md`.

    Args:
        spec: as returned by `artifact.make_spec`.
        rows: rows of `export.json`.
        source: name of the dataset that the files were verified on, or None.
        summary: `metrics.summarise` of the Keras model on the test split, or None.
        elsewhere: as returned by `stored_reports.elsewhere`, or None.
    """
    details = {
        "author": spec.get("author", "not stated"),
        "license": spec.get("license", "not stated"),
        "trained on": f"{spec['dataset']}, fingerprint {spec['dataset_fingerprint']}",
        "input size": f"{spec['image_size']} x {spec['image_size']} pixels",
        "bins": _bins(spec["rules"]) if "rules" in spec else "none: no rules were given, only classes",
    }
    names = translations(spec)
    columns = zip(spec["labels"], *names.values(), strict=True)
    return CARD.format(
        **{key: escape(spec[key]) for key in ("arch", "run")},
        **{key: spec[key] for key in ("input", "output", "resize")},
        number=len(spec["labels"]),
        details="\n".join(f"- {name}: {escape(value)}" for name, value in details.items()),
        locale_heads="".join(f" {locale} |" for locale in names),
        locale_rules=" --- |" * len(names),
        labels="\n".join(
            f"| {' | '.join([str(index), *map(escape, column)])} |" for index, column in enumerate(columns)
        ),
        measured=_measured(rows, source, summary),
        calibration=_calibration(spec),
        strangers=STRANGERS.format(**spec["unlike"]) if "unlike" in spec else NO_STRANGERS,
        elsewhere=_elsewhere(escape(spec["dataset"]), elsewhere or {}),
    )


def escape(text):
    """A text as Markdown on one line: without markup, HTML or cell borders."""
    return re.sub(r"([\\`*_\[\]<>|&~])", r"\\\1", " ".join(text.split()))


def _bins(place):
    """Whose rules say which bin, from when on, and their source, as far as these are known."""
    name = rules.text(place["name"], "en")
    found = [f"{len(place['bins'])}, by the rules of {name}", place["valid"], f"source: {place['source']}"]
    return "; ".join(filter(None, found))


def _measured(rows, source, summary):
    """The accuracy of the Keras model, and of each file; some may have been verified by an earlier export."""
    if not (summary or any(row["verification"] for row in rows)):
        return NOT_MEASURED
    found = NOT_MEASURED_AGAIN
    if summary:
        found = MEASURED.format(
            examples=summary["examples"], source=escape(source), table=metrics.table(summary)
        )
    files = FILES.format(artifacts="\n".join(map(_artifact, rows)))
    return f"{found}\n\n{files}"


def _artifact(row):
    verdict = row["verification"]
    if not verdict:
        return f"| `{row['path']}` | {row['bytes']} | | | | | not verified |"
    return (
        f"| `{row['path']}` | {row['bytes']} | {verdict['accuracy']:.4f} | {verdict['drop']:.2f} "
        # A row of an earlier version has no flips.
        f"| {verdict.get('flips', 'not counted')} | {verdict['max_gap']:.1e} "
        f"| {verdict['failure'] or 'verified'} |"
    )


def _elsewhere(dataset, summaries):
    if not summaries:
        return NOT_ELSEWHERE.format(dataset=dataset)
    rows = [
        f"| {escape(name)} | {summary.get('examples', 'not counted')} | {summary['accuracy']:.4f} "
        f"| {format(summary['unlike'], '.1%') if 'unlike' in summary else 'not measured'} |"
        for name, summary in summaries.items()
    ]
    return ELSEWHERE.format(dataset=dataset, rows="\n".join(rows))


def _calibration(spec):
    if "calibration" not in spec:
        return NOT_CALIBRATED
    accuracy = spec["calibration"]["accuracy_above_threshold"]
    right = "" if accuracy is None else f"; {accuracy:.1%} of these are classified correctly"
    values = {"temperature": spec["temperature"], "threshold": spec["threshold"], **spec["calibration"]}
    unsure = UNSURE.format(right=right, **values) if spec["threshold"] <= 1 else NEVER_SURE
    return CALIBRATED.format(unsure=unsure, **values)

"""The model card: what the files are, how well they answer, and what they must not be taken for."""

from recycle_tf.evaluation import metrics

CARD = """# {arch}, run {run}

Says which of {number} classes of rubbish a photograph shows.

## Details

{details}

| index | label |{korean_head}
| --- | --- |{korean_rule}
{labels}

Input: {input}, the pixels as they are. A picture is made square by: {resize}. Output: {output}, in the order
above.

## How well it answers

{measured}

## How sure it is

{calibration}

## Limits

It always answers with one of its classes, also for what is none of them. The figures hold for pictures like
those of its data set, {dataset}; other cameras, lights, grounds and countries have to be measured first.
"""

MEASURED = """The Keras model on the {examples} pictures of the test split of {source}:

```
{table}
```

Each exported file, replayed over the same pictures:

| file | bytes | accuracy | points lost | other answers than Keras | largest gap of a probability | verdict |
| --- | --- | --- | --- | --- | --- | --- |
{artifacts}"""

NOT_MEASURED = "Nothing was measured: no data set was at hand when the files were written."

CALIBRATED = """The logits are divided by a temperature of {temperature:.3f}, found on the {examples} pictures
of the validation split: there the log loss went from {log_loss_before:.3f} to {log_loss_after:.3f}, the
expected calibration error from {calibration_error_before:.3f} to {calibration_error_after:.3f}.

Below a probability of {threshold:.3f} an app should say "not sure": {share_above_threshold:.0%} of those
pictures are at or above it, and {right}."""

NOT_CALIBRATED = "The temperature is 1: the probabilities have been compared with no data."


def make_card(spec, record, source=None, summary=None):
    """The text of `card.md`.

    Args:
        spec: of the model, as `artifact.make_spec` gives it.
        record: the rows of `export.json`.
        source: name of the data set that the files were verified on, or None.
        summary: `metrics.summarise` of the Keras model on the test split, or None.
    """
    details = {
        "author": spec.get("author", "not stated"),
        "licence": spec.get("license", "not stated"),
        "trained on": f"{spec['dataset']}, fingerprint {spec['dataset_fingerprint']}",
        "input size": f"{spec['image_size']} x {spec['image_size']} pixels",
    }
    korean = spec.get("labels_ko")
    labels = [
        f"| {index} | {label} |" + (f" {korean[index]} |" if korean else "")
        for index, label in enumerate(spec["labels"])
    ]
    return CARD.format(
        **{key: spec[key] for key in ("arch", "run", "input", "output", "resize", "dataset")},
        number=len(spec["labels"]),
        details="\n".join(f"- {name}: {value}" for name, value in details.items()),
        korean_head=" Korean |" if korean else "",
        korean_rule=" --- |" if korean else "",
        labels="\n".join(labels),
        measured=_measured(record, source, summary) if summary else NOT_MEASURED,
        calibration=_calibration(spec),
    )


def _measured(record, source, summary):
    artifacts = [
        f"| `{row['path']}` | {row['bytes']} | {verdict['accuracy']:.4f} | {verdict['drop']:.2f} "
        # A row of an earlier version has no flips.
        f"| {verdict.get('flips', 'not counted')} | {verdict['max_gap']:.1e} "
        f"| {verdict['failure'] or 'verified'} |"
        if (verdict := row["verification"])
        else f"| `{row['path']}` | {row['bytes']} | | | | | not verified |"
        for row in record
    ]
    return MEASURED.format(
        examples=summary["examples"],
        source=source,
        table=metrics.table(summary),
        artifacts="\n".join(artifacts),
    )


def _calibration(spec):
    if "calibration" not in spec:
        return NOT_CALIBRATED
    accuracy = spec["calibration"]["accuracy_above_threshold"]
    right = (
        "none of those is right often enough" if accuracy is None else f"{accuracy:.1%} of these are right"
    )
    return CALIBRATED.format(
        temperature=spec["temperature"], threshold=spec["threshold"], right=right, **spec["calibration"]
    )

"""What `python -m export` does, from top to bottom."""

import dataclasses
import functools
import pathlib
import shutil
import tempfile

import keras
import numpy as np
from tqdm import tqdm

from recycle_tf import cli, files, runs
from recycle_tf.data import cache, pipeline
from recycle_tf.data.sources import Split
from recycle_tf.errors import UserError
from recycle_tf.evaluation import (
    datasets,
    familiarity,
    latency,
    litert,
    metrics,
    rules,
    stored_reports,
    temperature,
)
from recycle_tf.quantization import ranges

from . import artifact as artifacts
from . import (
    card,
    choose,
    flips,
    gates,
    golden,
    locales,
    peak,
    record,
    selective_quantization,
    staging,
    verify,
    web,
)
from .formats import FORMATS
from .record import REJECTED
from .settings import ALL

WRITTEN_EACH_TIME = (record.FILE, "spec.json", "card.md", "labels*.txt")
"""What is not copied from the earlier export."""


@dataclasses.dataclass(frozen=True)
class Reference:
    """A split, and how the Keras model answers it.

    Attributes:
        split: a `sources.Split`.
        images: its images as the network sees them, uint8 `[examples, image_size, image_size, 3]`.
        expected: probabilities of the Keras model, `[examples, num_classes]`.
    """

    split: Split
    images: np.ndarray
    expected: np.ndarray


@dataclasses.dataclass(frozen=True)
class Exported:
    """An exported file, and how it compares with the Keras model.

    Attributes:
        artifact: the `artifact.Artifact`.
        selection: its `gates.Verdict` on the validation split, if one was needed to select it; else None.
        answers: its probabilities on the test split; None if unverified.
        verdict: its `gates.Verdict` on the test split: the gate; None if unverified.
    """

    artifact: artifacts.Artifact
    selection: gates.Verdict | None = None
    answers: np.ndarray | None = None
    verdict: gates.Verdict | None = None


def export(settings):
    """Exports a run: writes each format, compares it with Keras and judges it; then replaces `RUN/export`.

    Args:
        settings: the `settings.ExportSettings`.

    Returns:
        `{format: path}` of the files that were written and not rejected.

    Raises:
        UserError: something is missing or invalid, and no file was changed; or a file failed its gates, or no
            file is within the limits, which is reported after everything was written.
        OSError: something cannot be written; no file was changed, but the run may have been calibrated.
    """
    run = runs.open_run(settings.run)
    with staging.locked(run):
        earlier, earlier_answers = record.read(run.export), golden.read(run.export / "golden")
        translations = locales.translate(run.labels, settings.translation_files)
        place = None if settings.rules is None else rules.load_for(settings.rules, run.labels)
        model = temperature.load_calibrated_model(run)
        formats = select_formats(settings, model)
        if not run.complete:
            print(f"{run.path}: training has not ended; the best model so far is exported")
        source = open_source(settings, run)
        calibration, model = calibrate(settings, run, model, source)
        about = {"author": settings.author, "license": settings.license, "batch": settings.batch_size}
        spec = artifacts.make_spec(run, model, translations, calibration=calibration, place=place, **about)
        inputs = gather_inputs(settings, formats, run, source, spec)
        test = source and ask_keras(model, source.splits["test"], spec)
        validation = source and needed_validation(settings, formats, model, source, spec)

        with files.replacing_folder(run.export) as folder:
            network = record.network_of(run, spec)
            earlier, outdated = record.by_network(earlier, network, spec.get("unlike"))
            earlier_answers = {} if outdated else earlier_answers
            keep_golden = not test and any(row["verification"] for row in earlier)
            staging.copy(
                run.export, folder, WRITTEN_EACH_TIME if keep_golden else (*WRITTEN_EACH_TIME, "golden")
            )
            remove_outdated(folder, outdated)
            write = functools.partial(write_format, spec, model, inputs, folder, settings)
            exported = [write(target, validation, test) for target in formats]
            write_flips(folder, exported, test, spec)
            rows = [{**row, "network": network} for row in make_rows(exported, folder, test)]
            names = {row["format"] for row in rows}
            kept = [row for row in earlier if row["format"] not in names]
            write_golden(folder, exported, model, test, spec, earlier_answers, kept + rows)
            warn_of_other_rules(kept, spec)
            write_beside(folder, spec, kept + rows, source, test, stored_reports.elsewhere(run))
    report(settings, run, rows, test)
    return {row["format"]: run.export / row["path"] for row in rows if not is_rejected(row)}


def select_formats(settings, model):
    """The formats to export; prints why others are not exported.

    Returns:
        A list of `Format`.

    Raises:
        UserError: a format that was given by name is not available, or no format is.
    """
    names = settings.format_names
    by_name = names is not None and ALL not in names and not settings.choose
    if names is None:
        names = [name for name, target in FORMATS.items() if target.default]
    elif ALL in names:
        names = FORMATS
    selected = []
    for target in (FORMATS[name] for name in names):
        if settings.choose and not target.timed:
            if settings.formats is not None:
                print(f"{target.name:16} not exported: --choose compares .tflite files")
            continue
        reason = _why_not(settings, model, target)
        if reason and by_name:
            raise UserError(f"`formats={target.name}`: {reason}")
        if reason:
            print(f"{target.name:16} not exported: {cli.as_flags(reason)}")
        else:
            selected.append(target)
    if not selected:
        raise UserError("`formats`: none of them can be exported")
    return selected


def _why_not(settings, model, target):
    """Why a format is not exported, or None."""
    if settings.unverified and "representative_images" in target.needs:
        return "its integer ranges are measured on training images, which `unverified` does without"
    reason = target.load_module().why_not(model, target.name)
    if "web_runtime" in target.needs and not settings.web_runtime:
        reason = reason or web.why_not_here()
    if settings.choose and not reason:
        limits = choose.Limits(settings.max_mb, settings.max_ms)
        return choose.too_large(target.bytes_per_parameter, _weights(model), limits)
    return reason


def _weights(model):
    """Number of weights that any file has: batch normalization becomes part of the convolutions."""
    norm = keras.layers.BatchNormalization
    return sum(layer.count_params() for layer in model.layers if not isinstance(layer, norm))


def open_source(settings, run):
    """The dataset to verify on; None if the export is unverified.

    Raises:
        UserError: it is missing or has other classes.
    """
    if settings.unverified:
        return None
    try:
        return datasets.open_source(run, settings.dataset, settings.manual_dir, settings.data_dir)
    except UserError as error:
        raise UserError(
            f"{error}; verify on a copy with `dataset=FOLDER`, or add `unverified` to verify nothing"
        ) from error


def calibrate(settings, run, model, source):
    """The run's calibration; a run without one is calibrated on its validation split.

    The new calibration is saved only if the run is complete and the data its own: the model of an unfinished
    run will change.

    Args:
        settings: the `settings.ExportSettings`.
        run: the `runs.Run`.
        model: its model; its logits are calibrated afterwards.
        source: the `sources.Source`, or None.

    Returns:
        As `temperature.calibrate_model`, or None if there is neither a calibration nor data; and the model
        with its familiarity.
    """
    if run.calibration or source is None:
        return run.calibration, familiarity.attach_stored(model, run)
    validation, size = source.splits["validation"], model.input_shape[1]
    known = temperature.training_images(source.splits["train"], run.config["seed"])
    batches, known = (
        pipeline.build_evaluation(split, len(run.labels), size, verify.BATCH, run.config["resize"])
        for split in (validation, known)
    )
    if run.complete and settings.dataset is None:
        found, familiar = temperature.calibrate_run(run, model, batches, validation.labels, known)
    else:
        found, familiar = temperature.calibrate_model(model, batches, validation.labels, known, run.labels)
    return found, familiarity.attach(model, familiar)


def gather_inputs(settings, formats, run, source, spec):
    """What the formats need beyond the model: `{name of the argument: value}`."""

    def representative_images():
        size, resize, seed = spec["image_size"], spec["resize"], run.config["seed"]
        return ranges.representative_images(source.splits["train"], size, resize, seed)

    gather = {
        "web_runtime": lambda: web.open_runtime(settings.web_runtime),
        "representative_images": representative_images,
        "trained_ranges": lambda: run.trained_ranges,
    }
    needed = {need for target in formats for need in target.needs}
    return {need: function() for need, function in gather.items() if need in needed}


def ask_keras(model, split, spec):
    """The `Reference` of a split."""
    images = cache.decode_all(split, spec["image_size"], spec["resize"])
    return Reference(split, images, answer(model, images))


def answer(model, images):
    """Probabilities of the Keras model, `[examples, num_classes]`."""
    found = familiarity.probabilities(model.predict(images, batch_size=verify.BATCH, verbose=0))
    return keras.ops.convert_to_numpy(found)


def needed_validation(settings, formats, model, source, spec):
    """The `Reference` of the validation split if something is selected on it, else None."""
    if settings.choose or any(target.selective for target in formats):
        return ask_keras(model, source.splits["validation"], spec)
    return None


def write_format(spec, model, inputs, folder, settings, target, validation, test):
    """Writes a file of one format into the export folder and judges it.

    Args:
        spec: as returned by `artifact.make_spec`.
        model: the calibrated Keras model.
        inputs: as returned by `gather_inputs`.
        folder: the export folder.
        settings: the `settings.ExportSettings`.
        target: the `Format`.
        validation: the `Reference` on which files are selected, or None.
        test: the `Reference` of the gate, or None.

    Returns:
        An `Exported`.
    """
    selection = answers = verdict = None
    compare = functools.partial(compare_with_keras, target, names=spec["labels"], max_drop=settings.max_drop)
    with tempfile.TemporaryDirectory(dir=folder) as partial:
        needed = {need: inputs[need] for need in target.needs}
        try:
            artifact = target.load_module().export(spec, model, target.name, pathlib.Path(partial), **needed)
        except UserError as error:
            raise UserError(f"`formats={target.name}`: {error}") from error
        if validation and (settings.choose or target.selective):
            artifact, selection = select_on_validation(
                model, inputs, target, artifact, lambda attempt: compare(attempt, validation)[1]
            )
        if test:
            answers, verdict = compare(artifact, test)
        artifact = _move(artifact, folder, rejected=bool(verdict and verdict.failure))
    outcome = (verdict.failure or "verified") if verdict else "not verified"
    print(f"{target.name:16} {cli.as_flags(outcome)}", flush=True)
    return Exported(artifact, selection, answers, verdict)


def select_on_validation(model, inputs, target, artifact, judge):
    """Judges a file on the validation split; if it fails, another attempt may take its place.

    Returns:
        `(artifact, verdict)`.
    """
    verdict = judge(artifact)
    if verdict.failure and target.selective:
        original = artifact.path.read_bytes()
        try:
            images = inputs["representative_images"]
            return selective_quantization.rescue(model, images, artifact, verdict, judge)
        except UserError as error:
            # The first file remains, and with it all other formats.
            artifact.path.write_bytes(original)
            print(f"{target.name:16} no layers kept in float: {cli.as_flags(str(error))}")
    return artifact, verdict


def compare_with_keras(target, artifact, reference, names, max_drop):
    """Runs a file on a split; returns its probabilities and the `gates.Verdict`."""
    progress = functools.partial(tqdm, desc=target.name, disable=None, leave=False)
    try:
        found = verify.replay(target.load_module().load(artifact.path), reference.images, progress)
    except UserError as error:
        raise UserError(f"`formats={target.name}`: {error}") from error
    labels = reference.split.labels
    return found, gates.judge(found, reference.expected, labels, names, max_drop, target.precision)


def _move(artifact, folder, rejected):
    """Moves a file to its place in the export folder; an earlier one is removed, also a rejected one."""
    for place in (folder, folder / REJECTED):
        _remove(place / artifact.path.name)
    path = (folder / REJECTED if rejected else folder) / artifact.path.name
    path.parent.mkdir(exist_ok=True)
    shutil.move(artifact.path, path)
    return dataclasses.replace(artifact, path=path)


def remove_outdated(folder, rows):
    """Removes the files of rows that are of another network, and says so."""
    for place in (folder / REJECTED, folder / "flips"):
        # In a run of somebody else, these may lead to folders of other things.
        if place.is_symlink():
            place.unlink()
    for row in rows:
        _remove(folder / row["path"])
        _remove(folder / "flips" / row["format"])
    if rows:
        names = ", ".join(row["path"] for row in rows)
        print(f"removed   {names}: of another network, temperature or familiarity; export them again")


def _remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_golden(folder, exported, model, test, spec, earlier, rows):
    """Writes the golden images, if there are images."""
    if test:
        answers = {"keras": test.expected} | {result.artifact.format: result.answers for result in exported}
        image = golden.draw(spec["image_size"])[None]
        drawn = {"keras": answer(model, image)[0]}
        for artifact in (result.artifact for result in exported):
            predict = FORMATS[artifact.format].load_module().load(artifact.path)
            drawn[artifact.format] = predict(image)[0]
        listed = set(answers).union(*earlier.values())
        tested = file_of_apps([row for row in rows if row["format"] in listed])
        golden.write(folder / "golden", test.split, spec, answers, drawn, earlier, tested)


def file_of_apps(rows):
    """The file that the tests of golden/README.md use: `(format, name)`, int8 if there is one; or None.

    It takes one image, and was not rejected.
    """
    files = {
        row["format"]: row["path"]
        for row in rows
        if FORMATS[row["format"]].timed and row.get("batch", 1) == 1 and not is_rejected(row)
    }
    name = "tflite_int8" if "tflite_int8" in files else next(iter(files), None)
    return name and (name, files[name])


def write_flips(folder, exported, test, spec):
    """Writes the images that each file answers differently; those of earlier files are removed."""
    for result in exported:
        place = folder / "flips" / result.artifact.format
        _remove(place)
        if test:
            names = spec["labels"]
            flips.write(place, place.name, test.split, names, result.answers, test.expected)


def make_rows(exported, folder, test):
    """The rows of `export.json`, with latency and peak memory of `.tflite` files if there is an image."""
    times = {}
    if test:
        timed = [result.artifact for result in exported if FORMATS[result.artifact.format].timed]
        calls = {
            (artifact.format, threads): functools.partial(
                litert.open_predictor(artifact.path, threads), test.images[0]
            )
            for artifact in timed
            for threads in (1, 2)
        }
        # A call computes a whole batch.
        images = {artifact.format: artifacts.batch_dimension(artifact.spec) or 1 for artifact in timed}
        for (name, threads), milliseconds in latency.time_alternately(calls).items():
            times.setdefault(name, {})[f"threads_{threads}"] = milliseconds / images[name]
    return [
        record.make_row(
            result,
            folder,
            times.get(result.artifact.format),
            peak.measure(result.artifact.path) if result.artifact.format in times else None,
        )
        for result in exported
    ]


def write_beside(folder, spec, rows, source, test, elsewhere):
    """Writes `export.json`, `spec.json`, the labels and the model card."""
    digests = {
        name: digest
        for row in rows
        for name, digest in artifacts.digests(folder / row["path"], folder).items()
    }
    summary = test and metrics.summarise(test.expected, test.split.labels, spec["labels"])
    texts = {
        record.FILE: artifacts.as_json(rows),
        # The files themselves contain the spec, but cannot contain their own digests.
        "spec.json": artifacts.as_json({**spec, "files": digests}),
        "card.md": card.make_card(spec, rows, source and source.name, summary, elsewhere),
    }
    for name, text in (texts | artifacts.label_files(spec)).items():
        (folder / name).write_text(text, encoding="utf-8")


def warn_of_other_rules(rows, spec):
    """Warns of earlier files whose bins are not those that `spec.json` and the card describe."""
    names = [row["path"] for row in rows if row.get("rules") != spec.get("rules")]
    if names:
        cli.warn(f"{', '.join(names)}: exported with other rules; spec.json and card.md have those of now")


def is_rejected(row):
    """Whether a file failed its gates on the test split."""
    return bool(row["verification"] and row["verification"]["failure"])


def report(settings, run, rows, test):
    """Prints the table and the choice.

    Raises:
        UserError: files failed their gates, or no file is within the limits.
    """
    if test:
        accuracy = (test.expected.argmax(axis=1) == test.split.labels).mean()
        print(record.table(rows, accuracy, len(test.split)))
    print(f"artifacts {run.export}")
    rejected = [row for row in rows if is_rejected(row)]
    if settings.choose:
        chosen, text = choose.choose(rows, choose.Limits(settings.max_mb, settings.max_ms))
        print(cli.as_flags(text))
        rejected = [row for row in rejected if row is chosen]
    if rejected:
        raise UserError(
            f"{', '.join(row['format'] for row in rejected)}: rejected, failed on the test split; see "
            f"{run.export / REJECTED}"
        )

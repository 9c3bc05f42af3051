"""Exports a run and proves each file on the test split: `python -m export --run=RUN`.

    python -m export --run=runs/mine --formats=tflite_int8,saved_model

Each file takes uint8 RGB pixels and returns probabilities. It is replayed over the test split and compared
with Keras; one that differs too much goes to RUN/export/rejected, and the command fails.

    python -m export serve --run=runs/mine      # opens the page that --formats=web has written
"""

import dataclasses
import json
import os
import pathlib
import platform
import re
import shutil
import sys
import tempfile

from absl import flags

from recycle_tf import cli
from recycle_tf.errors import UserError, did_you_mean

FORMATS = (
    "saved_model",
    "tflite_float32",
    "tflite_float16",
    "tflite_dynamic",
    "tflite_int8",
    "tflite_int16x8",
    "onnx",
    "web",
)
BY_NAME_ALONE = ("tflite_int16x8", "onnx", "web")
"""Written only when asked for: LiteRT computes the first tens of times slower, the others want packages."""
ALL = "all"
CALIBRATION_PICTURES = 240
REJECTED = "rejected"


@cli.command
def main(argv):
    """Exports, or serves; a full disk is one line, and what was there before is as it was."""
    if argv[:1] == ["serve"]:
        from . import serve

        sys.exit(serve.main(argv[1:]))
    try:
        export(argv)
    except OSError as error:
        raise UserError(
            f"{error.filename or 'the export'}: cannot be written ({error.strerror}); mend that, and give "
            f"the same command again"
        ) from error


def _parse(argv):
    """The flags of an export, and whether they can be meant."""
    values = flags.FlagValues()
    flags.DEFINE_string("run", None, "folder that train.py wrote", flag_values=values)
    flags.DEFINE_list(
        "formats",
        None,
        f"some of {', '.join(FORMATS)}, or all; else those that the network can, but for "
        f"{', '.join(BY_NAME_ALONE)}",
        flag_values=values,
    )
    flags.DEFINE_float("max_drop", 1.0, "points of accuracy that quantisation may cost", flag_values=values)
    flags.DEFINE_string(
        "batch", "1", "pictures that a .tflite or ONNX file takes at once, or dynamic", flag_values=values
    )
    flags.DEFINE_bool(
        "choose", False, "build what could fit the limits, and say which file to ship", flag_values=values
    )
    flags.DEFINE_float("max_mb", None, "with --choose: megabytes of the file", flag_values=values)
    flags.DEFINE_float(
        "max_ms",
        None,
        "with --choose: milliseconds a picture, one thread of this machine",
        flag_values=values,
    )
    flags.DEFINE_string("dataset", None, "where to verify; else the run's own data set", flag_values=values)
    flags.DEFINE_string("manual_dir", None, "as in train.py; else the run's", flag_values=values)
    flags.DEFINE_string("data_dir", None, "as in train.py; else the run's", flag_values=values)
    flags.DEFINE_string(
        "labels_ko", None, "file of Korean names, one a line; else what is known", flag_values=values
    )
    flags.DEFINE_string("author", None, "who made the model, for its metadata", flag_values=values)
    flags.DEFINE_string("license", None, "the model's licence, for its metadata", flag_values=values)
    flags.DEFINE_string(
        "web_runtime", None, "folder of LiteRT.js' npm archives; else npm fetches them", flag_values=values
    )
    flags.DEFINE_bool(
        "unverified", False, "where the data set is not: write files that nothing proves", flag_values=values
    )
    cli.no_positionals(cli.parse(argv, values, __doc__))
    if not values.run:
        raise UserError("--run: missing; give a folder that train.py wrote")
    if values.formats == []:
        raise UserError(f"--formats: empty; choose from {', '.join(FORMATS)}")
    if not values.max_drop == values.max_drop:
        raise UserError("--max_drop=nan: expected points of accuracy, such as 1")
    if not re.fullmatch("[1-9][0-9]*|dynamic", values.batch):
        raise UserError(f"--batch={values.batch}: expected a number of pictures, or dynamic")
    if values.choose and values.unverified:
        raise UserError("--choose: asks what pictures show; leave --unverified out")
    for name in ("max_mb", "max_ms"):
        limit = values[name].value
        if limit is not None and not values.choose:
            raise UserError(f"--{name}={limit:g}: goes with --choose")
        if limit is not None and not limit > 0:
            raise UserError(f"--{name}={limit:g}: expected a number above 0")
    for name in values.formats or ():
        if name not in (*FORMATS, ALL):
            raise UserError(f"--formats={name}: no such format, {did_you_mean(name, FORMATS)}")
    return values


def export(argv):
    """Run -> model -> one file a format -> verdict on each -> table."""
    values = _parse(argv)
    cli.import_tensorflow()
    from tqdm import tqdm

    from recycle_tf import runs
    from recycle_tf.data import cache, pipeline
    from recycle_tf.evaluation import datasets, metrics, temperature

    from . import artifact as artifacts
    from . import (
        card,
        choose,
        flips,
        golden,
        korean,
        onnx,
        saved_model,
        selective_quantization,
        tflite,
        verify,
        web,
    )

    run = runs.open_run(values.run)
    labels_ko = korean.translate(run.labels, values.labels_ko)
    model = run.load_model()
    limits = choose.Limits(values.max_mb, values.max_ms)
    formats = _formats(values, model, limits)
    runtime = web.open_runtime(values.web_runtime) if set(formats) & set(web.FORMATS) else None
    if set(formats) & set(onnx.FORMATS):
        onnx.check_installed()
    batch = values.batch if values.batch == "dynamic" else int(values.batch)
    about = {"labels_ko": labels_ko, "author": values.author, "license": values.license, "batch": batch}
    modules = {name: module for module in (saved_model, tflite, onnx, web) for name in module.FORMATS}
    if not run.complete:
        print(f"{run.path}: its training has not ended; exported is its best model so far")
    if values.unverified:
        spec = artifacts.make_spec(run, model, **about)
        _export_unverified(run, model, spec, {name: modules[name] for name in formats}, runtime)
        return
    try:
        source = datasets.open_source(run, values.dataset, values.manual_dir, values.data_dir)
    except UserError as error:
        raise UserError(
            f"{error}; a copy verifies too, --dataset=FOLDER, and --unverified writes without proof"
        ) from error
    test = source.splits["test"]
    view = {"size": model.input_shape[1], "resize": run.config["resize"]}

    def evaluation(split):
        return pipeline.build_evaluation(split, len(run.labels), view["size"], 32, view["resize"])

    validation = source.splits["validation"]
    logits = model.predict(evaluation(validation).map(lambda images, _: images), verbose=0)
    calibrated = temperature.calibrate(logits, validation.labels, run.labels)
    temperature.set_temperature(model, calibrated["temperature"])
    spec = artifacts.make_spec(run, model, **about, calibration=calibrated)
    pictures = cache.decode_all(test, **view)
    expected = metrics.predict_probabilities(model, evaluation(test))
    calibration = None
    if set(formats) & set(tflite.CALIBRATED):
        chosen = pipeline.class_balanced(source.splits["train"], CALIBRATION_PICTURES, run.config["seed"])
        calibration = cache.decode_all(chosen, **view)

    _begin(run)
    rows, answers = [], {"keras": expected}
    for name in formats:
        # Written beside its place and moved there once it is proven.
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=run.export) as partial:
            module, arguments = modules[name], {}
            if name in tflite.CALIBRATED:
                arguments["calibration"] = calibration
            if name in web.FORMATS:
                arguments["runtime"] = runtime
            artifact = module.export(spec, model, name, pathlib.Path(partial), **arguments)

            def progress(batches, name=name):
                return tqdm(batches, desc=name, disable=None, leave=False)

            def prove(artifact, load=module.load, progress=progress):
                found = verify.replay(load(artifact.path), pictures, progress)
                labels, names = test.labels, run.labels
                return found, verify.judge(artifact.format, found, expected, labels, names, values.max_drop)

            answers[name], verdict = prove(artifact)
            if verdict.failure and name == "tflite_int8":
                artifact, answers[name], verdict = selective_quantization.rescue(
                    model, calibration, artifact, answers[name], verdict, prove
                )
            directory = run.export / REJECTED if verdict.failure else run.export
            rows.append((_move(artifact, directory), verdict))
        flips.write(run.export / "flips", name, test, run.labels, answers[name], expected)
        print(f"{name:16} {verdict.failure or 'verified'}", flush=True)
    golden.write(run.export / "golden", test, spec, answers)
    latency = _time([artifact for artifact, _ in rows], pictures[0])
    record = _write_record(run, rows, latency)
    summary = metrics.summarise(expected, test.labels, run.labels)
    _write_beside(run, spec, record, card.make_card(spec, record, source.name, summary))
    written = [row for row in record if row["format"] in answers]
    print(_table(written, summary["accuracy"], len(test)))
    print(f"artifacts {run.export}")
    failed = [artifact.format for artifact, verdict in rows if verdict.failure]
    if values.choose:
        print(choose.choose(written, limits))
    elif failed:
        raise UserError(f"{', '.join(failed)}: rejected, see {run.export / REJECTED}")


def _formats(values, model, limits):
    """The formats to write; says of the others why not.

    Raises:
        UserError: one that was asked for by its name cannot be had, or none could fit.
    """
    from . import choose, onnx, tflite

    named = values.formats is not None and ALL not in values.formats and not values.choose
    wanted = [name for name in FORMATS if name not in BY_NAME_ALONE]
    if values.formats:
        wanted = FORMATS if ALL in values.formats else values.formats
    if values.choose:
        # Who chooses among files for phones does not ask for a server's.
        wanted = [name for name in wanted if name in tflite.FORMATS]
    formats = []
    for name in wanted:
        reason = (
            onnx.why_not(model) if name in onnx.FORMATS else tflite.why_not(model, name, values.unverified)
        )
        if values.choose and not reason:
            reason = choose.too_large(name, model.count_params(), limits)
        if reason and named:
            raise UserError(f"--formats={name}: {reason}")
        if reason:
            print(f"{name:16} left out: {reason}")
        else:
            formats.append(name)
    if not formats:
        raise UserError("--choose: no format could fit")
    return formats


def _begin(run):
    """Makes the folder of a run's artifacts, without what an interrupted export was writing there."""
    run.export.mkdir(exist_ok=True)
    for leftover in run.export.rglob(".partial-*"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def _export_unverified(run, model, spec, modules, runtime):
    """Writes artifacts that no picture was shown to; there is nothing to compare their answers with."""
    from . import card, web

    _begin(run)
    # They were of other artifacts.
    shutil.rmtree(run.export / "golden", ignore_errors=True)
    shutil.rmtree(run.export / "flips", ignore_errors=True)
    rows = []
    for name, module in modules.items():
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=run.export) as partial:
            arguments = {"runtime": runtime} if name in web.FORMATS else {}
            artifact = module.export(spec, model, name, pathlib.Path(partial), **arguments)
            rows.append((_move(artifact, run.export), None))
        print(f"{name:16} not verified", flush=True)
    record = _write_record(run, rows, {})
    _write_beside(run, spec, record, card.make_card(spec, record))
    print(f"artifacts {run.export}")


def _write_beside(run, spec, record, card):
    """Writes what stands beside the artifacts."""
    from . import artifact as artifacts

    files = {
        name: digest for row in record for name, digest in artifacts.digests(run.export / row["path"]).items()
    }
    beside = {
        "labels.txt": artifacts.lines(spec["labels"]),
        "labels_ko.txt": artifacts.lines(spec["labels_ko"]) if "labels_ko" in spec else None,
        # What lies in the files themselves cannot hold their digests.
        "spec.json": artifacts.as_json({**spec, "files": files}),
        "card.md": card,
    }
    for name, text in beside.items():
        _write_text(run.export / name, text)


def _move(artifact, directory):
    """Puts a finished artifact in its place; an earlier one goes, also from among the rejected."""
    export = directory.parent if directory.name == REJECTED else directory
    for folder in (export, export / REJECTED):
        old = folder / artifact.path.name
        shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
    directory.mkdir(exist_ok=True)
    target = directory / artifact.path.name
    shutil.move(artifact.path, target)
    return dataclasses.replace(artifact, path=target)


def _write_text(path, text):
    """Writes a file whole; without a text there is none, and an earlier one goes."""
    from recycle_tf.files import replacing

    if text is None:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _time(artifacts, picture):
    """`{format: {"threads_1": ms, "threads_2": ms}}` of every `.tflite`, measured in turn."""
    from recycle_tf.evaluation import litert

    from . import tflite, verify

    found = verify.time_alternately(
        {
            (artifact.format, threads): litert.open_predictor(artifact.path, threads)
            for artifact in artifacts
            if artifact.format in tflite.FORMATS
            for threads in (1, 2)
        },
        picture,
    )
    latency = {}
    for (name, threads), milliseconds in found.items():
        latency.setdefault(name, {})[f"threads_{threads}"] = milliseconds
    return latency


def _write_record(run, rows, latency):
    """Writes `export.json`; returns its rows."""
    from . import peak
    from .artifact import as_json

    path = run.export / "export.json"
    machine = f"{platform.machine()} with {os.cpu_count()} processors"
    # What an earlier export wrote in other formats is still there.
    written = {artifact.format for artifact, _ in rows}
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    record = [row for row in before if row["format"] not in written] + [
        {
            "path": artifact.path.relative_to(run.export).as_posix(),
            "bytes": artifact.bytes,
            **artifact.spec,
            "operations": artifact.operations,
            "verification": verdict and dataclasses.asdict(verdict),
            "latency_ms": latency.get(artifact.format),
            "peak_memory": peak.measure(artifact.path) if artifact.format in latency else None,
            "machine": machine,
        }
        for artifact, verdict in rows
    ]
    _write_text(path, as_json(record))
    return record


def _table(rows, keras_accuracy, examples):
    lines = [
        f"{'format':16} {'MB':>6} {'ops':>4} {'accuracy':>8} {'drop':>6} {'worst recall':>17} {'flips':>5} "
        f"{'margin':>6} {'max gap':>8} {'mean gap':>8} {'1 thread':>8} {'2':>6} {'peak MB':>7}"
    ]
    for row in rows:
        verdict = row["verification"]
        change, label = min(
            (change, label) for label, change in verdict["recall_change"].items() if change is not None
        )
        operations = sum(row["operations"].values()) if row["operations"] else ""
        times = row["latency_ms"]
        milliseconds = f"{times['threads_1']:8.2f} {times['threads_2']:6.2f}" if times else ""
        peak = row.get("peak_memory")
        lines.append(
            f"{row['format']:16} {row['bytes'] / 1e6:6.2f} {operations:4} {verdict['accuracy']:8.4f} "
            f"{verdict['drop']:6.2f} {label[:10]:>10} {change:6.2f} {verdict['flips']:5} "
            f"{verdict['largest_margin']:6.3f} {verdict['max_gap']:8.1e} {verdict['mean_gap']:8.1e} "
            f"{milliseconds} {f'{peak / 1e6:7.1f}' if peak else ''}".rstrip()
        )
    lines += [
        f"{row['format']}: in float, because integers ruin them: {', '.join(row['float_layers'])}"
        for row in rows
        if "float_layers" in row
    ]
    lines.append(f"{'Keras':16} {'':11} {keras_accuracy:8.4f}   on {examples} pictures of the test split")
    lines.append(
        "drop, worst recall: points; margin: Keras' largest where it flips; threads: ms on this machine; "
        "peak: resident memory of a fresh process beyond the runtime's"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

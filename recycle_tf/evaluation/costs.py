"""What networks cost, beside how accurate they are: a table, a CSV file and the usual plot."""

import csv
import dataclasses
import json

from recycle_tf.errors import UserError
from recycle_tf.evaluation import latency, plots, stored_reports
from recycle_tf.files import replacing
from recycle_tf.models.summary import describe_model
from recycle_tf.paths import from_user


@dataclasses.dataclass(frozen=True)
class Costs:
    """Costs of one network; what is not known is None.

    Attributes:
        name: of a run or an architecture.
        arch: name of the architecture.
        image_size: in pixels.
        parameters: number of trainable parameters.
        macs: multiply-adds of an image.
        activations: number of outputs of convolutions and dense layers for an image.
        training_memory: bytes of an image's activations that the backward pass needs.
        images_per_second: in training.
        keras_ms: latency of one image in Keras, in milliseconds.
        float32_ms: of `model_float32.tflite`, with one thread.
        int8_ms: of `model_int8.tflite`, with one thread.
        float32_bytes: size of `model_float32.tflite`.
        int8_bytes: size of `model_int8.tflite`.
        accuracy: on the test split, 0..1.
        accuracy_interval: 95 %, Wilson, 0..1.
        int8_accuracy: of `model_int8.tflite`, 0..1.
    """

    name: str
    arch: str
    image_size: int
    parameters: int
    macs: int
    activations: int
    training_memory: int | None = None
    images_per_second: float | None = None
    keras_ms: float | None = None
    float32_ms: float | None = None
    int8_ms: float | None = None
    float32_bytes: int | None = None
    int8_bytes: int | None = None
    accuracy: float | None = None
    accuracy_interval: tuple | None = None
    int8_accuracy: float | None = None


COLUMNS = {
    # name: title, divisor, decimals
    "image_size": ("px", 1, 0),
    "parameters": ("M params", 1e6, 2),
    "macs": ("GMACs", 1e9, 3),
    "activations": ("M act.", 1e6, 2),
    "training_memory": ("MB/image", 1e6, 1),
    "images_per_second": ("train/s", 1, 0),
    "keras_ms": ("Keras ms", 1, 1),
    "float32_ms": ("f32 ms", 1, 1),
    "int8_ms": ("int8 ms", 1, 1),
    "float32_bytes": ("f32 MB", 1e6, 1),
    "int8_bytes": ("int8 MB", 1e6, 1),
    "accuracy": ("accuracy", 0.01, 1),
    "int8_accuracy": ("int8", 0.01, 1),
}


class Table(list):
    """A list of `Costs`, one per network."""

    def __repr__(self):
        return table(self)

    def to_csv(self, path):
        """Writes all attributes, one row per network; see `write_csv`."""
        write_csv(from_user(path, "csv"), self)

    def to_plot(self, path):
        """Writes a PNG of accuracy or latency over costs; see `write_plot`."""
        write_plot(from_user(path, "plot"), self)


def of_model(name, model, **measured):
    """`Costs` of a Keras model of `create_model`.

    Args:
        name: of its row.
        model: the model.
        **measured: further attributes of `Costs`.
    """
    found = describe_model(model)
    sizes = (found.image_size, found.trainable, found.macs, found.activations)
    return Costs(name, found.arch, *sizes, **measured)


def of_runs(runs):
    """Costs of runs, and their accuracy on the test split as their reports and exports say.

    Args:
        runs: a list of `runs.Run`; their models are timed in turn.

    Returns:
        A `Table`.

    Raises:
        UserError: a run has no model or no report yet, or the runs were evaluated on different data.
    """
    if not runs:
        raise UserError("`runs`: an empty list; give at least one run")
    first = runs[0]
    for run in runs[1:]:
        if run.fingerprint != first.fingerprint:
            raise UserError(
                f"{run.path}: trained on {run.config['dataset']}, and {first.path} on "
                f"{first.config['dataset']}; accuracies on different data cannot be compared"
            )
    models = [run.load_model() for run in runs]
    times = latency.time_alternately({i: latency.keras_call(model) for i, model in enumerate(models)})
    return Table(
        of_model(run.path.resolve().name, model, keras_ms=times[i], **_measured(run))
        for i, (run, model) in enumerate(zip(runs, models, strict=True))
    )


def _measured(run):
    """What report, history and exports of a run say."""
    report = stored_reports.read(run.report)
    rows = run.history_rows()
    found = {
        "accuracy": report["accuracy"],
        "accuracy_interval": tuple(report["accuracy_interval"]),
        # The first epoch compiles.
        "images_per_second": max((row.get("images_per_second", 0) for row in rows), default=0) or None,
    }
    exported = run.export / "export.json"
    for row in _read(exported) if exported.is_file() else ():
        kind = row["format"].removeprefix("tflite_")
        if kind not in ("float32", "int8") or not (run.export / row["path"]).is_file():
            continue
        found[f"{kind}_bytes"] = row["bytes"]
        if row["latency_ms"]:
            found[f"{kind}_ms"] = row["latency_ms"]["threads_1"]
        if kind == "int8" and row["verification"]:
            found["int8_accuracy"] = row["verification"]["accuracy"]
    return found


def _read(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged; export the run again") from error


def table(rows):
    """The rows as lines of text, without columns in which nothing is known.

    Args:
        rows: a list of `Costs`.
    """
    columns = [name for name in COLUMNS if any(getattr(row, name) is not None for row in rows)]
    lines = [["network", *(COLUMNS[name][0] for name in columns)]]
    lines += [[row.name, *(_cell(row, name) for name in columns)] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def _cell(row, name):
    value, (_, divisor, decimals) = getattr(row, name), COLUMNS[name]
    if value is None:
        return "-"
    text = f"{value / divisor:.{decimals}f}"
    if name == "accuracy" and row.accuracy_interval:
        text += " ({:.1f} to {:.1f})".format(*(100 * bound for bound in row.accuracy_interval))
    return text


def write_csv(path, rows):
    """Writes all attributes, one row per network; numbers as they are.

    Args:
        path: of the file, replaced when it is complete.
        rows: a list of `Costs`.
    """
    names = [field.name for field in dataclasses.fields(Costs) if field.name != "accuracy_interval"]
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*names, "accuracy_low", "accuracy_high"])
        for row in rows:
            values = ["" if (value := getattr(row, name)) is None else value for name in names]
            writer.writerow([*values, *(row.accuracy_interval or ("", ""))])


def write_plot(path, rows):
    """Writes a PNG: accuracy, or latency where it is not known, over multiply-adds and over parameters.

    Args:
        path: of the file, replaced when it is complete.
        rows: a list of `Costs`.
    """
    with plots.figure(1, 2, figsize=(11, 4.6)) as (figure, panels):
        plots.trade_off(panels[0], rows, "macs", 1e9, "multiply-adds per image, billions")
        plots.trade_off(panels[1], rows, "parameters", 1e6, "parameters, millions")
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=120, format="png")

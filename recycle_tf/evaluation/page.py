"""The page of a report: one self-contained HTML file per language, with its images inside."""

import base64
import dataclasses
import importlib.resources
import io
import json
import pathlib
import shlex

import jinja2
import tensorflow as tf
from PIL import Image

from recycle_tf import runs
from recycle_tf.config import TrainConfig, resolve
from recycle_tf.data import decode, joining
from recycle_tf.errors import UserError
from recycle_tf.evaluation import metrics, stored_reports
from recycle_tf.models import registry

LANGUAGES = {"en": "report.html", "ko": "report.ko.html"}
MISTAKES = 12
THUMBNAIL = 240
"""Side of an image on the page, in pixels."""

FILES = importlib.resources.files(__package__) / "report_page"


def write(run, directory, summary, split, probabilities):
    """Writes `report.html` and `report.ko.html` into a folder that holds the plots of the report.

    Args:
        run: a `runs.Run`.
        directory: of the report.
        summary: of `metrics.summarise`, with the name of the `split`.
        split: the `sources.Split` that was predicted.
        probabilities: `[len(split), num_classes]`, calibrated.
    """
    context = {
        "run": _run(run),
        "labels": run.labels,
        "summary": summary,
        "calibration": run.calibration,
        "confused": metrics.confused_pairs(summary["confusion"], run.labels),
        "mistakes": _mistakes(split, probabilities, run.labels),
        "plots": {path.stem: _embed(path.read_bytes(), "png") for path in directory.glob("*.png")},
        "others": _others(run, summary),
        "shifts": _shifts(run),
        "settings": _settings(run),
        "commands": _commands(run, summary),
        "style": (FILES / "report.css").read_text(encoding="utf-8"),
    }
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters["percent"] = lambda share: f"{100 * share:.1f}\N{NO-BREAK SPACE}%"
    template = environment.from_string((FILES / "report.html.j2").read_text(encoding="utf-8"))
    texts = {code: _texts(code) for code in LANGUAGES}
    for code, other in (("en", "ko"), ("ko", "en")):
        link = {"code": other, "file": LANGUAGES[other], "name": texts[other]["name"]}
        page = template.render(**context, t=texts[code], language=code, other_language=link)
        (directory / LANGUAGES[code]).write_text(page, encoding="utf-8")


def _texts(code):
    return json.loads((FILES / f"texts.{code}.json").read_text(encoding="utf-8"))


def _run(run):
    config = run.config
    return {
        "name": run.path.resolve().name,
        "path": shlex.quote(str(run.path)),
        "arch": config["arch"],
        "dataset": config["dataset"],
        "image_size": config["image_size"] or _own_size(config),
    }


def _own_size(config):
    """The image size of the architecture with its overrides: `phi` changes it."""
    row = registry.find(config["arch"])
    try:
        overrides = TrainConfig(overrides=config["overrides"]).model_overrides()
        return registry.override(config["arch"], row.config, overrides).image_size
    except UserError:  # Of an earlier version, which ignored a setting.
        return row.config.image_size


def _settings(run):
    """The settings that differ from the defaults, and those that everybody asks for."""
    defaults = dataclasses.asdict(TrainConfig())
    shown = ("arch", "dataset", "epochs", "batch_size", "learning_rate", "augment", "mix", "seed")
    settings = {
        name: value
        for name, value in run.config.items()
        if name in shown
        or (value != defaults.get(name) and name not in ("run_dir", "data_dir", "manual_dir"))
    }
    rows = run.history_rows()
    return [*settings.items(), ("epochs trained", len(rows))]


def _commands(run, summary):
    """The commands that made the run and this page."""
    evaluated = [f"--run={run.path}"]
    if not summary["own"]:
        evaluated.append(f"--dataset={summary['location']}")
    if summary["model"]:
        evaluated.append(f"--model={summary['model']}")
    if summary["split"] in ("train", "validation"):
        evaluated.append(f"--split={summary['split']}")
    if summary["left_out"]:
        evaluated.append("--ignore_unknown")
    return [
        _training_command(run),
        " ".join(["python -m recycle_tf evaluate", *map(shlex.quote, evaluated)]),
    ]


def _training_command(run):
    if run.averaged:
        words = ["python -m recycle_tf average", *map(shlex.quote, run.averaged)]
        # Where some runs were left out, the proportions were chosen: without the flag they are chosen again.
        if all(run.averaged.values()):
            words.append(f"--proportions={','.join(f'{share:g}' for share in run.averaged.values())}")
        return " ".join([*words, shlex.quote(f"--run_dir={run.config['run_dir']}")])
    config, implied = run.config, _implied(run.config)
    given = [
        # Nothing after a flag of text takes away what the earlier run had.
        shlex.quote(f"--{name}={'' if value is None else value}")
        for name, value in config.items()
        if name != "run_dir" and (name == "arch" or value != implied.get(name))
        if value is not None or isinstance(implied.get(name), str)
    ]
    return " ".join(["python -m recycle_tf train", *given])


def _implied(config):
    """The settings that follow from the recipe and the earlier run of a command; few if that run is gone."""
    defaults, names = dataclasses.asdict(TrainConfig()), ("arch", "recipe", "weights", "quantize", "from_run")
    given = {name: config[name] for name in names if config[name] != defaults[name]}
    earlier = None
    try:
        if config["from_run"]:
            earlier = runs.settings_to_repeat(config["from_run"])
        implied = dataclasses.asdict(resolve(given, registry.find(config["arch"]).recipe, earlier))
    except UserError:
        return {}
    return {name: value for name, value in implied.items() if name not in given}


def _mistakes(split, probabilities, names):
    """The most confident mistakes, with their images."""
    predicted = probabilities.argmax(axis=1)
    return [
        {
            "image": _thumbnail(split.encoded(tf.constant(index, tf.int64))),
            "file": pathlib.PurePath(split.ids[index]).name,
            "true": names[split.labels[index]],
            "predicted": names[predicted[index]],
            "probability": float(probabilities[index, predicted[index]]),
        }
        for index in metrics.confident_mistakes(probabilities, split.labels, MISTAKES)
    ]


def _thumbnail(encoded):
    image = Image.fromarray(decode.decode_pixels(encoded).numpy())
    image.thumbnail((2 * THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return _embed(buffer.getvalue(), "jpeg")


def _embed(content, kind):
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _others(run, summary):
    """`{name: summary}` of the reports on photographs of another origin, except of this page's own."""

    def where(found):
        location = found.get("location") and str(joining.places(found["location"])[0])
        return found.get("place") or location, found.get("split")

    reports = stored_reports.elsewhere(run)
    if summary["own"]:
        return reports
    return {name: other for name, other in reports.items() if where(other) != where(summary)}


def _shifts(run):
    """The plot of simulated shifts of the run's own network on its own test split; None if there is none."""
    path = run.path / "report-shifts" / "shifts.png"
    return _embed(path.read_bytes(), "png") if path.is_file() else None

"""Predicts images: `python -m recycle_tf predict --model=RUN_OR_FILE IMAGE_OR_FOLDER …`.

A folder is searched for images; `-` reads paths from standard input, one per line. "not sure" follows an
answer whose probability is below the model's threshold, and "unlike the training images" one for an image
that the model cannot know. Images that cannot be read are reported, and the exit status is 1. With --rules,
the bin of least expected cost follows, with advice and what may change it.

    python -m recycle_tf predict --model=runs/mine photo.jpg
    python -m recycle_tf predict --model=runs/mine/export/model_int8.tflite --csv=bins.csv photos/
    find photos -name '*.jpg' | python -m recycle_tf predict --model=runs/mine --jsonl=bins.jsonl -
"""

import os
import sys

from absl import flags
from PIL import Image

import recycle_tf
from recycle_tf import cli
from recycle_tf.files import writing
from recycle_tf.options import SHEET_MOST, SHEET_TITLE
from recycle_tf.paths import from_user, printable

TABLES = ("csv", "json", "jsonl")
WRITTEN = (*TABLES, "sheet")
"""Flags that name a file for the answers."""


@cli.command
def main(argv):
    """Prints image, label and probability, one line per image."""
    values, places = _parse(argv)
    if places == ["-"]:
        # Names of files are bytes, which need not be text.
        places = [os.fsdecode(line) for line in sys.stdin.buffer.read().splitlines() if line]
        if not places:
            raise cli.UserError("-: no paths on standard input")
    predictor = recycle_tf.load(values.model, values.rules)
    images = predictor.expand(places)
    width = max(len(printable(image)) for image in images)
    # What is only printed does not stay in memory.
    kept = any(values[name].value for name in WRITTEN)
    answers, failed = predictor.predict(images) if kept else predictor.stream(images), 0
    if kept:
        # First: whoever reads what is printed may end.
        _write(values, answers)
    for answer in answers:
        if answer.error:
            failed += 1
            print(f"error: {printable(answer.error)}", file=sys.stderr)
        else:
            _print(answer, width, values.top)
    if failed:
        print(f"{failed} of {len(images)} images could not be read", file=sys.stderr)
        return 1


def _parse(argv):
    values = flags.FlagValues()
    flags.DEFINE_string(
        "model",
        None,
        "Run folder, or exported file: a .tflite, a SavedModel's folder, a .onnx.",
        flag_values=values,
    )
    flags.DEFINE_integer("top", 1, "Classes to show per image.", lower_bound=1, flag_values=values)
    for name in TABLES:
        flags.DEFINE_string(
            name, None, f"Also write the answers to this {name.upper()} file.", flag_values=values
        )
    flags.DEFINE_string(
        "rules",
        None,
        "Also say which bin: a .yaml file, or built-in: england, korea. Default: the rules exported "
        "with the file.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "sheet",
        None,
        f"Also draw the images with their answers, the first {SHEET_MOST}: a PNG.",
        flag_values=values,
    )
    places = cli.parse(argv, values, __doc__)
    if not values.model:
        raise cli.UserError("--model: missing; give a run folder or an exported file")
    if not places:
        raise cli.UserError("no images given; name files or folders after the flags")
    for name in WRITTEN:
        if values[name].value:
            _check_output(name, values[name].value)
    return values, places


def _check_output(name, value):
    """Raises a `UserError` for a file of answers that cannot be written, or that may be a photograph."""
    path, suffix = from_user(value, name, utf8=False), ".png" if name == "sheet" else f".{name}"
    if path.suffix.lower() != suffix:
        raise cli.UserError(f"--{name}={value}: expected a name ending in {suffix}")
    if not path.parent.is_dir():
        raise cli.UserError(f"--{name}={value}: its folder does not exist")
    # `--sheet *.png` names the first photograph as the sheet.
    if name == "sheet" and path.exists() and not _is_sheet(path):
        raise cli.UserError(f"--sheet={value}: exists and may be a photograph; choose another name")


def _is_sheet(path):
    """Whether a PNG was written by `--sheet`; that says so in its title."""
    try:
        with Image.open(path) as image:
            return image.info.get("Title") == SHEET_TITLE
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False


def _print(answer, width, top):
    ranked = list(zip(answer.labels, answer.probabilities, strict=True))[:top]
    shown = "  ".join(f"{printable(label):12} {probability:6.1%}" for label, probability in ranked)
    print(f"{printable(answer.image):{width}}  {shown}  {answer.doubt}".rstrip())
    if answer.instruction:
        print(f"{'':{width}}  -> {printable(answer.instruction)}")


def _write(values, answers):
    for name in WRITTEN:
        path = values[name].value
        more = () if name == "sheet" else (values.top,)
        if path:
            with writing(f"`{name}={path}`"):
                getattr(answers, f"to_{name}")(path, *more)

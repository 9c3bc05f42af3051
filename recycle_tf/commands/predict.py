"""Predicts images: `python -m recycle_tf predict --model=RUN_OR_TFLITE IMAGE_OR_FOLDER …`.

A folder is searched for images; `-` reads paths from standard input, one per line. "not sure" follows an
answer whose probability is below the model's threshold, and "unlike the training images" one for an image
that the model cannot know. Images that cannot be read are reported, and the exit status is 1.

    python -m recycle_tf predict --model=runs/mine photo.jpg
    python -m recycle_tf predict --model=runs/mine/export/model_int8.tflite --csv=bins.csv photos/
    find photos -name '*.jpg' | python -m recycle_tf predict --model=runs/mine --jsonl=bins.jsonl -
"""

import pathlib
import sys

from absl import flags

from recycle_tf import cli

TABLES = ("csv", "json", "jsonl")


@cli.command
def main(argv):
    """Prints image, label and probability, one line per image."""
    values, places = _parse(argv)
    cli.import_tensorflow()
    from tqdm import tqdm

    from recycle_tf.evaluation import inputs, rules
    from recycle_tf.evaluation.answers import Answers
    from recycle_tf.evaluation.predictor import open_predictor

    if places == ["-"]:
        places = [line for line in sys.stdin.read().splitlines() if line]
        if not places:
            raise cli.UserError("-: no paths on standard input")
    images = inputs.expand(places)
    predictor = open_predictor(values.model)
    place = values.rules and rules.load(values.rules)
    if place:
        place.bins_of(predictor.labels)
    # What is only printed does not stay in memory.
    kept = any(values[name].value for name in ("sheet", *TABLES))
    answers, failed = Answers(), 0
    width = max(len(cli.printable(image)) for image in images)
    for answer in predictor.stream(tqdm(images, disable=None, leave=False)):
        if kept:
            answers.append(answer)
        if answer.error:
            failed += 1
            print(f"error: {cli.printable(answer.error)}", file=sys.stderr)
        else:
            _print(answer, width, values.top, place)
    _write(values, answers)
    if failed:
        print(f"{failed} of {len(images)} images could not be read", file=sys.stderr)
        return 1


def _parse(argv):
    values = flags.FlagValues()
    flags.DEFINE_string("model", None, "Run folder or exported .tflite file.", flag_values=values)
    flags.DEFINE_integer("top", 1, "Classes to show per image.", lower_bound=1, flag_values=values)
    for name in TABLES:
        flags.DEFINE_string(
            name, None, f"Also write the answers to this {name.upper()} file.", flag_values=values
        )
    flags.DEFINE_string(
        "rules",
        None,
        "Also say which bin: a .yaml file, or built-in: england, korea.",
        flag_values=values,
    )
    flags.DEFINE_string("sheet", None, "Also draw the images with their answers: a PNG.", flag_values=values)
    places = cli.parse(argv, values, __doc__)
    if not values.model:
        raise cli.UserError("--model: missing; give a run folder or a .tflite file")
    if not places:
        raise cli.UserError("no images given; name files or folders after the flags")
    if values.sheet and not values.sheet.endswith(".png"):
        raise cli.UserError(f"--sheet={values.sheet}: expected a .png")
    for name in ("sheet", *TABLES):
        path = values[name].value
        if path and not pathlib.Path(path).expanduser().parent.is_dir():
            raise cli.UserError(f"--{name}={path}: its folder does not exist")
    return values, places


def _print(answer, width, top, place):
    ranked = list(zip(answer.labels, answer.probabilities, strict=True))[:top]
    shown = "  ".join(f"{cli.printable(label):12} {probability:6.1%}" for label, probability in ranked)
    print(f"{cli.printable(answer.image):{width}}  {shown}  {answer.doubt}".rstrip())
    if place:
        rule = place.classes[answer.label]
        texts = (place.bins[rule["bin"]], rule.get("advice"), rule.get("question"))
        told = [texts.get("en") or next(iter(texts.values())) for texts in texts if texts]
        print(f"{'':{width}}  -> {cli.printable('. '.join(text.rstrip('.') for text in told))}")


def _write(values, answers):
    from recycle_tf.evaluation import plots
    from recycle_tf.files import replacing

    writers = {
        "csv": lambda path: answers.to_csv(path, values.top),
        "json": lambda path: answers.to_json(path, values.top),
        "jsonl": lambda path: answers.to_jsonl(path, values.top),
    }
    read = [answer for answer in answers if not answer.error]

    def draw(path):
        with replacing(pathlib.Path(path)) as temporary:
            plots.save_answers(temporary, read)

    if read:
        writers["sheet"] = draw
    for name, write in writers.items():
        path = values[name].value
        try:
            if path:
                write(path)
        except OSError as error:
            raise cli.UserError(f"--{name}={path}: cannot be written ({error.strerror or error})") from error

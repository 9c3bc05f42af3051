"""Predicts images: `python -m recycle_tf predict --model=RUN_OR_TFLITE IMAGE_OR_FOLDER …`.

A folder is searched for images; --sheet draws them with their predictions. "not sure" follows an answer whose
probability is below the model's threshold. A file that cannot be read is reported, and the exit status is 1.

    python -m recycle_tf predict --model=runs/mine photo.jpg
    python -m recycle_tf predict --model=runs/mine/export/model_int8.tflite --sheet=answers.png photos/
"""

import pathlib
import sys

from absl import flags

from recycle_tf import cli


@cli.command
def main(argv):
    """Prints image, label and probability, one line per image."""
    values, places = _parse(argv)
    cli.import_tensorflow()
    from recycle_tf.data import decode
    from recycle_tf.evaluation.predictor import open_predictor

    images = [image for place in places for image in _images(place, decode.SUFFIXES)]
    predictor = open_predictor(values.model)
    width = max(len(cli.printable(image)) for image in images)
    answers, failed = [], 0
    for answer in predictor.answer_files(images):
        if answer.error:
            failed += 1
            print(f"error: {cli.printable(answer.error)}", file=sys.stderr)
            continue
        answers.append(answer)
        unsure = "" if answer.sure else "  not sure"
        label = cli.printable(answer.label)
        print(f"{cli.printable(answer.path):{width}}  {label:12} {answer.probability:6.1%}{unsure}")
    if values.sheet and answers:
        _write_sheet(pathlib.Path(values.sheet), answers)
    if failed:
        print(f"{failed} of {len(images)} files could not be read", file=sys.stderr)
        return 1


def _parse(argv):
    values = flags.FlagValues()
    flags.DEFINE_string("model", None, "Run folder or exported .tflite file.", flag_values=values)
    flags.DEFINE_string(
        "sheet", None, "Also draw the images with their predictions: a PNG.", flag_values=values
    )
    places = cli.parse(argv, values, __doc__)
    if not values.model:
        raise cli.UserError("--model: missing; give a run folder or a .tflite file")
    if not places:
        raise cli.UserError("no images given; name files or folders after the flags")
    if values.sheet and not (pathlib.Path(values.sheet).parent.is_dir() and values.sheet.endswith(".png")):
        raise cli.UserError(f"--sheet={values.sheet}: expected a .png in a folder that exists")
    places = [pathlib.Path(place) for place in places]
    for place in places:
        if not place.exists():
            raise cli.UserError(f"{cli.printable(place)}: no such file or folder")
    return values, places


def _images(place, suffixes):
    if place.is_file():
        return [place]
    found = sorted(p for p in place.rglob("[!.]*") if p.suffix.lower() in suffixes)
    if not found:
        raise cli.UserError(f"{cli.printable(place)}: no images in this folder")
    return found


def _write_sheet(path, answers):
    from recycle_tf.evaluation import plots
    from recycle_tf.files import replacing

    try:
        with replacing(path) as temporary:
            plots.save_answers(temporary, answers)
    except OSError as error:
        raise cli.UserError(f"--sheet={path}: cannot be written ({error.strerror or error})") from error

"""Says which bin: `python -m recycle_tf predict --model=RUN_OR_TFLITE PICTURE_OR_FOLDER …`.

A folder is searched for pictures; `--sheet` draws them with their answers.

    python -m recycle_tf predict --model=runs/mine photo.jpg
    python -m recycle_tf predict --model=runs/mine/export/model_int8.tflite --sheet=answers.png photos/
"""

import pathlib

from absl import flags

from recycle_tf import cli


@cli.command
def main(argv):
    """Prints picture, label and probability, a line each."""
    values = flags.FlagValues()
    flags.DEFINE_string("model", None, "a run folder or an exported .tflite", flag_values=values)
    flags.DEFINE_string("sheet", None, "also draw the pictures with their answers, a PNG", flag_values=values)
    places = cli.parse(argv, values, __doc__)
    if not values.model:
        raise cli.UserError("--model: missing; give a run folder or a .tflite file")
    if not places:
        raise cli.UserError("no pictures given; name files or folders after the flags")
    if values.sheet and not (pathlib.Path(values.sheet).parent.is_dir() and values.sheet.endswith(".png")):
        raise cli.UserError(f"--sheet={values.sheet}: expected a .png in a folder that exists")
    for place in map(pathlib.Path, places):
        if not place.exists():
            raise cli.UserError(f"{place}: no such file or folder")

    tf = cli.import_tensorflow()
    from recycle_tf.data import decode

    pictures = [picture for place in places for picture in _pictures(pathlib.Path(place), decode.SUFFIXES)]
    from recycle_tf.evaluation.predictor import open_classifier

    classify = open_classifier(values.model)
    answers = []
    width = max(len(str(picture)) for picture in pictures)
    for picture in pictures:
        decode.check_file(picture)
        try:
            pixels = decode.decode(tf.io.read_file(str(picture)), classify.image_size, classify.resize)
        except tf.errors.OpError:
            raise cli.UserError(f"{picture}: damaged, cannot be decoded") from None
        probabilities = classify(pixels.numpy())
        best = probabilities.argmax()
        answers.append((picture, classify.labels[best], probabilities[best]))
        print(f"{picture!s:{width}}  {classify.labels[best]:12} {probabilities[best]:6.1%}")
    if values.sheet:
        from recycle_tf.evaluation.report import write_sheet

        write_sheet(values.sheet, answers)


def _pictures(place, suffixes):
    if place.is_file():
        return [place]
    found = sorted(p for p in place.rglob("[!.]*") if p.suffix.lower() in suffixes)
    if not found:
        raise cli.UserError(f"{place}: no pictures in this folder")
    return found

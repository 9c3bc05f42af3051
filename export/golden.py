"""A few test images with expected probabilities, with which app developers can test their code."""

import hashlib
import json
import pathlib
import string

import tensorflow as tf
from PIL import Image

from recycle_tf.data import backgrounds, decode
from recycle_tf.errors import UserError

MAX_IMAGES = 10
DRAWN = "drawn.png"
"""A drawn texture, which is no photograph of waste: an app says that it is unlike the training images."""

PAGE = pathlib.Path(__file__).parent / "golden_page.md"
TESTS = "You can copy `prepare` below"
"""Where the tests begin on the page."""

NO_TESTS = """\
Tests for Android and iOS stand here after an export of a `.tflite` file that takes one image at a time:
`--formats=tflite_int8`, without `--batch`.
"""
RESIZE = {
    "stretch": ("stretched to that size", ""),
    "letterbox": (
        "scaled to fit, centered on black",
        " It stretches the image: let `shrink` and `taps` make max(1, round(side * SIZE / longer side)) "
        "pixels of each side instead of SIZE, and put the result in the center of a black square.",
    ),
    "crop": (
        "cropped to the square at its center",
        " It stretches the image: crop the square at its center first.",
    ),
}
"""How an image becomes square, and what to do before calling `prepare` of the page."""


def choose(split):
    """Indices of the golden examples: the first of every class, then the second of every class."""
    firsts, seconds = [], []
    for index, label in enumerate(split.labels):
        if label not in {split.labels[i] for i in firsts}:
            firsts.append(index)
        elif label not in {split.labels[i] for i in seconds}:
            seconds.append(index)
    return (firsts + seconds)[:MAX_IMAGES]


def draw(size):
    """The pixels of `DRAWN`, uint8 `[size, size, 3]`: the same for every network of this size."""
    return backgrounds.bank(1, size)[0]


def read(folder):
    """The probabilities that an earlier export wrote: `{SHA-256 of the pixels: {format: probabilities}}`.

    Raises:
        UserError: `expected.json` is damaged.
    """
    path = folder / "expected.json"
    if not path.is_file():
        return {}
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return {row["input_sha256"]: dict(row["probabilities"]) for row in rows}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(f"{path}: damaged, cannot be read; delete {folder} and rerun the command") from error


def write(folder, split, spec, answers, drawn, earlier, tested):
    """Writes the original image files, `expected.json`, and `README.md`, which explains their use.

    Args:
        folder: the folder `golden`, to create.
        split: the `sources.Split` of the images.
        spec: as returned by `artifact.make_spec`.
        answers: `{format: probabilities [len(split), num_classes]}`.
        drawn: `{format: probabilities [num_classes]}` of the image of `draw`.
        earlier: as returned by `read`: probabilities of formats that are not exported this time.
        tested: `(format, file name)` that the tests on the page use; None to leave them out.
    """
    folder.mkdir()
    expected, size = [], spec["image_size"]

    def row(file, label, pixels, found):
        digest = hashlib.sha256(pixels.tobytes()).hexdigest()
        found = {name: probabilities.round(6).tolist() for name, probabilities in found.items()}
        probabilities = earlier.get(digest, {}) | found
        return {"file": file, "label": label, "input_sha256": digest, "probabilities": probabilities}

    for number, index in enumerate(choose(split), start=1):
        encoded = split.encoded(tf.constant(index, tf.int64)).numpy()
        file = f"{number:02d}_{decode.file_name(split.ids[index], encoded)}"
        (folder / file).write_bytes(encoded)
        pixels = decode.decode(encoded, size, spec["resize"]).numpy()
        found = {name: probabilities[index] for name, probabilities in answers.items()}
        expected.append(row(file, spec["labels"][split.labels[index]], pixels, found))
    pixels = draw(size)
    Image.fromarray(pixels).save(folder / DRAWN)
    expected.append(row(DRAWN, None, pixels, drawn))
    text = json.dumps(expected, indent=1) + "\n"
    (folder / "expected.json").write_text(text, encoding="utf-8")
    (folder / "README.md").write_text(_page(spec, tested), encoding="utf-8")


def _page(spec, tested):
    """The text of `README.md`; `tested` as in `write`."""
    resize, first = RESIZE[spec["resize"]]
    page = PAGE.read_text(encoding="utf-8")
    if tested is None:
        page = page[: page.index(TESTS)] + NO_TESTS
    name, file = tested or ("", "")
    stem = pathlib.PurePath(file).stem
    return string.Template(page).substitute(
        size=spec["image_size"], resize=resize, first=first, format=name, file=file, name=stem
    )

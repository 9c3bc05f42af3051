"""A few pictures with the answers to expect, so that an app's developers can test their side."""

import hashlib
import json
import pathlib
import string

import tensorflow as tf

from recycle_tf.data import decode
from recycle_tf.files import replacing

PICTURES = 10
PAGE = pathlib.Path(__file__).parent / "golden_page.md"
RESIZE = {
    "stretch": ("stretched to it, whatever its aspect", ""),
    "letterbox": (
        "as large as fits in it, centred, on black",
        " It stretches; pad with black first.",
    ),
    "crop": ("its middle square alone", " It stretches; cut the middle square out first."),
}
"""How a picture becomes square, and what `prepare` on the page leaves to do for it."""


def choose(split):
    """Indices of the golden examples: the first of every class, then the second of every class."""
    firsts, seconds = [], []
    for index, label in enumerate(split.labels):
        if label not in {split.labels[i] for i in firsts}:
            firsts.append(index)
        elif label not in {split.labels[i] for i in seconds}:
            seconds.append(index)
    return (firsts + seconds)[:PICTURES]


def write(directory, split, spec, answers):
    """Writes the pictures as they came, `expected.json`, and `README.md`, which says how to use them.

    Args:
        directory: the folder `golden`; answers of other formats that stand there are kept.
        split: the `sources.Split` the pictures are of.
        spec: of the model, as `artifact.make_spec` gives it.
        answers: `{format: probabilities [len(split), num_classes]}`.
    """
    directory.mkdir(exist_ok=True)
    path = directory / "expected.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    earlier = {row["file"]: row["probabilities"] for row in before}
    expected = []
    for number, index in enumerate(choose(split), start=1):
        file = f"{number:02d}_{pathlib.PurePath(split.ids[index]).name}"
        encoded = split.encoded(tf.constant(index, tf.int64))
        with replacing(directory / file) as temporary:
            temporary.write_bytes(encoded.numpy())
        pixels = decode.decode(encoded, spec["image_size"], spec["resize"])
        expected.append(
            {
                "file": file,
                "label": spec["labels"][split.labels[index]],
                "input_sha256": hashlib.sha256(pixels.numpy().tobytes()).hexdigest(),
                "probabilities": earlier.get(file, {})
                | {name: found[index].round(6).tolist() for name, found in answers.items()},
            }
        )
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")
    with replacing(directory / "README.md") as temporary:
        page = string.Template(PAGE.read_text(encoding="utf-8"))
        resize, first = RESIZE[spec["resize"]]
        text = page.substitute(size=spec["image_size"], resize=resize, first=first)
        temporary.write_text(text, encoding="utf-8")

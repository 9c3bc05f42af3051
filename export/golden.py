"""A few pictures with the answers to expect, so that an app's developers can test their side."""

import json
import pathlib

import tensorflow as tf

from recycle_tf.runs import replacing

PICTURES = 10


def choose(split):
    """Indices of the golden examples: the first of every class, then the second of every class."""
    firsts, seconds = [], []
    for index, label in enumerate(split.labels):
        if label not in {split.labels[i] for i in firsts}:
            firsts.append(index)
        elif label not in {split.labels[i] for i in seconds}:
            seconds.append(index)
    return (firsts + seconds)[:PICTURES]


def write(directory, split, names, answers):
    """Writes the pictures as they came, and `expected.json`.

    Args:
        directory: the folder `golden`; answers of other formats that stand there are kept.
        split: the `sources.Split` the pictures are of.
        names: of the classes.
        answers: `{format: probabilities [len(split), num_classes]}`.
    """
    directory.mkdir(exist_ok=True)
    path = directory / "expected.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    earlier = {row["file"]: row["probabilities"] for row in before}
    expected = []
    for number, index in enumerate(choose(split), start=1):
        file = f"{number:02d}_{pathlib.PurePath(split.ids[index]).name}"
        with replacing(directory / file) as temporary:
            temporary.write_bytes(split.encoded(tf.constant(index, tf.int64)).numpy())
        expected.append(
            {
                "file": file,
                "label": names[split.labels[index]],
                "probabilities": earlier.get(file, {})
                | {name: found[index].round(6).tolist() for name, found in answers.items()},
            }
        )
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")

"""Predictions as rows: for people, spreadsheets and programs."""

import csv
import dataclasses
import io
import json

import numpy as np

from recycle_tf.evaluation import familiarity, notebook, plots
from recycle_tf.files import replacing
from recycle_tf.paths import from_user

SHOWN = 20
"""Answers that a notebook or Python's prompt shows."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """The prediction for one image.

    Attributes:
        image: path of the file, or a name such as `array 0` for an image that was not a file.
        labels: names of the classes, most probable first; empty if the image could not be read.
        probabilities: their calibrated probabilities, 0..1, in that order.
        sure: whether the image is like the training images, and the first probability reaches the model's
            threshold, if the model has one.
        error: why the image could not be read, or None.
        unlike: probability that the image is unlike the training images, 0..1; None if the model gives none.
        familiar: whether that is below the model's threshold for it.
        instruction: which bin, advice and question, of the predictor's rules; None without rules.
    """

    image: str
    labels: tuple = ()
    probabilities: tuple = ()
    sure: bool = False
    error: str | None = None
    unlike: float | None = None
    familiar: bool = True
    instruction: str | None = None

    @property
    def doubt(self):
        """What limits the answer: "unlike the training images", "not sure", or ""."""
        if self.sure:
            return ""
        return "not sure" if self.familiar else "unlike the training images"

    @property
    def label(self):
        """The most probable class; None if the image could not be read."""
        return self.labels[0] if self.labels else None

    @property
    def probability(self):
        """Probability of the most probable class, 0..1; 0 if the image could not be read."""
        return self.probabilities[0] if self.probabilities else 0.0

    def row(self, top=1):
        """The answer as a flat dict: image, label, probability, sure, unlike, label_2, …, error.

        With rules it also has an instruction.

        Args:
            top: number of classes.
        """
        row = {"image": self.image, "label": self.label, "probability": round(self.probability, 6)}
        row |= {"sure": self.sure, "unlike": None if self.unlike is None else round(self.unlike, 6)}
        ranked = zip(self.labels[1:top], self.probabilities[1:top], strict=True)
        for place, (label, probability) in enumerate(ranked, start=2):
            row |= {f"label_{place}": label, f"probability_{place}": round(probability, 6)}
        told = {} if self.instruction is None else {"instruction": self.instruction}
        return row | told | {"error": self.error}


def make_answer(image, row, names, threshold, place=None, unlike=None):
    """The `Answer` of one row of probabilities.

    Args:
        image: its path or name.
        row: probabilities, `[num_classes]`.
        names: of the classes.
        threshold: of the model, 0..1, or None.
        place: the `rules.Rules` that say which bin, or None.
        unlike: probability from which the image is unlike the training images, or None.
    """
    order = np.argsort(-row, kind="stable")
    strange = None if unlike is None else float(familiarity.unlike(row))
    familiar = unlike is None or strange < unlike
    sure = familiar and (threshold is None or bool(row[order[0]] >= threshold))
    return Answer(
        str(image),
        tuple(names[index] for index in order),
        tuple(float(row[index]) for index in order),
        sure,
        unlike=strange,
        familiar=familiar,
        # Where something goes that the network cannot know, nobody can say.
        instruction=_instruction(place, row, names, threshold) if place and familiar else None,
    )


def _instruction(place, row, names, threshold):
    decision = place.decide(row, names, threshold)
    doubt = "" if decision.sure else f"not sure ({decision.probability:.1%}), at the lowest cost: "
    return doubt + place.describe(decision)


class Answers(list):
    """A list of `Answer` that can be written to a file."""

    @property
    def failed(self):
        """The answers for images that could not be read."""
        return [answer for answer in self if answer.error]

    def to_csv(self, path, top=1):
        """Writes one line per image, with the columns of `Answer.row`.

        Args:
            path: of the file, replaced when it is complete.
            top: number of classes per image.
        """
        width = min(top, max((len(answer.labels) for answer in self), default=1))
        told = ["instruction"] if any(answer.instruction for answer in self) else []
        more = [name for place in range(2, width + 1) for name in (f"label_{place}", f"probability_{place}")]
        text = io.StringIO(newline="")
        columns = ["image", "label", "probability", "sure", "unlike", *more, *told, "error"]
        writer = csv.DictWriter(text, columns, restval="")
        writer.writeheader()
        for answer in self:
            cells = answer.row(top).items()
            writer.writerow({name: inert(cell) if isinstance(cell, str) else cell for name, cell in cells})
        _write(path, text.getvalue())

    def to_json(self, path, top=1):
        """Writes a list with one object per image; see `Answer.row`."""
        _write(path, json.dumps([answer.row(top) for answer in self], indent=1, ensure_ascii=False) + "\n")

    def to_jsonl(self, path, top=1):
        """Writes one JSON object per line; see `Answer.row`."""
        _write(path, "".join(json.dumps(answer.row(top), ensure_ascii=False) + "\n" for answer in self))

    def to_sheet(self, path):
        """Draws the images, which are files, with their answers; those that could not be read are left out.

        Args:
            path: of a PNG, replaced when it is complete. Nothing is written without an image.
        """
        read = [answer for answer in self if not answer.error]
        if read:
            with replacing(from_user(path, utf8=False)) as temporary:
                plots.save_answers(temporary, read)

    def _repr_html_(self):
        rows = [
            (answer.image, answer.error or answer.label, f"{answer.probability:.1%}", answer.sure)
            for answer in self[:SHOWN]
        ]
        note = f"… {len(self) - SHOWN:,} more" if len(self) > SHOWN else ""
        return notebook.table(("image", "label", "probability", "sure"), rows, note)

    def __repr__(self):
        shown = [
            f"{answer.image}  {answer.error or answer.label}"
            + ("" if answer.error else f"  {answer.probability:.1%}  {answer.doubt}".rstrip())
            for answer in self[:SHOWN]
        ]
        more = [f"… {len(self) - SHOWN:,} more"] if len(self) > SHOWN else []
        return "\n".join([*shown, *more]) or "no images"


def inert(text):
    """The text for a spreadsheet's cell, where a leading `=`, `+`, `-` or `@` would start a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _write(path, text):
    with replacing(from_user(path, utf8=False)) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")

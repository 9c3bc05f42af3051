"""Decisions about labels: a journal that only grows, and the manifest that follows from it.

Every decision is appended to the journal and synchronized with the disk before the manifest is replaced, so a
process that is killed at any moment loses nothing: the next start reads the journal and writes the manifest
again. The journal also says who decided what and when.
"""

import contextlib
import dataclasses
import datetime
import errno
import getpass
import json
import os
import threading

from recycle_tf import options
from recycle_tf.data import splits
from recycle_tf.errors import UserError
from recycle_tf.files import lock, replacing, writing

ACTIONS = ("keep", "move", "drop")
"""The label is right; the image belongs to another class; the image is left out of the manifest."""


class InvalidDecisionError(ValueError):
    """A decision that makes no sense, e.g. a class that does not exist."""


@dataclasses.dataclass(frozen=True)
class Decision:
    """What was decided about an image.

    Attributes:
        action: one of `ACTIONS`.
        label: its class from now on; None if it is dropped.
    """

    action: str
    label: str | None


class Decisions:
    """The decisions of a review, on disk.

    Args:
        review: an `images.Review`.
        out: `pathlib.Path` of the manifest to write, `NAME.csv`; the journal is `NAME.decisions.jsonl`.

    Raises:
        UserError: the manifest exists and no review wrote it, the journal is damaged or belongs to other
            images, or another process is reviewing.
    """

    def __init__(self, review, out):
        self.out = out
        self.journal = journal_of(out)
        self._review = review
        self._index = {image.name: number for number, image in enumerate(review.images)}
        self._current = {}
        self._earlier = []
        self._mutex = threading.Lock()
        self._user = _user()
        if out.exists() and not self.journal.exists():
            raise UserError(f"`out={out}`: exists and was not written by a review; choose another name")
        with contextlib.ExitStack() as opened, writing(f"`out={out}`"):
            # Unbuffered: what could not be written must not be written later.
            self._file = opened.enter_context(open(self.journal, "a+b", buffering=0))
            try:
                lock(self._file)
            except (BlockingIOError, PermissionError) as error:
                raise UserError(f"`out={out}`: another process is reviewing into it") from error
            self._replay()
            self._write_manifest()
            opened.pop_all()  # It stays open, and locked, until `close`.

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Releases the journal for other processes."""
        self._file.close()

    def of(self, index):
        """The `Decision` about an image, by its index; None if there is none yet."""
        return self._current.get(index)

    def __len__(self):
        return len(self._current)

    def decide(self, index, action, label=None):
        """Saves a decision; it replaces an earlier one about the same image.

        Args:
            index: of the image.
            action: one of `ACTIONS`.
            label: the class to move it to; None otherwise.

        Returns:
            The `Decision`.

        Raises:
            InvalidDecisionError: no such image, action or class, or a new image that is kept without a class.
            OSError: it could not be saved.
        """
        if not (type(index) is int and 0 <= index < len(self._review.images)):
            raise InvalidDecisionError("no such image")
        own = self._review.images[index].label
        if action not in ACTIONS or (action == "move" and label not in self._review.labels):
            raise InvalidDecisionError("no such action or class")
        if action == "keep" and own is None:
            raise InvalidDecisionError("a new image has no label to keep")
        decision = Decision(action, {"keep": own, "move": label, "drop": None}[action])
        with self._mutex:
            start = self._append(index, {"decision": action, "label": decision.label})
            self._set(index, decision)
            try:
                self._write_manifest()
            except OSError:
                self._take_back(index)
                self._cut(start)
                raise
        return decision

    def undo(self):
        """Takes the last decision back.

        Returns:
            Index of its image; None if there is nothing to undo.

        Raises:
            OSError: it could not be saved.
        """
        with self._mutex:
            if not self._earlier:
                return None
            index = self._earlier[-1][0]
            start = self._append(index, {"decision": "undo"})
            decision = self._current[index]
            self._take_back(index)
            try:
                self._write_manifest()
            except OSError:
                self._set(index, decision)
                self._cut(start)
                raise
        return index

    def rows(self):
        """Rows of the manifest: what was not dropped and has a label.

        Yields:
            `(image, label, split, content hash)`, as `splits.write_manifest` takes them.
        """
        for index, image in enumerate(self._review.images):
            decision = self._current.get(index)
            label = decision.label if decision else image.label
            if label is not None:
                yield image.name, label, image.split, image.digest

    def _set(self, index, decision):
        self._earlier.append((index, self._current.get(index)))
        self._current[index] = decision

    def _take_back(self, index):
        """Takes the last decision about an image back.

        It need not be the last of all: in a journal, those about files that were away then may follow.
        """
        place = max(place for place, (other, _) in enumerate(self._earlier) if other == index)
        _, before = self._earlier.pop(place)
        if before is None:
            del self._current[index]
        else:
            self._current[index] = before

    def _append(self, index, entry):
        """Writes a line to the journal; returns where it begins."""
        image = self._review.images[index]
        now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        about = {"image": image.name, "sha256": image.digest, "split": image.split, "before": image.label}
        line = json.dumps({"time": now, "by": self._user, **about, **entry}, ensure_ascii=False) + "\n"
        start, content = self._file.seek(0, os.SEEK_END), line.encode("utf-8")
        try:
            if self._file.write(content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file.fileno())
        except OSError:
            self._cut(start)
            raise
        return start

    def _cut(self, start):
        """Removes a line that does not count; half of one would make the journal unreadable."""
        with contextlib.suppress(OSError):
            self._file.truncate(start)

    def _write_manifest(self):
        with replacing(self.out) as temporary:
            splits.write_manifest(temporary, self.rows())

    def _replay(self):
        """Reads the journal; removes a last line that a killed process did not finish."""
        self._file.seek(0)
        content = self._file.read()
        complete = content.rfind(b"\n") + 1
        if complete < len(content):
            self._file.truncate(complete)
        for number, line in enumerate(content[:complete].splitlines(), 1):
            try:
                entry = json.loads(line)
                image, digest, action = (entry[key] for key in ("image", "sha256", "decision"))
                if not isinstance(image, str):
                    raise TypeError("expected the name of an image")
                index, label = self._index.get(image), entry.get("label")
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise UserError(f"{self.journal}, line {number}: damaged, not a decision") from error
            if index is None and (self.out.parent / image).is_file():
                raise UserError(
                    f"{self.journal}, line {number}: is about {image}, which is not among these images; give "
                    f"the same `dataset` and `inbox` as before, or another `out`"
                )
            # Of a file that was deleted or has changed since, nothing is decided.
            if index is None or self._review.images[index].digest != digest:
                continue
            if action == "undo" and index in self._current:
                self._take_back(index)
            elif action in ACTIONS and (label is None or label in self._review.labels):
                self._set(index, Decision(action, label))
            else:
                raise UserError(f"{self.journal}, line {number}: damaged, not a decision")


def journal_of(out):
    """`reviewed.decisions.jsonl` beside `reviewed.csv`."""
    return out.with_name(f"{out.stem}.decisions.jsonl")


def earlier_splits(out):
    """`{image: split}` of an earlier sitting of the same review: of its manifest, and of what was dropped.

    Args:
        out: `pathlib.Path` of the manifest.
    """
    if not (journal_of(out).exists() and out.exists()):
        return {}
    found = {}
    for line in journal_of(out).read_text(encoding="utf-8", errors="replace").splitlines():
        # What is damaged is named when the journal is read.
        with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
            entry = json.loads(line)
            if entry["split"] in options.SPLITS:
                found[entry["image"]] = entry["split"]
    return found | {image: split for image, (_, split) in splits.stored(out).items()}


def _user():
    """Name of the user; the number where the system has no name for it, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return str(os.getuid())

"""The images of a review: those of a dataset, those of an inbox, and the reasons to look at them."""

import dataclasses
import json
import pathlib

from recycle_tf.data import decode, parallel, splits
from recycle_tf.errors import UserError
from recycle_tf.paths import from_user, is_one_line
from recycle_tf.review import unpack
from recycle_tf.review.decisions import earlier_splits

INBOX_SPLIT = "train"
"""Split of new images: the test split stays as it is, so that runs before and after remain comparable."""

HARMLESS = ("sideways", "wrong_extension", "ignored")
"""Kinds of audit findings that no decision about a label changes."""

SUSPECT = "label_error"
"""Kind of the findings whose first file alone is in doubt; the others are there to compare with."""

MAX_OTHERS = 8
"""Images that one is compared with on the page; a group of near-duplicates may have thousands."""


@dataclasses.dataclass(frozen=True)
class ReviewImage:
    """One image that can be reviewed.

    Attributes:
        name: path relative to the folder of the manifest that the review writes, with `/`.
        file: where it is.
        root: the folder of the dataset or the inbox; the file is read only while it lies inside.
        label: its class before the review; None for a new image.
        split: train, validation or test.
        digest: `splits.content_hash` of its bytes.
    """

    name: str
    file: pathlib.Path
    root: pathlib.Path
    label: str | None
    split: str
    digest: str


@dataclasses.dataclass(frozen=True)
class Reason:
    """Why an image is to be reviewed.

    Attributes:
        kind: of the audit's finding, e.g. `two_labels`; `in_dataset` for a new image that is a copy.
        detail: one line for people.
        others: indices of the images to compare with.
        suggested: the class that it probably has; None if there is no suggestion.
        probability: of that class, 0..1; None if there is no suggestion.
    """

    kind: str
    detail: str
    others: tuple = ()
    suggested: str | None = None
    probability: float | None = None


@dataclasses.dataclass(frozen=True)
class Review:
    """What is reviewed, in which order.

    Attributes:
        labels: names of the classes.
        images: every `ReviewImage` of the dataset, then those of the inbox.
        order: indices of the images to show, most important first.
        reasons: `{index: [Reason]}`.
    """

    labels: tuple
    images: tuple
    order: tuple
    reasons: dict


def collect(source, out, findings=None, inbox=None, drawn=False):
    """Collects what is to be reviewed.

    With findings or an inbox these are shown, new images last; otherwise every image of the dataset.

    Args:
        source: the `data.sources.Source` of a folder or a manifest.
        out: `pathlib.Path` of the manifest that will be written.
        findings: path of the `audit.json` of the same dataset; or None.
        inbox: path of a folder of new images, or of a `.zip`, which is unpacked beside `out`; or None.
        drawn: whether the split of the dataset was drawn when it was opened: images of an earlier sitting
            keep theirs, also when others have been added.

    Returns:
        A `Review`.

    Raises:
        UserError: the dataset is not a folder or a manifest, a path that the manifest could not name, an
            inbox without images, one that `unpack` rejects, or findings that are damaged or of another
            dataset.
    """
    if source.root is None:
        raise UserError(f"{source.name}: only a folder or a .csv can be reviewed")
    prefix = splits.manifest_prefix(out, source.root, "out")
    rows = source.manifest()
    root = source.root.resolve()
    earlier = earlier_splits(out) if drawn else {}
    images = [
        ReviewImage(prefix + name, root / name, root, label, earlier.get(prefix + name, split), digest)
        for name, label, split, digest in rows
    ]
    known = {name: index for index, (name, *_) in enumerate(rows)}
    reasons = _reasons(findings, known) if findings else _faults(source, known)
    order = list(reasons) if findings or inbox else list(range(len(images)))
    if inbox:
        copies = {image.digest: index for index, image in enumerate(images)}
        for image in _inbox(out, from_user(inbox, "inbox"), {image.file for image in images}):
            if (copy := copies.get(image.digest)) is not None:
                reasons[len(images)] = [Reason("in_dataset", "the same bytes", (copy,))]
            order.append(len(images))
            images.append(image)
    return Review(source.labels, tuple(images), tuple(order), reasons)


def _inbox(out, folder, known):
    """The images in a folder or archive of new photographs, by name, without files that the dataset has."""
    if folder.suffix.lower() == ".zip" and folder.is_file():
        archive, folder = folder, out.parent / folder.stem
        unpack.unpack(archive, folder)
    if not folder.is_dir():
        raise UserError(f"`inbox={folder}`: no such folder or .zip")
    prefix, root = splits.manifest_prefix(out, folder, "out"), folder.resolve()
    files = [
        file
        for file in sorted(decode.images_in(root))
        if file.is_file()
        and file.resolve().is_relative_to(root)
        and is_one_line(str(file.relative_to(root)))
        and file not in known
    ]
    if not files:
        raise UserError(f"`inbox={folder}`: no new images in this folder")
    digests = parallel.each(lambda file: splits.content_hash(file.read_bytes()), files, "reading")
    return [
        ReviewImage(prefix + file.relative_to(root).as_posix(), file, root, None, INBOX_SPLIT, digest)
        for file, digest in zip(files, digests, strict=True)
    ]


def _faults(source, known):
    """`{index: [Reason]}` of what was wrong when the dataset was opened, e.g. files that have changed."""
    return {
        known[fault.file]: [Reason(fault.kind, fault.detail)]
        for fault in source.faults
        if fault.file in known and fault.kind not in HARMLESS
    }


def _reasons(path, known):
    """`{index: [Reason]}` of the findings in an `audit.json`, in the order of the findings."""
    found = {}
    for finding in _read_findings(path):
        kind, files = finding["kind"], [file for file in finding["files"] if file in known]
        suspect = kind == SUSPECT
        one_label = len(files) > 1 and len(set(finding["labels"])) == 1
        if not files or kind in HARMLESS or (one_label and not suspect):
            continue
        if suspect and files[0] != finding["files"][0]:
            continue
        for file in files[:1] if suspect else files:
            others = tuple(known[other] for other in files[: MAX_OTHERS + 1] if other != file)[:MAX_OTHERS]
            reason = Reason(
                kind, finding["detail"], others, finding.get("suggested"), finding.get("probability")
            )
            found.setdefault(known[file], []).append(reason)
    if not found:
        raise UserError(f"`findings={path}`: has nothing to review in this dataset")
    return found


def _read_findings(path):
    """The findings of an `audit.json`, their types checked."""
    try:
        content = json.loads(from_user(path, "findings").read_text(encoding="utf-8"))
        findings = content["findings"]
        for finding in findings:
            texts = [finding["kind"], finding["detail"], *finding["files"], *finding["labels"]]
            suggested, probability = finding.get("suggested"), finding.get("probability")
            if not all(isinstance(text, str) for text in texts):
                raise TypeError("a finding is not made of texts")
            if not isinstance(suggested, str | None) or not isinstance(probability, float | int | None):
                raise TypeError("a suggestion is not a class with its probability")
    except OSError as error:
        raise UserError(f"`findings={path}`: cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(f"`findings={path}`: not an audit.json that the audit wrote") from error
    return findings

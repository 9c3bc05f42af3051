"""Which images a dataset consists of: those in class folders, or the rows of a CSV manifest.

Only names are looked at here; `checks` opens the files.
"""

import dataclasses
import os
import pathlib
import posixpath
import stat

from recycle_tf import options
from recycle_tf.data import decode, splits
from recycle_tf.errors import UserError
from recycle_tf.paths import is_one_line, printable
from recycle_tf.remote import RemotePath

ALL = "all"
"""The split of examples that are not split."""

OUTSIDE = "a link that leads out of the folder"
"""Why a path that leaves its dataset's folder is not used."""

A_FOLDER = "a folder"
"""Why a path that is named like an image and is a folder is not used; its files are."""

_SPLIT_OF_FOLDER = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
}


@dataclasses.dataclass(frozen=True)
class Fault:
    """A file that was left out or has a problem.

    Attributes:
        kind: a key of `checks.UNUSABLE` or `checks.UNUSUAL`, `"ignored"`, or `"small_class"`.
        file: its path relative to the dataset's folder; for `"small_class"` the name of the class.
        detail: what is wrong, in a few words.
        line: its line in the manifest; None without one.
    """

    kind: str
    file: str
    detail: str
    line: int | None = None


@dataclasses.dataclass(frozen=True)
class Listing:
    """The images of a dataset, by name.

    Attributes:
        root: the folder that names are relative to.
        rows: `{image: (label, split)}`; the split of a folder without one is `ALL`.
        faults: files with a problem that their names or the manifest show; they are not in `rows`.
        ignored: files that were left out because they are not images.
        manifest: path of the CSV, or None.
        lines: `{image: line number}` of the manifest.
        hashes: `{image: content hash}` of the manifest's rows that have one.
    """

    root: pathlib.Path | RemotePath
    rows: dict
    faults: tuple
    ignored: tuple = ()
    manifest: pathlib.Path | None = None
    lines: dict = dataclasses.field(default_factory=dict)
    hashes: dict = dataclasses.field(default_factory=dict)

    def place(self, fault):
        """Where a fault is, for a message: the file, or the manifest's line."""
        if fault.line:
            return f"{self.manifest}, line {fault.line}: {fault.file}"
        return printable(self.root / fault.file)


def from_folder(root, unsplit=False, partial=False):
    """Lists a folder with one subfolder per class, which may lie inside split folders.

    Split folders are `train/`, `validation/` (or `val/` or `valid/`) and `test/`. A folder is divided into
    them if it has a `train/`; with `unsplit` also if all of its subfolders are split folders with class
    folders in them. Other folders beside them, and images beside class folders, are listed as ignored.

    Args:
        root: the folder.
        unsplit: whether a single class, and a folder without `train/`, are accepted.
        partial: whether it is one of several sources: a single class, and classes without training images,
            are accepted.

    Raises:
        UserError: there are no class folders, an empty one, a single one, a class without a training image,
            or a folder that cannot be read.
    """
    rows, faults, labels = {}, [], set()
    try:
        folders = _split_folders(root, unsplit)
        for folder, split in folders:
            for name, label, problem in _walk(folder, root, min_classes=1 if unsplit or partial else 2):
                if problem:
                    faults.append(Fault("ignored", printable(name), problem))
                    continue
                labels.add((label, split))
                if is_one_line(name):
                    rows[name] = label, split
                else:
                    faults.append(_unusable_name(name))
        faults += _beside(root, [folder for folder, _ in folders])
    except OSError as error:
        raise UserError(f"{printable(error.filename)}: cannot be read ({error.strerror})") from error
    if not (unsplit or partial):
        _require_training_images(labels, root)
    ignored = tuple(printable(root / fault.file) for fault in faults if fault.kind == "ignored")
    return Listing(root, rows, tuple(faults), ignored)


def from_manifest(path, root, unsplit=False, partial=False, source=None):
    """Lists the files in a CSV manifest.

    Args:
        path: the CSV, as in `splits.read_manifest`.
        root: the folder that its paths are relative to.
        unsplit: whether the column `split` may be missing, splits may be empty, and a class may lack training
            images.
        partial: whether it is one of several sources: splits may be empty, and a class may lack training
            images.
        source: only rows of this source; see `splits.read_manifest`.

    Raises:
        UserError: an invalid CSV, an image that is listed twice, a path that leaves `root`, a split without
            examples, or a class without a training image.
    """
    rows, faults, lines, hashes, seen, labels = {}, [], {}, {}, {}, set()
    problem_of = _remote_problem if isinstance(root, RemotePath) else _problems(root)
    manifest = splits.read_manifest(path, ALL if unsplit else None, source)
    for line, (image, label, split, digest) in manifest.items():
        # `./a.jpg` and `b/../a.jpg` are `a.jpg`.
        key = posixpath.normpath(image)
        # The same text is kept once.
        key = image if key == image else key
        if key in seen:
            raise UserError(f"{path}, line {line}: {printable(image)} is in line {seen[key]} already")
        seen[key] = line
        labels.add((label, split))
        problem = problem_of(image)
        if problem == OUTSIDE:
            raise UserError(f"{path}, line {line}: {image} lies outside {root}")
        if problem:
            faults.append(Fault("missing", printable(image), problem, line))
        elif not is_one_line(image):
            faults.append(_unusable_name(image, line))
        else:
            rows[image], lines[image] = (label, split), line
            if digest:
                hashes[image] = digest
    if not (unsplit or partial):
        for split in options.SPLITS:
            if split not in {part for _, part in labels}:
                raise UserError(f"{path}: no example in the split {split!r}")
        _require_training_images(labels, path)
    return Listing(root, rows, tuple(faults), (), path, lines, hashes)


def with_split(found, stored, method, seed):
    """Gives the images of a listing the split that an earlier run has stored.

    Images that are new since then are split as those of a folder are, unless they have a split of their own.
    In a grouped split they are training images: they may belong to groups that are there already.

    Args:
        found: a `Listing`.
        stored: rows of the run's manifest, `{image: (label, split)}`.
        method: one of `options.SPLIT_METHODS`.
        seed: of the split of new images.

    Returns:
        A `Listing`.

    Raises:
        UserError: a class is new and has too few images for every split.
    """
    rows = {
        image: (label, stored[image][1] if image in stored else split)
        for image, (label, split) in found.rows.items()
    }
    new = [image for image, (_, split) in rows.items() if split == ALL]
    wanted = tuple(splits.SHARES) if method == "stratified" else ()
    known = {label for image, (label, _) in rows.items() if image in stored}
    # Raises if a class is new and too small; of a known one, a single image may be added.
    splits.stratified([rows[image][0] for image in new if rows[image][0] not in known], seed, wanted)
    drawn = splits.stratified([rows[image][0] for image in new], seed, wanted, strict=False)
    rows |= {image: (rows[image][0], split) for image, split in zip(new, drawn, strict=True)}
    return dataclasses.replace(found, rows=rows)


def _split_folders(root, unsplit):
    """`(folder, split)` of the folders that hold class folders."""
    found = {name: root / name for name in _SPLIT_OF_FOLDER if (root / name).is_dir()}
    divided = "train" in found
    if unsplit and found and not divided:
        others = [folder for folder in _subfolders(root) if folder.name not in found]
        divided = not others and all(map(_subfolders, found.values()))
    if not divided:
        return [(root, ALL)]
    return [(folder, _SPLIT_OF_FOLDER[name]) for name, folder in found.items()]


def _beside(root, folders):
    """Faults of images that lie beside class folders, and of folders that lie beside split folders."""
    for place in dict.fromkeys([root, *folders]):
        for entry in _entries(place):
            name = entry.name if place == root else f"{place.name}/{entry.name}"
            if entry.name.startswith(".") or root / name in folders:
                continue
            is_folder = _is_folder(entry, place)
            if is_folder and place not in folders:
                yield Fault("ignored", printable(name), "a folder beside the split folders")
            elif not is_folder and _has_image_suffix(entry.name):
                yield Fault("ignored", printable(name), "in no class folder")


def _subfolders(folder):
    """The folders in a folder, by name."""
    return [
        folder / entry.name
        for entry in _entries(folder)
        if not entry.name.startswith(".") and _is_folder(entry, folder)
    ]


def _entries(folder):
    """What is in a folder, by name: an `os.DirEntry` or a `remote.Entry` each."""
    found = folder.entries() if isinstance(folder, RemotePath) else os.scandir(folder)
    return sorted(found, key=lambda entry: entry.name)


def _is_folder(entry, folder):
    """Whether it is a folder or a link to one."""
    return entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and (folder / entry.name).is_dir())


def _walk(folder, root, min_classes):
    """`(name, class name, problem)` of the files in the class folders; the problem of an image is None.

    A link that leads out of `root` is not followed: what it leads to is not part of the dataset.
    """
    classes = _subfolders(folder)
    if not classes:
        raise UserError(f"{printable(folder)}: no class folders; expected one subfolder of images per class")
    if len(classes) < min_classes:
        only = printable(classes[0].name)
        raise UserError(f"{printable(folder)}: only one class folder, {only}; at least two are needed")
    inside = root.resolve()
    for class_folder in classes:
        problems = set()
        above = "" if folder == root else f"{folder.name}/"
        for name, problem in _files(class_folder, f"{above}{class_folder.name}", inside):
            problems.add(problem)
            yield name, class_folder.name, problem
        if None not in problems:
            hint = "; links that lead out of the dataset's folder are not followed" * (OUTSIDE in problems)
            hint += f"; convert its files, which are {decode.HEIC}" * (decode.HEIC in problems)
            raise UserError(
                f"{printable(class_folder)}: no images in this class folder; add some or remove it{hint}"
            )


def _files(folder, name, inside):
    """`(name, problem)` of the files in a folder called `name`, and of those in its folders, in order."""
    remote = isinstance(folder, RemotePath)
    within = remote or folder.resolve().is_relative_to(inside)
    for entry in _entries(folder):
        path, is_image_name = f"{name}/{entry.name}", _has_image_suffix(entry.name)
        # Another machine would have to be asked for each.
        named_alone = remote and is_image_name and not entry.marked
        is_file = named_alone or entry.is_file(follow_symlinks=False)
        is_folder = not is_file and entry.is_dir(follow_symlinks=False)
        if not entry.name.startswith(".") and (is_image_name or not is_folder):
            # What is no link and lies in a folder that is inside needs no further look.
            problem = None
            if not (is_file and within):
                problem = A_FOLDER if remote else _problem(folder / entry.name, inside)
            yield path, problem or _problem_of_name(entry.name)
        # Thumbnails and deleted photographs, for example, are in hidden folders.
        if not entry.name.startswith(".") and is_folder:
            yield from _files(folder / entry.name, path, inside)


def _has_image_suffix(name):
    return os.path.splitext(name)[1].lower() in decode.SUFFIXES


def _problem_of_name(name):
    """Why a file of this name is left out, or None."""
    if os.path.splitext(name)[1].lower() in decode.HEIC_SUFFIXES:
        return decode.HEIC
    return None if _has_image_suffix(name) else "not named like an image"


def _require_training_images(labels, place):
    """Raises a `UserError` if a class of `labels`, `(label, split)` pairs, is not trained."""
    trained = {label for label, split in labels if split in ("train", ALL)}
    for label, split in sorted(labels):
        if label not in trained:
            raise UserError(f"{place}: class {label!r} has images in {split}, but none in train")


def _remote_problem(image):
    """Why the name of an image in a remote folder is not used; whether there is one, reading it shows."""
    name = posixpath.normpath(image)
    return OUTSIDE if name.startswith(("/", "../")) or name in (".", "..") else None


def _problems(root):
    """Function from the name of an image in a folder to why it is not used; see `_problem`."""
    inside, within, above = root.resolve(), {}, str(root)

    def problem(image):
        folder, name = os.path.split(image)
        try:
            plain = name not in ("", ".", "..") and stat.S_ISREG(os.lstat(os.path.join(above, image)).st_mode)
        except (OSError, ValueError):
            plain = False
        if plain and folder not in within:
            within[folder] = (root / folder).resolve().is_relative_to(inside)
        # What is no link and lies in a folder that is inside needs no further look.
        return None if plain and within[folder] else _problem(root / image, inside)

    return problem


def _problem(path, inside):
    """Why `path` is not a file in the folder `inside`, which has no links in it; None if it is one."""
    try:
        if "\0" in str(path):
            return "no such file"
        if path.is_symlink() and not path.exists():
            return "a broken link"
        if not path.resolve().is_relative_to(inside):
            return OUTSIDE
        if path.is_dir():
            return A_FOLDER
        if not path.exists():
            return "no such file"
        return None if path.is_file() else "not a regular file"
    except (OSError, RuntimeError) as error:
        return f"not a valid path ({getattr(error, 'strerror', error)})"


def _unusable_name(name, line=None):
    detail = "the name is not UTF-8 or has a control character in it"
    return Fault("unusable_name", printable(name), detail, line)

"""TrashNet: photographs of waste in six classes, with the split of its authors."""

import hashlib
import io
import zipfile
import zlib
from collections import Counter

import tensorflow_datasets as tfds
from etils import epath

# In the order of the ids in the authors' lists, which start at 1.
_LABELS = ("glass", "paper", "cardboard", "plastic", "metal", "trash")

_ARCHIVE = "dataset-resized.zip"
_LISTS = {
    "train": "one-indexed-files-notrash_train.txt",
    "validation": "one-indexed-files-notrash_val.txt",
    "test": "one-indexed-files-notrash_test.txt",
}

# The authors have changed their split once: the lists are pinned to the commit that has this one.
_ORIGIN = "https://raw.githubusercontent.com/garythung/trashnet"
_LISTS_COMMIT = "dcc3071376fcd62b07cead020ddfdd112adfac44"
_URLS = {
    _ARCHIVE: f"{_ORIGIN}/master/data/{_ARCHIVE}",
    **{name: f"{_ORIGIN}/{_LISTS_COMMIT}/data/{name}" for name in _LISTS.values()},
}

# Git's ids of these files at the origin: the SHA-1 of "blob SIZE\0" and the bytes.
_GIT_BLOBS = {
    _ARCHIVE: "4184b4e9d359026a49e5d34ac2cead944f53be88",
    _LISTS["train"]: "bde50c40a6b807bfdab753683da699ce67ca415b",
    _LISTS["validation"]: "f6799c14ce93cf80250f4ebfd912ab0d95cce5d4",
    _LISTS["test"]: "70c8172226a54798db69f47d3af66686944b6713",
}

# Three photographs are in the archive twice, byte for byte, under two labels. These are the copies that
# `clean` leaves out. All of them are in train or validation: the test split has the same 431 photographs in
# both configs, and results on it are comparable.
_MISLABELED = frozenset(
    {
        "metal91.jpg",  # the same as glass115.jpg: a glass bottle, from above
        "plastic332.jpg",  # the same as glass389.jpg: a glass bottle with its label
        # The same as plastic152.jpg, a test example, so that it would be trained on. A close-up that is
        # hard to identify, but the wall at the right is creased like thin plastic.
        "glass176.jpg",
    }
)


class Builder(tfds.core.GeneratorBasedBuilder):
    """TrashNet, from TFDS's manual directory or from its origin.

    The JPEG files are copied, never encoded again.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "The authors' split; configs `official` and `clean`."}
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="official", description="All 2,527 files, as published."),
        tfds.core.BuilderConfig(
            name="clean",
            description="Without the three files that repeat another one under a wrong label.",
        ),
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "official"
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Not needed if https://github.com/garythung/trashnet can be reached. Otherwise put these four files "
        f"of its `data/` folder here: {', '.join(_URLS)}."
    )

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                    "label": tfds.features.ClassLabel(names=_LABELS),
                    "id": tfds.features.Text(),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://github.com/garythung/trashnet",
            license="MIT",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        files = _manual_files(dl_manager) or _downloaded_files(dl_manager)
        archive = files[_ARCHIVE]
        splits = {split: _read_list(files[name]) for split, name in _LISTS.items()}
        _check_archive(archive, [example for split in splits.values() for example in split])
        return {split: self._generate_examples(archive, examples) for split, examples in splits.items()}

    def _generate_examples(self, archive: epath.Path, examples: list[tuple[str, str]]):
        with archive.open("rb") as file, zipfile.ZipFile(file) as members:
            for name, label in examples:
                if self.builder_config.name == "clean" and name in _MISLABELED:
                    continue
                image = _read_member(archive, members, _member(name, label))
                yield name, {"image": io.BytesIO(image), "label": label, "id": name}


def _manual_files(dl_manager: tfds.download.DownloadManager) -> dict[str, epath.Path] | None:
    """The four files in the manual directory, or None if none of them is there."""
    try:
        directory = epath.Path(dl_manager.manual_dir)
    except AssertionError:  # TFDS: the directory is missing or empty
        return None
    missing = [name for name in _URLS if not (directory / name).exists()]
    if len(missing) == len(_URLS):
        return None
    if missing:
        raise ValueError(
            f"{directory}: {', '.join(missing)} missing; put all of {', '.join(_URLS)} there, or none of "
            "them to have them downloaded"
        )
    return {name: directory / name for name in _URLS}


def _downloaded_files(dl_manager: tfds.download.DownloadManager) -> dict[str, epath.Path]:
    """The four files from their origin, each verified by its git id."""
    files = {name: epath.Path(path) for name, path in dl_manager.download(_URLS).items()}
    for name, path in files.items():
        found = _git_blob(path.read_bytes())
        if found != _GIT_BLOBS[name]:
            raise ValueError(
                f"{path}: not TrashNet's {name} (its git blob id is {found}, expected {_GIT_BLOBS[name]}); "
                "delete it to have it downloaded again"
            )
    return files


def _git_blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _read_list(path: epath.Path) -> list[tuple[str, str]]:
    """(file name, label) pairs from lines such as `paper70.jpg 2`."""
    examples = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        name, _, label_id = line.partition(" ")
        if label_id not in ("1", "2", "3", "4", "5", "6"):
            raise ValueError(
                f"{path}, line {number}: {line!r} is not a file name and a label from 1 to 6, for example "
                "'paper70.jpg 2'"
            )
        examples.append((name, _LABELS[int(label_id) - 1]))
    return examples


def _member(name: str, label: str) -> str:
    return f"dataset-resized/{label}/{name}"


def _check_archive(archive: epath.Path, examples: list[tuple[str, str]]) -> None:
    """Checks that each listed file is in the archive exactly once; other files do not matter.

    Raises:
        ValueError: it is not, or the archive is damaged.
    """
    try:
        with archive.open("rb") as file, zipfile.ZipFile(file) as members:
            times = Counter(members.namelist())
    except zipfile.BadZipFile as error:
        raise ValueError(f"{archive}: not a zip archive ({error}); download it again") from error
    for name, label in examples:
        member = _member(name, label)
        if times[member] != 1:
            raise ValueError(
                f"{archive}: contains {member} {times[member]} times; expected each file in the lists once"
            )


def _read_member(archive: epath.Path, members: zipfile.ZipFile, member: str) -> bytes:
    try:
        return members.read(member)
    except (zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{archive}: {member} is damaged ({error}); download it again") from error

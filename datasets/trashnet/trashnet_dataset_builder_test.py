"""Tests of TrashNet's builder: both configs, manual and downloaded files, and errors in them.

The dummy data has the layout of the original: drawings instead of photographs, the resource entries that
macOS adds to a zip, and the three files that occur twice.
"""

import zipfile
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from . import trashnet_dataset_builder as builder

_DUMMY = Path(__file__).parent / "dummy_data"
_NAMES = tuple(path.name for path in sorted(_DUMMY.iterdir()))
_ARCHIVE = "dataset-resized.zip"
_TRAIN_LIST = "one-indexed-files-notrash_train.txt"


class OfficialTest(tfds.testing.DatasetBuilderTestCase):
    """TFDS's tests of a builder, with everything as published."""

    DATASET_CLASS = builder.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["official"]
    SPLITS = {"train": 7, "validation": 2, "test": 3}


class CleanTest(tfds.testing.DatasetBuilderTestCase):
    """The same without the three wrong copies."""

    DATASET_CLASS = builder.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["clean"]
    SPLITS = {"train": 5, "validation": 1, "test": 3}


@pytest.fixture
def files(tmp_path):
    """A folder with the four files, which a test may damage."""
    folder = tmp_path / "files"
    folder.mkdir()
    for name in _NAMES:
        (folder / name).write_bytes((_DUMMY / name).read_bytes())
    return folder


@pytest.fixture
def origin(files, monkeypatch):
    """Makes TFDS find the four files at their origin, with their git ids."""
    monkeypatch.setattr(
        builder, "_GIT_BLOBS", {name: builder._git_blob((files / name).read_bytes()) for name in _NAMES}
    )
    monkeypatch.setattr(
        tfds.download.DownloadManager, "download", lambda self, urls: {name: files / name for name in urls}
    )
    return files


def _build(tmp_path, config="official", manual_dir=None):
    made = builder.Builder(data_dir=tmp_path / "data", config=config)
    made.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual_dir))
    return made


def _ids(made, split):
    return {example["id"].decode() for example in tfds.as_numpy(made.as_dataset(split=split))}


def test_official_is_the_default_config(tmp_path):
    assert builder.Builder(data_dir=tmp_path).builder_config.name == "official"


def test_files_are_downloaded_without_a_manual_directory(tmp_path, origin):
    made = _build(tmp_path)
    assert _ids(made, "test") == {"plastic152.jpg", "metal1.jpg", "cardboard2.jpg"}
    assert {split: info.num_examples for split, info in made.info.splits.items()} == {
        "train": 7,
        "validation": 2,
        "test": 3,
    }


def test_clean_leaves_out_the_wrong_copies_and_keeps_the_test_split(tmp_path, files):
    official = _build(tmp_path, "official", files)
    clean = _build(tmp_path, "clean", files)
    assert _ids(official, "train") - _ids(clean, "train") == {"metal91.jpg", "glass176.jpg"}
    assert _ids(official, "validation") - _ids(clean, "validation") == {"plastic332.jpg"}
    assert _ids(official, "test") == _ids(clean, "test")


def test_labels_follow_the_lists_and_jpeg_bytes_are_copied(tmp_path, files):
    made = _build(tmp_path, manual_dir=files)
    names = made.info.features["label"].names
    assert names == ["glass", "paper", "cardboard", "plastic", "metal", "trash"]
    undecoded = {"image": tfds.decode.SkipDecoding()}
    with zipfile.ZipFile(files / _ARCHIVE) as archive:
        for example in tfds.as_numpy(made.as_dataset(split="train", decoders=undecoded)):
            name, label = example["id"].decode(), names[example["label"]]
            assert name.startswith(label)
            assert example["image"] == archive.read(f"dataset-resized/{label}/{name}")


@pytest.mark.parametrize("name", _NAMES)
def test_a_damaged_download_is_named(tmp_path, origin, name):
    (origin / name).write_bytes((origin / name).read_bytes() + b"\n")
    with pytest.raises(ValueError, match=f"not TrashNet's {name} .*delete"):
        _build(tmp_path)


@pytest.mark.parametrize("name", _NAMES)
def test_three_of_the_four_files_are_not_enough(tmp_path, files, name):
    (files / name).unlink()
    with pytest.raises(ValueError, match=f"^{files}: {name} missing"):
        _build(tmp_path, manual_dir=files)


def test_a_listed_file_that_is_not_in_the_archive_is_named(tmp_path, files):
    with (files / _TRAIN_LIST).open("a") as train_list:
        train_list.write("glass9.jpg 1\n")
    with pytest.raises(ValueError, match="dataset-resized/glass/glass9.jpg 0 times"):
        _build(tmp_path, manual_dir=files)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_listed_file_that_is_twice_in_the_archive_is_named(tmp_path, files):
    with zipfile.ZipFile(files / _ARCHIVE, "a") as archive:
        archive.writestr("dataset-resized/paper/paper1.jpg", b"another")
    with pytest.raises(ValueError, match="dataset-resized/paper/paper1.jpg 2 times"):
        _build(tmp_path, manual_dir=files)


def test_an_archive_that_is_not_a_zip_is_named(tmp_path, files):
    """For example after an interrupted copy."""
    (files / _ARCHIVE).write_bytes((files / _ARCHIVE).read_bytes()[:2000])
    with pytest.raises(ValueError, match=f"{_ARCHIVE}: not a zip archive"):
        _build(tmp_path, manual_dir=files)


def test_a_damaged_image_is_named(tmp_path, files):
    """The zip's checksum shows it."""
    with zipfile.ZipFile(files / _ARCHIVE) as archive:
        image = archive.getinfo("dataset-resized/paper/paper1.jpg")
    content = bytearray((files / _ARCHIVE).read_bytes())
    content[image.header_offset + len(image.filename) + 200] ^= 0xFF
    (files / _ARCHIVE).write_bytes(content)
    with pytest.raises(ValueError, match="dataset-resized/paper/paper1.jpg is damaged"):
        _build(tmp_path, manual_dir=files)


@pytest.mark.parametrize("line", ["paper1.jpg", "paper1.jpg 7", "paper1.jpg 0", "paper1.jpg two"])
def test_an_invalid_line_is_named(tmp_path, files, line):
    (files / _TRAIN_LIST).write_text(f"glass115.jpg 1\n{line}\n")
    with pytest.raises(ValueError, match=f"{_TRAIN_LIST}, line 2: '{line}'"):
        _build(tmp_path, manual_dir=files)

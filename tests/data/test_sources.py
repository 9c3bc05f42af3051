"""Where examples come from."""

import hashlib
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from recycle_tf.data import sources, splits
from recycle_tf.errors import UserError
from tests.conftest import write_photos


def everything(source):
    return [example for split in source.splits.values() for example in split.ids]


def test_folder_is_split_stratified_and_seeded(photos):
    source = sources.open_source(str(photos), seed=1)
    assert source.labels == ("can", "jar", "tube")
    assert {name: len(split) for name, split in source.splits.items()} == {
        "train": 24,
        "validation": 6,
        "test": 6,
    }
    for split in source.splits.values():
        assert len(set(np.bincount(split.labels))) == 1
    assert len(set(everything(source))) == 36
    again = sources.open_source(str(photos), seed=1)
    other = sources.open_source(str(photos), seed=2)
    assert everything(again) == everything(source) != everything(other)
    assert again.fingerprint == source.fingerprint


@pytest.mark.parametrize("validation", ["validation", "val"])
def test_folder_with_its_own_split(tmp_path, validation):
    for name, count in (("train", 6), (validation, 3), ("test", 4)):
        write_photos(tmp_path / "set" / name, count=count)
    source = sources.open_source(str(tmp_path / "set"))
    assert {name: len(split) for name, split in source.splits.items()} == {
        "train": 18,
        "validation": 9,
        "test": 12,
    }
    assert all(example.startswith("test/") for example in source.splits["test"].ids)


def test_a_missing_split_is_taken_from_training(tmp_path):
    write_photos(tmp_path / "set" / "train", count=20)
    write_photos(tmp_path / "set" / "test", count=4)
    source = sources.open_source(str(tmp_path / "set"))
    assert {name: len(split) for name, split in source.splits.items()} == {
        "train": 51,
        "validation": 9,
        "test": 12,
    }
    assert all(example.startswith("train/") for example in source.splits["validation"].ids)


def test_dataset_yields_encoded_examples(photos):
    source = sources.open_source(str(photos))
    example = next(iter(source.dataset("train")))
    assert example["id"].numpy().decode() == source.splits["train"].ids[0]
    assert example["image"].numpy() == (photos / source.splits["train"].ids[0]).read_bytes()
    assert example["label"].dtype == tf.int64


def test_manifest_repeats_the_split(photos, tmp_path):
    source = sources.open_source(str(photos), seed=3)
    path = photos / "split.csv"
    splits.write_manifest(path, source.manifest())
    again = sources.open_source(str(path))
    assert everything(again) == everything(source)
    assert again.fingerprint == source.fingerprint
    write_photos(tmp_path / "more", count=2, seed=5)
    shutil.copy(tmp_path / "more" / "can" / "can0.png", photos / "can" / "new.png")
    kept = sources.open_source(str(photos), seed=3, manifest=path)
    assert everything(kept) == everything(source)


def test_fingerprint_notices_a_changed_picture(photos):
    before = sources.open_source(str(photos)).fingerprint
    with open(photos / "can" / "can0.png", "ab") as file:
        file.write(b"x")
    assert sources.open_source(str(photos)).fingerprint != before


def test_fingerprint_notices_another_picture_of_the_same_size(photos):
    before = sources.open_source(str(photos)).fingerprint
    content = bytearray((photos / "can" / "can0.png").read_bytes())
    content[-1] ^= 1
    (photos / "can" / "can0.png").write_bytes(content)
    assert sources.open_source(str(photos)).fingerprint != before


def test_a_manifest_notices_a_changed_file(photos):
    path = photos / "split.csv"
    source = sources.open_source(str(photos))
    splits.write_manifest(path, source.manifest())
    first = path.read_text().splitlines()[1].split(",")
    assert first[3] == hashlib.sha256((photos / first[0]).read_bytes()).hexdigest()[:16]
    with open(photos / first[0], "ab") as file:
        file.write(b"x")
    message = error(path)
    assert f"{path}, line 2: {first[0]} has changed since this line was written" in message
    # Without hashes, files are taken as they are.
    splits.write_manifest(path, [(*row[:3], "") for row in source.manifest()])
    assert everything(sources.open_source(str(path))) == everything(source)
    path.write_text("\n".join(",".join(row[:3]) for row in [("image", "label", "split"), *source.manifest()]))
    assert everything(sources.open_source(str(path))) == everything(source)


def similar_photos(root):
    """Fifteen scenes a class, and of each of five of them three more shots: 30 pictures a class."""
    rng = np.random.default_rng(0)
    for label in ("can", "jar"):
        (root / label).mkdir(parents=True)
        for scene in range(15):
            pixels = rng.integers(0, 200, (12, 12, 3)).repeat(8, 0).repeat(8, 1)
            for shot in range(4 if scene < 5 else 1):
                shown = np.clip(pixels + 10 * shot + rng.normal(0, 5, pixels.shape), 0, 255).astype(np.uint8)
                Image.fromarray(shown).save(root / label / f"{rng.integers(10**9)}-scene{scene}.jpg")
    return root


def test_a_grouped_split_keeps_shots_of_a_scene_on_one_side(tmp_path):
    photos = similar_photos(tmp_path / "photos")

    def sides(source):
        found = {}
        for name, split in source.splits.items():
            for example in split.ids:
                scene = example.partition("/")[0], example.partition("-")[2]
                found.setdefault(scene, set()).add(name)
        return found

    grouped = sources.open_source(str(photos), split="grouped")
    assert len(sides(grouped)) == 30
    assert all(len(found) == 1 for found in sides(grouped).values())
    assert any(len(found) > 1 for found in sides(sources.open_source(str(photos))).values())
    for split in grouped.splits.values():
        assert len(set(np.bincount(split.labels, minlength=2))) == 1
    assert len(grouped.splits["test"]) == 2 * round(0.15 * 30)
    again = sources.open_source(str(photos), split="grouped")
    assert again.manifest() == grouped.manifest()
    other = sources.open_source(str(photos), split="grouped", seed=1)
    assert other.manifest() != grouped.manifest()
    assert all(len(found) == 1 for found in sides(other).values())


def test_a_damaged_picture_is_a_group_of_its_own(tmp_path):
    photos = similar_photos(tmp_path / "photos")
    cut = photos / "can" / "cut.jpg"
    cut.write_bytes(next((photos / "can").glob("*-scene0.jpg")).read_bytes()[:900])
    source = sources.open_source(str(photos), split="grouped")
    assert "can/cut.jpg" in everything(source)
    assert len(source.thumbnails) == 60


def test_other_files_are_left_out_and_listed(photos):
    (photos / "can" / "notes.txt").write_text("a note")
    (photos / "can" / ".DS_Store").write_text("a hidden file")
    (photos / "can" / "folder.jpg").mkdir()
    (photos / "can" / "nowhere.jpg").symlink_to("gone.jpg")
    (photos.parent / "mine.png").write_bytes((photos / "can" / "can0.png").read_bytes())
    (photos / "can" / "outside.png").symlink_to(photos.parent / "mine.png")
    (photos / "can" / "inside.png").symlink_to("can0.png")
    os.mkfifo(photos / "can" / "pipe.jpg")
    (photos / "can" / os.fsdecode(b"\xff.txt")).write_text("a note")
    source = sources.open_source(str(photos))
    names = ["folder.jpg", "notes.txt", "nowhere.jpg", "outside.png", "pipe.jpg"]
    assert source.ignored == (
        *(str(photos / "can" / name) for name in names),
        repr(str(photos / "can" / os.fsdecode(b"\xff.txt"))),
    )
    assert "can/inside.png" in everything(source)


def test_a_class_folder_elsewhere(photos):
    (photos / "tube").rename(photos.parent / "tube")
    (photos / "tube").symlink_to(photos.parent / "tube")
    assert "links that lead out of the data set's folder are not followed" in error(photos)


def test_builders_are_found():
    assert sources.builders() == ["recyclables_synth", "trashnet"]


def error(dataset, **arguments):
    with pytest.raises(UserError) as caught:
        sources.open_source(str(dataset), **arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_errors_of_folders(photos, tmp_path):
    assert "no such folder, and no data set of that name; did you mean trashnet?" in error("trashnett")
    (photos / "jar" / "bad.jpg").write_text("text")
    assert f"{photos / 'jar' / 'bad.jpg'}: not a picture" in error(photos)
    (photos / "jar" / "bad.jpg").unlink()
    (photos / "box").mkdir()
    assert f"{photos / 'box'}: no pictures in this class folder" in error(photos)
    write_photos(tmp_path / "one", classes=("can",))
    assert "only one class folder, can" in error(tmp_path / "one")
    (tmp_path / "none").mkdir()
    assert "no class folders" in error(tmp_path / "none")
    write_photos(tmp_path / "few", count=2)
    assert "class 'can' has 2 images: at least 3 are needed" in error(tmp_path / "few")


def test_a_class_that_is_only_tested(tmp_path):
    write_photos(tmp_path / "set" / "train")
    write_photos(tmp_path / "set" / "test", classes=("can", "box"), count=2)
    assert "class 'box' has no folder in train/" in error(tmp_path / "set")


def test_errors_of_manifests(photos, tmp_path):
    path = photos / "split.csv"
    assert "no such file" in error(path)
    path.write_text("image,label\ncan/can0.png,can\n")
    assert "no column split" in error(path)
    path.write_text("image,label,split\ncan/can0.png,can,dev\n")
    assert "line 2: split 'dev' is none of train, validation, test" in error(path)
    path.write_text("image,label,split\ncan/gone.png,can,train\n")
    assert "line 2: no such file" in error(path)
    write_photos(tmp_path / "outside", classes=("can",), count=1)
    path.write_text("image,label,split\n../outside/can/can0.png,can,train\n")
    assert "lies outside" in error(path)
    path.write_text("image,label,split\ncan/can0.png,can,train\n")
    assert "no example in the split 'validation'" in error(path)
    path.write_text("image,label,split\ncan/can0.png,can,train\n\ncan/can0.png,jar,test\n")
    assert "line 4: can/can0.png stands in line 2 already" in error(path)
    path.write_text("image,label,split\ncan/can0.png,,train\n")
    assert "line 2: image, label or split is empty" in error(path)
    path.write_text("image,label,split\ncan\0/can0.png,can,train\n")
    assert "line 2: no such file" in error(path)
    path.write_text("image,label,split,sha256\ncan/can0.png,can,train,12ab\n")
    assert "line 2: sha256 '12ab' is not 16 hexadecimal digits" in error(path)
    path.write_bytes("image,label,split\ncan/can0.png,병,train\n".encode("cp949"))
    assert "not a CSV file in UTF-8" in error(path)
    rows = "".join(f"can/can{i}.png,can,{split}\n" for i, split in enumerate(splits.SPLITS))
    path.write_text("image,label,split\n" + rows)
    assert "only one class, can" in error(path)
    path.write_text("image,label,split\n" + rows + 'jar/jar0.png,"a\nb",train\n')
    assert "has a line break in it" in error(path)


def test_a_grouped_split_where_there_is_one(photos, tmp_path):
    for name in splits.SPLITS:
        write_photos(tmp_path / "set" / name, count=2)
    assert "set has its own split, in train/" in error(tmp_path / "set", split="grouped")
    assert "--split=grouped: trashnet has its own split" in error("trashnet", split="grouped")
    path = photos / "split.csv"
    splits.write_manifest(path, sources.open_source(str(photos)).manifest())
    assert "has its own split" in error(path, split="grouped")


def test_too_few_different_pictures(photos):
    for number in range(1, 12):
        shutil.copy(photos / "can" / "can0.png", photos / "can" / f"can{number}.png")
    assert "class 'can' has 1 pictures that are no near-duplicates of others" in error(
        photos, split="grouped"
    )


def test_a_manifest_of_a_spreadsheet(photos):
    source = sources.open_source(str(photos))
    path = photos / "split.csv"
    splits.write_manifest(path, source.manifest())
    path.write_text("\ufeff" + path.read_text(), encoding="utf-8")
    assert everything(sources.open_source(str(path))) == everything(source)


def test_a_file_name_that_is_not_utf8(photos):
    (photos / "can" / "can0.png").rename(os.fsdecode(os.fsencode(photos / "can") + b"/\xff.png"))
    assert "not UTF-8" in error(photos)


def test_errors_of_builders(tmp_path, monkeypatch):
    monkeypatch.delenv(sources.MANUAL_DIR_VARIABLE, raising=False)
    assert "no such folder" in error("trashnet", manual_dir=tmp_path / "gone", data_dir=tmp_path)
    assert "has no such variant, did you mean clean?" in error("trashnet/cleaned", data_dir=tmp_path)


def test_no_network_and_no_manual_dir(tmp_path, monkeypatch):
    monkeypatch.delenv(sources.MANUAL_DIR_VARIABLE, raising=False)
    # Nothing listens on port 9: every connection is refused at once, as without a network.
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "manual").mkdir()
    assert "could not be downloaded" in error("trashnet", data_dir=tmp_path, manual_dir=tmp_path / "manual")
    message = error("trashnet", data_dir=tmp_path)
    assert "could not be downloaded" in message
    assert "--manual_dir=FOLDER" in message
    assert "recyclables_synth" in message

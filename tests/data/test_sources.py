"""Opening datasets."""

import builtins
import hashlib
import os
import shutil
import types

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from recycle_tf import options
from recycle_tf.data import audit, checks, decode, sources, splits, tfds_builders
from recycle_tf.errors import UserError
from tests.conftest import write_photos


def everything(source):
    return [example for split in source.splits.values() for example in split.ids]


def sizes(source):
    return {name: len(split) for name, split in source.splits.items()}


def test_a_folder_is_split_stratified_and_seeded(photos):
    source = sources.open_source(str(photos), seed=1)
    assert source.labels == ("can", "jar", "tube")
    assert sizes(source) == {"train": 24, "validation": 6, "test": 6}
    for split in source.splits.values():
        assert len(set(np.bincount(split.labels))) == 1
    assert len(set(everything(source))) == 36
    again = sources.open_source(str(photos), seed=1)
    other = sources.open_source(str(photos), seed=2)
    assert everything(again) == everything(source) != everything(other)
    assert again.fingerprint == source.fingerprint


@pytest.mark.parametrize(
    ("method", "validation", "test", "fingerprint"),
    [
        ("stratified", ("can/0.bmp", "jar/0.bmp"), ("can/4.bmp", "jar/4.bmp"), "50fb25e323eb58e4"),
        ("grouped", ("can/0.bmp", "jar/2.bmp"), ("can/4.bmp", "jar/3.bmp"), "0a0b4fabecafb651"),
    ],
)
def test_the_split_of_a_folder_stays_the_same(tmp_path, method, validation, test, fingerprint):
    """Earlier versions drew these splits, and runs are resumed by them."""
    root = tmp_path / "set"
    for label in ("can", "jar"):
        (root / label).mkdir(parents=True)
        for index in range(5):
            color = (40 * index, 0, 100 * (label == "can"))
            Image.new("RGB", (40, 40), color).save(root / label / f"{index}.bmp")
    source = sources.open_source(root, seed=4, split=method)
    assert source.splits["validation"].ids == validation
    assert source.splits["test"].ids == test
    assert source.fingerprint == fingerprint


@pytest.mark.parametrize("validation", ["validation", "val"])
def test_a_folder_with_its_own_split(tmp_path, validation):
    for name, count in (("train", 6), (validation, 3), ("test", 4)):
        write_photos(tmp_path / "set" / name, count=count)
    source = sources.open_source(str(tmp_path / "set"))
    assert sizes(source) == {"train": 18, "validation": 9, "test": 12}
    assert all(example.startswith("test/") for example in source.splits["test"].ids)


def test_a_missing_split_is_taken_from_training(tmp_path):
    write_photos(tmp_path / "set" / "train", count=20)
    write_photos(tmp_path / "set" / "test", count=4)
    source = sources.open_source(str(tmp_path / "set"))
    assert sizes(source) == {"train": 51, "validation": 9, "test": 12}
    assert all(example.startswith("train/") for example in source.splits["validation"].ids)


def test_dataset_yields_encoded_examples(photos):
    source = sources.open_source(str(photos))
    example = next(iter(source.dataset("train")))
    assert example["id"].numpy().decode() == source.splits["train"].ids[0]
    assert example["image"].numpy() == (photos / source.splits["train"].ids[0]).read_bytes()
    assert example["label"].dtype == tf.int64


def test_every_file_is_read_once(photos, monkeypatch):
    read, open = [], builtins.open
    monkeypatch.setattr(
        "builtins.open", lambda path, *how, **more: read.append(path) or open(path, *how, **more)
    )
    for mode in ("error", "skip", sources.REPORT):
        source = sources.open_source(photos, on_bad_image=mode)
        assert sorted(read) == sorted(str(photos / name) for name in everything(source))
        assert len(source.thumbnails) == 36
        read.clear()


def test_a_manifest_repeats_the_split(photos, tmp_path):
    source = sources.open_source(str(photos), seed=3)
    path = photos / "split.csv"
    splits.write_manifest(path, source.manifest())
    again = sources.open_source(str(path))
    assert everything(again) == everything(source)
    assert again.fingerprint == source.fingerprint
    write_photos(tmp_path / "more", count=2, seed=5)
    shutil.copy(tmp_path / "more" / "can" / "can0.png", photos / "can" / "new.png")
    for method in options.SPLIT_METHODS:
        repeated = sources.open_source(str(photos), seed=3, split=method, manifest=path)
        assert everything(repeated) == everything(source)
        assert not repeated.thumbnails


def test_the_reading_that_hashes_serves_the_search_for_leaks(photos):
    """Also for a run that repeats the split of another one: nothing is read again."""
    path = photos.parent / "split.csv"
    splits.write_manifest(path, sources.open_source(str(photos)).manifest())
    source = sources.open_source(str(photos), manifest=path, compare=True)
    expected = audit.leaks(sources.open_source(str(photos)))
    shutil.rmtree(photos)
    assert audit.leaks(source) == expected


def test_the_fingerprint_notices_a_longer_file(photos):
    before = sources.open_source(str(photos)).fingerprint
    with open(photos / "can" / "can0.png", "ab") as file:
        file.write(b"x")
    assert sources.open_source(str(photos)).fingerprint != before


def test_the_fingerprint_notices_another_image_of_the_same_size(photos):
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
    check_error(path, f"{path}, line 2", first[0], "has changed", first[3])
    # Without hashes, files are used as they are.
    splits.write_manifest(path, [(*row[:3], "") for row in source.manifest()])
    assert everything(sources.open_source(str(path))) == everything(source)
    path.write_text("\n".join(",".join(row[:3]) for row in [("image", "label", "split"), *source.manifest()]))
    assert everything(sources.open_source(str(path))) == everything(source)


def similar_photos(root):
    """Fifteen scenes per class, and of each of five of them three more shots: 30 images per class."""
    rng = np.random.default_rng(0)
    for label in ("can", "jar"):
        (root / label).mkdir(parents=True)
        for scene in range(15):
            pixels = rng.integers(0, 200, (12, 12, 3)).repeat(8, 0).repeat(8, 1)
            for shot in range(4 if scene < 5 else 1):
                shown = np.clip(pixels + 10 * shot + rng.normal(0, 5, pixels.shape), 0, 255).astype(np.uint8)
                Image.fromarray(shown).save(root / label / f"{rng.integers(10**9)}-scene{scene}.jpg")
    return root


def test_a_grouped_split_keeps_shots_of_a_scene_in_one_split(tmp_path):
    photos = similar_photos(tmp_path / "photos")

    def splits_of_scenes(source):
        found = {}
        for name, split in source.splits.items():
            for example in split.ids:
                scene = example.partition("/")[0], example.partition("-")[2]
                found.setdefault(scene, set()).add(name)
        return found

    grouped = sources.open_source(str(photos), split="grouped")
    assert len(splits_of_scenes(grouped)) == 30
    assert all(len(found) == 1 for found in splits_of_scenes(grouped).values())
    assert any(len(found) > 1 for found in splits_of_scenes(sources.open_source(str(photos))).values())
    for split in grouped.splits.values():
        assert len(set(np.bincount(split.labels, minlength=2))) == 1
    assert len(grouped.splits["test"]) == 2 * round(0.15 * 30)
    again = sources.open_source(str(photos), split="grouped")
    assert again.manifest() == grouped.manifest()
    other = sources.open_source(str(photos), split="grouped", seed=1)
    assert other.manifest() != grouped.manifest()
    assert all(len(found) == 1 for found in splits_of_scenes(other).values())


def test_a_damaged_image_is_a_group_of_its_own(tmp_path):
    photos = similar_photos(tmp_path / "photos")
    cut = photos / "can" / "cut.jpg"
    cut.write_bytes(next((photos / "can").glob("*-scene0.jpg")).read_bytes()[:900])
    source = sources.open_source(str(photos), split="grouped")
    assert "can/cut.jpg" in everything(source)
    assert [thumbnail is None for thumbnail in source.thumbnails.values()].count(True) == 1


def test_other_files_are_ignored_and_listed(photos):
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
        # Escaped, so that it can be printed.
        str(photos / "can" / "\\udcff.txt"),
    )
    assert {fault.kind for fault in source.faults} == {"ignored"}
    assert "can/inside.png" in everything(source)


def test_builders_are_found():
    assert tfds_builders.names() == ["recyclables_synth", "trashnet"]


@pytest.fixture
def builder(photos, monkeypatch):
    """A TFDS builder of twelve images in three splits; one for training is damaged behind its header."""
    images = [path.read_bytes() for path in sorted(photos.rglob("*.png"))[:12]]
    images[3] = images[3][:60]
    rows = [{"id": f"{n}.png".encode(), "image": image, "label": n % 2} for n, image in enumerate(images)]
    features = {"label": types.SimpleNamespace(names=["can", "jar"])}
    prepared = types.SimpleNamespace(info=types.SimpleNamespace(features=features))
    monkeypatch.setattr(tfds_builders, "prepare", lambda *_: prepared)
    monkeypatch.setattr(
        tfds_builders, "records", lambda _: {"train": rows[:6], "validation": rows[6:9], "test": rows[9:]}
    )
    return "drawn/small"


def test_a_builder(builder):
    source = sources.open_source(builder)
    assert source.name == "drawn-small"
    assert source.labels == ("can", "jar")
    assert sizes(source) == sizes(sources.open_unsplit(builder)) == {"train": 6, "validation": 3, "test": 3}
    assert not source.faults
    skipped = sources.open_source(builder, on_bad_image="skip")
    assert skipped.splits["train"].ids == ("0.png", "1.png", "2.png", "4.png", "5.png")
    assert skipped.ignored[0].startswith("3.png: ")
    faults = sources.open_source(builder, on_bad_image=sources.REPORT).faults
    assert [fault.file for fault in faults if fault.kind in checks.UNUSABLE] == ["3.png"]


# ---- evaluation on other data


def test_class_folders_are_not_split(photos):
    source = sources.open_unsplit(photos)
    assert sizes(source) == {"all": 36}
    assert source.splits["all"].ids[0] == "can/can0.png"
    assert [label for *_, label, split, _ in source.manifest()] == ["can"] * 12 + ["jar"] * 12 + ["tube"] * 12
    assert not source.thumbnails


@pytest.mark.parametrize("folders", [("test",), ("val", "test"), ("train", "validation")])
def test_folders_of_splits_are_kept(tmp_path, folders):
    for name in folders:
        write_photos(tmp_path / "set" / name, count=2)
    expected = {"validation" if name == "val" else name: 6 for name in folders}
    assert sizes(sources.open_unsplit(tmp_path / "set")) == expected


def test_a_class_may_be_called_test(tmp_path):
    write_photos(tmp_path / "set", classes=("can", "test"), count=2)
    assert sources.open_unsplit(tmp_path / "set").labels == ("can", "test")
    write_photos(tmp_path / "one", classes=("test",), count=2)
    assert sizes(sources.open_unsplit(tmp_path / "one")) == {"all": 2}


def test_a_single_class_can_be_evaluated(tmp_path):
    write_photos(tmp_path / "set", classes=("can",), count=2)
    source = sources.open_unsplit(tmp_path / "set")
    assert (source.labels, sizes(source)) == (("can",), {"all": 2})
    (tmp_path / "set" / "list.csv").write_text("image,label\ncan/can0.png,tin\n")
    source = sources.open_unsplit(tmp_path / "set" / "list.csv")
    assert (source.labels, sizes(source)) == (("tin",), {"all": 1})


def test_a_manifest_keeps_the_splits_that_it_names(photos):
    path = photos / "list.csv"
    path.write_text(
        "image,label,split\ncan/can0.png,can,test\njar/jar0.png,jar,test\ncan/can1.png,can,train\n"
    )
    source = sources.open_unsplit(path)
    assert sizes(source) == {"train": 1, "test": 2}
    assert list(source.splits["test"].labels) == [0, 1]
    path.write_text("image,label,split\ncan/can0.png,can,dev\n")
    with pytest.raises(UserError, match="line 2.*dev"):
        sources.open_unsplit(path)


def test_bad_images_of_other_data(photos):
    (photos / "can" / "bad.jpg").write_text("text")
    with pytest.raises(UserError, match=r"can/bad\.jpg"):
        sources.open_unsplit(photos)
    source = sources.open_unsplit(photos, on_bad_image="skip")
    assert sizes(source) == {"all": 36}
    assert source.ignored[0].startswith("can/bad.jpg: ")


# ---- errors


def check_error(dataset, *names, **arguments):
    """Checks that opening a dataset raises one line that names the problem."""
    with pytest.raises(UserError) as caught:
        sources.open_source(dataset, **arguments)
    message = str(caught.value)
    assert message.isprintable()
    assert "--" not in message
    for name in names:
        assert str(name) in message


def test_errors_of_folders(photos, tmp_path):
    check_error("trashnett", "`dataset=trashnett`", "trashnet?")
    (photos / "jar" / "bad.jpg").write_text("text")
    check_error(photos, photos / "jar" / "bad.jpg", "not an image")
    (photos / "jar" / "bad.jpg").unlink()
    (photos / "box").mkdir()
    check_error(photos, photos / "box", "no images")
    (photos / "box" / "IMG_1.HEIC").write_bytes(b"\0\0\0\x24ftypheic")
    check_error(photos, photos / "box", "no images", "HEIC", "JPEG")
    write_photos(tmp_path / "one", classes=("can",))
    check_error(tmp_path / "one", tmp_path / "one", "only one", "can")
    (tmp_path / "none").mkdir()
    check_error(tmp_path / "none", tmp_path / "none", "no class folders")
    write_photos(tmp_path / "few", count=2)
    check_error(tmp_path / "few", "'can'", "2 images", "3")
    (tmp_path / "photos.zip").write_text("an archive")
    check_error(tmp_path / "photos.zip", f"`dataset={tmp_path}/photos.zip`", "folder")


def test_links_out_of_the_folder_are_not_followed(photos):
    (photos / "tube").rename(photos.parent / "tube")
    (photos / "tube").symlink_to(photos.parent / "tube")
    check_error(photos, photos / "tube", "links")


def test_a_class_that_is_only_tested(photos, tmp_path):
    write_photos(tmp_path / "set" / "train")
    write_photos(tmp_path / "set" / "test", classes=("can", "box"), count=2)
    check_error(tmp_path / "set", tmp_path / "set", "'box'", "none in train")
    path = photos / "list.csv"
    path.write_text("image,label,split\n" + rows_of("can") + rows_of("jar") + "tube/tube0.png,tube,test\n")
    check_error(path, path, "'tube'", "none in train")


def rows_of(label):
    return "".join(f"{label}/{label}{n}.png,{label},{split}\n" for n, split in enumerate(options.SPLITS))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("image,label\ncan/can0.png,can\n", ("no column split",)),
        ("image,label,split\ncan/can0.png,can,dev\n", ("line 2", "'dev'", "train, validation, test")),
        ("image,label,split\ncan/gone.png,can,train\ncan/can0.png,can,validation\ncan/can1.png,can,test\n",
         ("line 2", "can/gone.png", "no such file")),
        ("image,label,split\n../outside/can/can0.png,can,train\n", ("line 2", "lies outside")),
        ("image,label,split\n/etc/passwd,can,train\n", ("line 2", "/etc/passwd", "lies outside")),
        ("image,label,split\ncan/can0.png,can,train\n", ("'validation'",)),
        ("image,label,split\ncan/can0.png,can,train\n\ncan/can0.png,jar,test\n", ("line 4", "line 2")),
        ("image,label,split\ncan/can0.png,can,train\n./can/can0.png,jar,test\n", ("line 3", "line 2")),
        ("image,label,split\ncan/can0.png,can,train\njar/../can/can0.png,jar,test\n", ("line 3", "line 2")),
        ("image,label,split\ncan/can0.png,,train\n", ("line 2", "empty")),
        ('image,label,split\ncan/can0.png,can,train\ncan/can1.png,"can ",test\n', ("line 3", "'can '")),
        ("image,label,split,sha256\ncan/can0.png,can,train,12ab\n", ("line 2", "'12ab'", "16")),
        ("image,label,split\n" + rows_of("can"), ("only one class, can",)),
        ("image,label,split\n" + rows_of("can") + 'jar/jar0.png,"a\nb",train\n', ("'a\\nb'",)),
        (f"image,label,split\n{'x' * 5000},can,train\n" + rows_of("can"), ("line 2", "too long")),
    ],
)  # fmt: skip
def test_errors_of_manifests(photos, tmp_path, text, names):
    write_photos(tmp_path / "outside", classes=("can",), count=1)
    path = photos / "split.csv"
    path.write_text(text)
    check_error(path, path if "only one" not in names[0] else "", *names)


def test_a_manifest_that_is_not_text(photos):
    path = photos / "split.csv"
    check_error(path, f"`dataset={path}`", "no such file")
    path.write_bytes("image,label,split\ncan/can0.png,병,train\n".encode("cp949"))
    check_error(path, path, "UTF-8")
    path.write_text("image,label,split\ncan\0/can0.png,can,train\n" + rows_of("can"))
    check_error(path, "line 2", "no such file")


def test_a_grouped_split_has_no_effect_on_a_split_dataset(photos, tmp_path):
    for name in options.SPLITS:
        write_photos(tmp_path / "set" / name, count=2)
    check_error(tmp_path / "set", "`split=grouped`", tmp_path / "set", split="grouped")
    check_error("trashnet", "`split=grouped`", "trashnet", split="grouped")
    path = photos / "split.csv"
    splits.write_manifest(path, sources.open_source(str(photos)).manifest())
    check_error(path, "`split=grouped`", path, split="grouped")


def test_values_that_are_not_choices(photos):
    check_error(photos, "`split=random`", "grouped", split="random")
    check_error(photos, "`on_bad_image=ignore`", "skip", on_bad_image="ignore")


def test_too_few_different_images(photos):
    for number in range(1, 12):
        shutil.copy(photos / "can" / "can0.png", photos / "can" / f"can{number}.png")
    check_error(photos, "'can'", "1 image ", "near-duplicates", split="grouped")


def test_skipping_leaves_no_class_without_training_images(photos):
    for file in (photos / "jar").iterdir():
        file.write_bytes(b"nothing")
    check_error(photos, "photos", "'jar'", on_bad_image="skip")
    assert sources.open_source(photos, on_bad_image=sources.REPORT).num_examples == 36


def test_a_manifest_of_a_spreadsheet(photos):
    source = sources.open_source(str(photos))
    path = photos / "split.csv"
    splits.write_manifest(path, source.manifest())
    path.write_text("\ufeff" + path.read_text(), encoding="utf-8")
    assert everything(sources.open_source(str(path))) == everything(source)


LATIN = os.fsdecode(b"caf\xe9")
"""A name that is not UTF-8."""


def test_names_that_are_not_utf8(photos):
    (photos / "can" / "can0.png").rename(photos / "can" / f"{LATIN}.png")
    check_error(photos, "caf\\udce9.png", "not UTF-8", "rename")
    assert everything(sources.open_source(photos, on_bad_image="skip")).count("can/can1.png") == 1
    (photos / "can").rename(photos / LATIN)
    check_error(photos, "caf\\udce9", "not UTF-8")


def test_a_dataset_path_that_is_not_utf8(photos):
    place = photos.rename(photos.parent / LATIN)
    check_error(place, "`dataset=", "caf\\udce9", "not UTF-8")
    (photos.parent / "link").symlink_to(place)
    check_error(photos.parent / "link", "`dataset=", "caf\\udce9", "not UTF-8")
    (place / "list.csv").write_text("image,label,split\n")
    check_error(place / "list.csv", "`dataset=", "caf\\udce9", "not UTF-8")


@pytest.mark.parametrize(
    ("dataset", "names"),
    [
        ("", ("`dataset`", "empty")),
        ("~nouser/photos", ("`dataset=~nouser/photos`", "no such user")),
        ("x" * 300, ("`dataset=xxx", "too long")),
        ("x/" * 3000, ("`dataset=x/x", "too long")),
        ("a\0b", ("`dataset=", "zero byte")),
    ],
)
def test_dataset_paths_that_are_not_paths(dataset, names):
    check_error(dataset, *names)
    with pytest.raises(UserError):
        sources.open_unsplit(dataset)


def test_circles_of_links(photos):
    (photos / "a").symlink_to(photos / "b")
    (photos / "b").symlink_to(photos / "a")
    check_error(photos / "a", f"`dataset={photos}/a`")
    path = photos / "list.csv"
    path.write_text("image,label,split\na/x.png,can,train\n" + rows_of("can"))
    check_error(path, "line 2", "a/x.png")
    (photos / "can" / "a.png").symlink_to("b.png")
    (photos / "can" / "b.png").symlink_to("a.png")
    assert len(sources.open_source(photos).ignored) == 2


def test_labels_with_spaces_around_them(photos):
    (photos / "jar").rename(photos / "can ")
    check_error(photos, "'can '", "space")


def test_errors_of_builders(tmp_path, monkeypatch):
    monkeypatch.delenv(tfds_builders.MANUAL_DIR_VARIABLE, raising=False)
    check_error("trashnet", "`manual_dir=", "no such folder", manual_dir=tmp_path / "gone", data_dir=tmp_path)
    check_error("trashnet", "`manual_dir`", "empty", manual_dir="", data_dir=tmp_path)
    check_error("trashnet", "`manual_dir=", "not UTF-8", manual_dir=tmp_path / LATIN, data_dir=tmp_path)
    check_error("trashnet", "`data_dir=", "not UTF-8", data_dir=tmp_path / LATIN)
    check_error("trashnet/cleaned", "`dataset=trashnet/cleaned`", "clean?", data_dir=tmp_path)


def test_no_network_and_no_manual_dir(tmp_path, monkeypatch):
    monkeypatch.delenv(tfds_builders.MANUAL_DIR_VARIABLE, raising=False)
    # Nothing listens on port 9: every connection is refused at once, as without a network.
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "manual").mkdir()
    check_error("trashnet", "`dataset=trashnet`", data_dir=tmp_path, manual_dir=tmp_path / "manual")
    check_error("trashnet", "`manual_dir=FOLDER`", "recyclables_synth", data_dir=tmp_path)


def test_hidden_folders_are_left_out(photos):
    hidden = photos / "can" / ".thumbnails"
    hidden.mkdir()
    shutil.copy(photos / "can" / "can0.png", hidden / "can0.png")
    source = sources.open_source(photos)
    assert source.num_examples == 36
    assert not source.ignored
    assert len(list(decode.images_in(photos))) == 36


def test_what_lies_beside_class_folders_is_listed(photos, tmp_path):
    shutil.copy(photos / "can" / "can0.png", photos / "loose.png")
    (photos / "notes.txt").write_text("mine")
    source = sources.open_source(str(photos))
    assert source.ignored == (f"{photos}/loose.png",)
    root = tmp_path / "divided"
    for part, seed in (("train", 1), ("valid", 2), ("test", 3)):
        write_photos(root / part, count=4, seed=seed)
    write_photos(root / "unsorted", count=2)
    shutil.copy(photos / "loose.png", root / "train" / "loose.png")
    source = sources.open_source(str(root))
    assert sizes(source) == {"train": 12, "validation": 12, "test": 12}
    assert source.ignored == (f"{root}/unsorted", f"{root}/train/loose.png")


def test_a_linked_folder_inside_a_class_folder_is_listed(photos, tmp_path):
    outside = write_photos(tmp_path / "outside") / "can"
    (photos / "can" / "more").symlink_to(outside)
    source = sources.open_source(str(photos))
    assert source.num_examples == 36
    assert source.ignored == (f"{photos}/can/more",)


def test_names_may_have_any_space(photos):
    """As those of screenshots on macOS, and of files that are written in Japanese."""
    (photos / "can" / "can0.png").rename(photos / "can" / "at 9.41\u202fAM\u3000.png")
    assert sources.open_source(str(photos)).num_examples == 36

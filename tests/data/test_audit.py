"""What is wrong with a data set."""

import contextlib
import io
import os
import struct
import types
import warnings
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from recycle_tf.data import audit, cache, near_duplicates, sources, splits
from recycle_tf.errors import UserError
from recycle_tf.evaluation import audit_report


def audited(root, **options):
    return audit.audit(sources.open_source(str(root), auditing=True, **options))


def ids(source):
    return {name for split in source.splits.values() for name in split.ids}


def fatal(found):
    return {f.files[0] for f in found.findings if f.kind in audit.FATAL}


def scene(seed, side=96):
    """A smooth picture that resembles no other."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def encoded(picture, kind="JPEG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png_of(width, height):
    """A PNG of some dozen bytes that says it is as large as this."""

    def chunk(name, content):
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


def write_scenes(root, labels=("can", "jar"), number=6):
    """Different scenes in one folder a class."""
    for place, label in enumerate(labels):
        (root / label).mkdir(parents=True)
        for index in range(number):
            (root / label / f"{index}.jpg").write_bytes(encoded(scene(1000 * (place + 1) + index)))
    return root


def test_nothing_wrong(tmp_path):
    found = audited(write_scenes(tmp_path / "set"))
    assert found.findings == ()
    assert found.counts["train"] == {"can": 4, "jar": 4}
    assert found.per_label == {"can": 6, "jar": 6}
    assert found.examples == 12
    assert set(found.pairs.values()) == {0}


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(scene(1), exif=exif)


@pytest.mark.parametrize(
    ("name", "content", "kind", "detail"),
    [
        ("x.jpg", b"", "empty", "no bytes"),
        ("x.jpg", b"Dear Sir or Madam", "not_a_picture", "begins with b'Dear Sir or '"),
        ("x.jpg", encoded(scene(1), "TIFF"), "not_a_picture", "begins with b'II*"),
        ("x.jpg", encoded(scene(1), "PNG"), "wrong_extension", "a PNG called .jpg"),
        ("x.png", encoded(scene(1)), "wrong_extension", "a JPEG called .png"),
        ("x.jpg", encoded(scene(1))[:700], "unreadable", "truncated"),
        ("x.jpg", encoded(scene(1))[:70], "unreadable", "damaged from its first bytes on"),
        ("x.jpg", encoded(scene(1))[:-2], "unreadable", ""),
        ("x.png", encoded(scene(1), "PNG")[:700], "unreadable", "truncated"),
        ("x.png", png_of(20_000, 20_000), "huge", "more pixels than Pillow opens"),
        ("x.png", png_of(13_000, 13_000), "huge", "13000 x 13000 pixels"),
        ("x.jpg", encoded(scene(1, 31)), "tiny", "31 x 31 pixels"),
        ("x.jpg", turned(6), "sideways", "EXIF orientation 6"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else None,
)
def test_a_file_that_is_wrong(tmp_path, name, content, kind, detail):
    write_scenes(tmp_path / "set")
    (tmp_path / "set" / "can" / name).write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (finding,) = audited(tmp_path / "set").findings
    assert finding.kind == kind
    assert finding.files == (f"can/{name}",)
    assert finding.labels == ("can",)
    assert finding.splits[0] in ("train", "validation", "test")
    assert detail in finding.detail
    with (
        pytest.raises(UserError)
        if kind in ("empty", "not_a_picture", "huge") or "first" in detail
        else contextlib.nullcontext()
    ):
        sources.open_source(str(tmp_path / "set"))


def test_what_is_no_file_is_listed_and_left_out(tmp_path):
    root = write_scenes(tmp_path / "set")
    (root / "can" / "folder.jpg").mkdir()
    (root / "can" / "nowhere.jpg").symlink_to("gone.jpg")
    (root / "can" / "outside.jpg").symlink_to(tmp_path)
    (root / "can" / "passwords.jpg").symlink_to("/etc/passwd")
    os.mkfifo(root / "can" / "pipe.jpg")
    (root / "can" / "notes.txt").write_text("a note")
    (root / "can" / os.fsdecode(b"\xff.jpg")).write_bytes(encoded(scene(1)))
    (root / "can" / "two\nlines.jpg").write_bytes(encoded(scene(2)))
    found = audited(root)
    assert {finding.files[0]: finding.detail for finding in found.of("ignored")} == {
        "can/folder.jpg": "a folder",
        "can/nowhere.jpg": "a link to nowhere",
        "can/outside.jpg": "a link out of the folder",
        "can/passwords.jpg": "a link out of the folder",
        "can/pipe.jpg": "not a regular file",
        "can/notes.txt": "not named like a picture",
    }
    names = {"'can/two\\nlines.jpg'", "'can/\\udcff.jpg'"}
    assert fatal(found) == {finding.files[0] for finding in found.of("unusable_name")} == names
    assert found.examples == 12


def test_a_manifest_of_files_that_are_gone_or_changed(tmp_path):
    root = write_scenes(tmp_path / "set")
    splits.write_manifest(root / "split.csv", sources.open_source(str(root)).manifest())
    lines = (root / "split.csv").read_text().splitlines()
    changed, gone = (
        next(line.split(",")[0] for line in lines if f"{label}," in line) for label in ("can", "jar")
    )
    (root / changed).write_bytes(encoded(scene(5)))
    (root / gone).unlink()
    found = audited(root / "split.csv")
    (missing,) = found.of("missing")
    assert missing.files == (gone,)
    assert missing.detail.startswith("no such file, in line ")
    (other,) = found.of("changed")
    assert other.files == (changed,)
    assert other.detail.endswith(f"in line {1 + next(i for i, line in enumerate(lines) if changed in line)}")
    assert len(found.findings) == 2


def own_split(root, content):
    """A folder with its own split from `{"train/can/name.jpg": bytes}`, with some other scenes in each."""
    for place, split in enumerate(splits.SPLITS):
        write_scenes(root / split, number=3)
        for index, label in enumerate(("can", "jar")):
            for number in range(3):
                seed = 10_000 + 100 * place + 10 * index + number
                (root / split / label / f"{number}.jpg").write_bytes(encoded(scene(seed)))
    for name, picture in content.items():
        (root / name).write_bytes(picture)
    return root


def noisy(seed, noise, side=96):
    pixels = np.asarray(scene(seed, side)) + np.random.default_rng(seed).normal(0, noise, (side, side, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def test_duplicates(tmp_path):
    root = own_split(
        tmp_path / "set",
        {
            # the same bytes under two labels, across the splits
            "train/can/a.jpg": encoded(scene(1)),
            "test/jar/b.jpg": encoded(scene(1)),
            # the same bytes twice
            "train/can/c.jpg": encoded(scene(2)),
            "train/can/d.jpg": encoded(scene(2)),
            # saved again, larger: in validation and train
            "train/jar/e.jpg": encoded(scene(3)),
            "validation/jar/f.jpg": encoded(noisy(3, 10, 300), quality=60),
            # alike in test only
            "test/jar/g.jpg": encoded(scene(4)),
            "test/can/h.jpg": encoded(noisy(4, 10)),
            # damaged alike: no pictures, so no duplicates
            "train/can/i.jpg": encoded(scene(6))[:600],
            "test/jar/j.jpg": encoded(scene(6))[:600],
            # of one shade, and yet the same file
            "train/can/k.jpg": encoded(Image.new("RGB", (64, 64), "white")),
            "test/can/l.jpg": encoded(Image.new("RGB", (64, 64), "white")),
        },
    )
    found = audited(root)
    (double,) = found.of("two_labels")
    assert double == audit.Finding(
        "two_labels",
        ("train/can/a.jpg", "test/jar/b.jpg"),
        ("can", "jar"),
        ("train", "test"),
        "the same bytes",
    )
    assert [f.files for f in found.of("exact_duplicate")] == [
        ("train/can/k.jpg", "test/can/l.jpg"),
        ("train/can/c.jpg", "train/can/d.jpg"),
    ]
    near = found.of("near_duplicate")
    assert [f.files for f in near] == [
        ("train/jar/e.jpg", "validation/jar/f.jpg"),
        ("test/can/h.jpg", "test/jar/g.jpg"),
    ]
    assert [f.across for f in near] == [True, False]
    assert near[0].detail.startswith("correlation up to ")
    assert {f.files[0] for f in found.of("unreadable")} == {"train/can/i.jpg", "test/jar/j.jpg"}
    assert found.pairs[0.95] == 4
    assert found.twins[0.95] == {"validation": 1, "test": 2}


def settings(root, **other):
    usual = {"manual_dir": None, "data_dir": None, "split": "stratified", "seed": 0}
    return types.SimpleNamespace(**usual | {"dataset": str(root)} | other)


def test_a_training_is_warned(tmp_path):
    root = own_split(
        tmp_path / "my set",
        {
            "train/can/a.jpg": encoded(scene(1)),
            "train/jar/a.jpg": encoded(scene(1)),
            "test/can/b.jpg": encoded(noisy(1, 10)),
            "test/can/c.jpg": encoded(noisy(1, 20)),
            "validation/can/d.jpg": encoded(noisy(1, 15)),
            "train/can/cut.jpg": encoded(scene(6))[:700],
        },
    )
    see = f"(see: python -m recycle_tf audit '--dataset={root}' --seed=3)"
    such = "train/can/a.jpg (can) and train/jar/a.jpg (jar)"
    assert audit.leaks(sources.open_source(str(root)), settings(root, seed=3)) == [
        f"2 of 8 test pictures have a near-twin in train {see}",
        f"1 of 7 validation pictures has a near-twin in train {see}",
        f"1 picture is in my set under two labels, such as {such} {see}",
    ]


def test_a_large_set_is_not_searched(tmp_path, monkeypatch):
    source = sources.open_source(str(write_scenes(tmp_path / "set")))
    assert audit.leaks(source, settings("set")) == []
    monkeypatch.setattr(audit, "WARN_AT_MOST", 11)
    assert audit.leaks(source, settings("set")) == [
        "12 pictures are not searched for near-twins across splits "
        "(see: python -m recycle_tf audit --dataset=set)"
    ]


def test_a_grouped_split_is_compared_once(tmp_path, monkeypatch):
    source = sources.open_source(str(write_scenes(tmp_path / "set")), split="grouped")
    monkeypatch.setattr(near_duplicates, "thumbnail", None)
    assert audit.leaks(source, settings("set", split="grouped")) == []


def test_a_builder_is_audited_by_its_bytes():
    content = [encoded(scene(seed)) for seed in range(12)]
    content[7] = content[7][:500]
    content[11] = content[0]
    parts = {}
    for name, places in (("train", range(6)), ("validation", range(6, 9)), ("test", range(9, 12))):
        images = tf.constant([content[place] for place in places])
        parts[name] = sources.Split(
            ids=tuple(f"number {place}" for place in places),
            labels=np.array([place % 2 for place in places]),
            encoded=lambda index, images=images: tf.gather(images, index),
            hashes=tuple(splits.content_hash(content[place]) for place in places),
        )
    found = audit.audit(sources.Source("drawn", ("can", "jar"), parts))
    assert [(f.kind, f.files) for f in found.findings] == [
        ("unreadable", ("number 7",)),
        ("two_labels", ("number 0", "number 11")),
    ]


def damaged(rng):
    """Some bytes that were a picture, or never were."""
    kind = rng.choice(["JPEG", "PNG", "GIF", "BMP", "WEBP"])
    picture = noisy(int(rng.integers(1000)), 20, int(rng.integers(33, 120)))
    content = bytearray(encoded(picture, str(kind)))
    how = rng.integers(5)
    if how == 0:
        return bytes(content[: rng.integers(len(content))])
    if how == 1:
        for place in rng.integers(len(content), size=rng.integers(1, 30)):
            content[place] ^= 1 << int(rng.integers(8))
        return bytes(content)
    if how == 2:
        for place in rng.integers(min(64, len(content)), size=4):
            content[place] = int(rng.integers(256))
        return bytes(content)
    if how == 3:
        start = int(rng.integers(len(content)))
        return bytes(content[:start] + content[start + int(rng.integers(200)) :])
    return [b"", rng.bytes(100), b"GIF89a", b"%PDF-1.4", png_of(60_000, 60_000), bytes(content)][
        rng.integers(6)
    ]


@pytest.mark.parametrize("seed", range(3))
def test_whatever_the_bytes_the_rest_can_be_learnt_from(tmp_path, seed):
    """Two hundred damaged files: none stops the audit, and without those it names a training reads all."""
    rng = np.random.default_rng(seed)
    root = write_scenes(tmp_path / "set", number=12)
    names = [
        "b{}.jpg",
        "with space {}.png",
        'it\'s "{}" <b>&.gif',
        "유리병 {}.bmp",
        "--flag={}.JPG",
        "{}.x.jpeg",
    ]
    for number in range(200):
        name = names[rng.integers(len(names))].format(number)
        (root / ("can", "jar")[number % 2] / name).write_bytes(damaged(rng))
    (root / "can" / "folder.jpg").mkdir()
    (root / "jar" / "nowhere.jpg").symlink_to("gone.jpg")
    source = sources.open_source(str(root), auditing=True)
    found = audit.audit(source)
    audit_report.write(found, source, tmp_path)
    unusable = fatal(found)
    assert 50 < len(unusable) < 200
    kept = audit.open_source(str(root), "skip")
    assert ids(kept).isdisjoint(unusable)
    assert kept.num_examples == source.num_examples - len(unusable & ids(source))
    for name in unusable:
        assert any(line.startswith(f"{name}: ") for line in kept.ignored), name
    for split in kept.splits.values():
        assert cache.decode_all(split, 8).shape == (len(split), 8, 8, 3)
    for name in unusable:
        (root / name).unlink()
    source = sources.open_source(str(root))
    assert source.num_examples == 224 - len(unusable)
    assert [sources.first_unreadable(split) for split in source.splits.values()] == [None] * 3


def test_skipping_leaves_no_class_without_training_pictures(tmp_path):
    root = write_scenes(tmp_path / "set", number=6)
    for file in (root / "jar").iterdir():
        file.write_bytes(b"nothing")
    with pytest.raises(UserError, match="set: class 'jar' has no training picture that can be used"):
        audit.open_source(str(root), "skip")

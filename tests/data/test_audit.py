"""Finding what is wrong with a dataset."""

import io
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from recycle_tf import options
from recycle_tf.data import audit, cache, checks, near_duplicates, sources, splits
from recycle_tf.errors import UserError
from recycle_tf.evaluation import audit_report


def audited(root, **arguments):
    return audit.audit(sources.open_source(str(root), on_bad_image=sources.REPORT, **arguments))


def ids(source):
    return {name for split in source.splits.values() for name in split.ids}


def unusable(found):
    return {f.files[0] for f in found.findings if f.kind in checks.UNUSABLE}


def scene(seed, side=96):
    """A smooth image that resembles no other."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def encoded(image, kind="JPEG", **arguments):
    buffer = io.BytesIO()
    image.save(buffer, kind, **arguments)
    return buffer.getvalue()


def png_of(width, height):
    """A PNG of some dozen bytes whose header gives this size."""

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
    """Writes different scenes, one folder per class."""
    for place, label in enumerate(labels):
        (root / label).mkdir(parents=True)
        for index in range(number):
            (root / label / f"{index}.jpg").write_bytes(encoded(scene(1000 * (place + 1) + index)))
    return root


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(scene(1), exif=exif)


def animated(frames):
    """A WebP animation of one or two frames."""
    content = encoded(scene(1), "WEBP", save_all=True, append_images=[scene(2)])
    second = content.rindex(b"ANMF")
    return content if frames == 2 else content[:4] + struct.pack("<I", second - 8) + content[8:second]


def test_nothing_wrong(tmp_path):
    found = audited(write_scenes(tmp_path / "set"))
    assert found.findings == ()
    assert found.counts["train"] == {"can": 4, "jar": 4}
    assert found.per_label == {"can": 6, "jar": 6}
    assert found.examples == 12
    assert set(found.pairs.values()) == {0}


@pytest.mark.parametrize(
    ("name", "content", "kind", "detail"),
    [
        ("x.jpg", b"", "empty", ""),
        ("x.jpg", b"Dear Sir or Madam", "not_an_image", "Dear Sir or "),
        ("x.jpg", encoded(scene(1), "TIFF"), "not_an_image", "II*"),
        ("x.jpg", b"\0\0\0\x24ftypheic\0\0\0\0mif1", "not_an_image", "HEIC"),
        ("x.jpg", encoded(scene(1), "PNG"), "wrong_extension", "PNG"),
        ("x.png", encoded(scene(1)), "wrong_extension", "JPEG"),
        ("x.jpg", encoded(scene(1))[:700], "unreadable", "truncated"),
        ("x.jpg", encoded(scene(1))[:70], "unreadable", "header"),
        ("x.jpg", encoded(scene(1))[:-2], "unreadable", ""),
        ("x.png", encoded(scene(1), "PNG")[:700], "unreadable", "truncated"),
        ("x.png", png_of(20_000, 20_000), "huge", "120 million"),
        ("x.png", png_of(13_000, 13_000), "huge", "13000 x 13000"),
        ("x.jpg", encoded(scene(1, 31)), "tiny", "31 x 31"),
        ("x.jpg", turned(6), "sideways", "6"),
        ("x.webp", animated(2), "animated", "animated"),
        ("x.webp", animated(1), "animated", "animated"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else None,
)
def test_a_file_with_a_problem(tmp_path, name, content, kind, detail):
    write_scenes(tmp_path / "set")
    (tmp_path / "set" / "can" / name).write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (finding,) = audited(tmp_path / "set").findings
    assert finding.kind == kind
    assert finding.files == (f"can/{name}",)
    assert finding.labels == ("can",)
    assert finding.splits[0] in options.SPLITS
    assert detail in finding.detail
    assert len(finding.detail) < 120
    assert "{{" not in finding.detail


@pytest.mark.parametrize(
    "content",
    [b"", b"Dear Sir", encoded(scene(1))[:70], png_of(13_000, 13_000), animated(2)],
    ids=["empty", "text", "header", "huge", "animated"],
)
def test_training_names_a_file_whose_header_is_wrong(tmp_path, content):
    write_scenes(tmp_path / "set")
    (tmp_path / "set" / "can" / "x.webp").write_bytes(content)
    with pytest.raises(UserError, match=f"^{tmp_path}/set/can/x.webp: "):
        sources.open_source(str(tmp_path / "set"))


def test_ignored_files_and_unusable_names_are_listed(tmp_path):
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
    details = {finding.files[0]: finding.detail for finding in found.of("ignored")}
    named = ("folder.jpg", "nowhere.jpg", "outside.jpg", "passwords.jpg", "pipe.jpg", "notes.txt")
    assert set(details) == {f"can/{name}" for name in named}
    assert details["can/outside.jpg"] == details["can/passwords.jpg"] != details["can/nowhere.jpg"]
    names = {"can/two\\nlines.jpg", "can/\\udcff.jpg"}
    assert unusable(found) == {finding.files[0] for finding in found.of("unusable_name")} == names
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
    for kind, file in (("missing", gone), ("changed", changed)):
        (finding,) = found.of(kind)
        assert finding.files == (file,)
        line = 1 + next(index for index, line in enumerate(lines) if file in line)
        assert finding.detail.endswith(f"line {line}")
    assert len(found.findings) == 2


@pytest.mark.parametrize("method", options.SPLIT_METHODS)
def test_a_class_that_is_too_small_is_audited(tmp_path, method):
    root = write_scenes(tmp_path / "set")
    (root / "tube").mkdir()
    (root / "tube" / "only.jpg").write_bytes(encoded(scene(77)))
    (finding,) = audited(root, split=method).findings
    assert finding.kind == "small_class"
    assert finding.files == ("tube",)
    assert "1 image" in finding.detail
    assert "3" in finding.detail
    for mode in options.ON_BAD_IMAGE:
        with pytest.raises(UserError, match="'tube' has 1 image"):
            sources.open_source(root, split=method, on_bad_image=mode)


def own_split(root, content):
    """A folder with its own split that holds `{"train/can/name.jpg": bytes}` and other scenes."""
    for place, split in enumerate(options.SPLITS):
        write_scenes(root / split, number=3)
        for index, label in enumerate(("can", "jar")):
            for number in range(3):
                seed = 10_000 + 100 * place + 10 * index + number
                (root / split / label / f"{number}.jpg").write_bytes(encoded(scene(seed)))
    for name, image in content.items():
        (root / name).write_bytes(image)
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
            # damaged alike: not images, so not duplicates
            "train/can/i.jpg": encoded(scene(6))[:600],
            "test/jar/j.jpg": encoded(scene(6))[:600],
            # of a single shade, and the same file
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
    assert found.leaked[0.95] == {"validation": 1, "test": 2}


def test_training_is_warned(tmp_path):
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
    test, validation, labels = audit.leaks(sources.open_source(str(root)))
    assert test.startswith("2 of 8 test images have a near-duplicate")
    assert validation.startswith("1 of 7 validation image has a near-duplicate")
    for name in ("1 image is", "my set", "train/can/a.jpg (can)", "train/jar/a.jpg (jar)"):
        assert name in labels
    assert not any("--" in line or "python" in line for line in (test, validation, labels))


def test_a_large_dataset_is_not_searched(tmp_path, monkeypatch):
    root = write_scenes(tmp_path / "set")
    assert audit.leaks(sources.open_source(root)) == []
    monkeypatch.setattr(near_duplicates, "MAX_COMPARED", 11)
    source = sources.open_source(root)
    assert not source.thumbnails
    (line,) = audit.leaks(source)
    assert line.startswith("12 images")
    # A grouped split needs the comparison in any case.
    assert len(sources.open_source(root, split="grouped").thumbnails) == 12


@pytest.mark.parametrize("method", options.SPLIT_METHODS)
def test_images_are_compared_without_reading_them_again(tmp_path, monkeypatch, method):
    source = sources.open_source(str(write_scenes(tmp_path / "set")), split=method)
    monkeypatch.setattr(near_duplicates, "thumbnail", None)
    monkeypatch.setattr(tf.io, "read_file", None)
    assert audit.leaks(source) == []


def test_a_repeated_split_is_compared_too(tmp_path):
    root = own_split(
        tmp_path / "set", {"train/can/a.jpg": encoded(scene(1)), "test/can/b.jpg": encoded(noisy(1, 10))}
    )
    splits.write_manifest(tmp_path / "split.csv", sources.open_source(root).manifest())
    (line,) = audit.leaks(sources.open_source(root, manifest=tmp_path / "split.csv"))
    assert line.startswith("1 of 7 test ")


def test_images_of_a_builder_are_compared():
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
    assert [(f.kind, f.files) for f in found.findings] == [("two_labels", ("number 0", "number 11"))]


def damaged(rng):
    """Bytes that were an image before they were damaged, or never were one."""
    kind = rng.choice(["JPEG", "PNG", "GIF", "BMP", "WEBP"])
    image = noisy(int(rng.integers(1000)), 20, int(rng.integers(33, 120)))
    content = bytearray(encoded(image, str(kind)))
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


@pytest.mark.parametrize("seed", range(2))
def test_whatever_the_bytes_the_rest_can_be_trained_on(tmp_path, seed):
    """200 damaged files: none stops the audit, and without those it names every image can be decoded."""
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
    source = sources.open_source(str(root), on_bad_image=sources.REPORT)
    found = audit.audit(source)
    audit_report.write(found, source, tmp_path, "set")
    bad = unusable(found)
    assert 50 < len(bad) < 200
    rest = sources.open_source(str(root), on_bad_image="skip")
    assert ids(rest).isdisjoint(bad)
    assert rest.num_examples == source.num_examples - len(bad & ids(source))
    for name in bad:
        assert any(line.startswith(f"{name}: ") for line in rest.ignored), name
    for split in rest.splits.values():
        assert cache.decode_all(split, 8).shape == (len(split), 8, 8, 3)
    for name in bad:
        (root / name).unlink()
    source = sources.open_source(str(root))
    assert source.num_examples == 224 - len(bad)
    assert [sources.first_unreadable(split) for split in source.splits.values()] == [None] * 3

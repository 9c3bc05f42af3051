"""An archive as an inbox: what is unpacked, and what an archive cannot do."""

import io
import zipfile

import pytest
from PIL import Image

from recycle_tf.errors import UserError
from recycle_tf.review import unpack
from tests.review.test_decisions import index, manifest, open_review


def png(color):
    content = io.BytesIO()
    Image.new("RGB", (40, 30), color).save(content, "PNG")
    return content.getvalue()


def write_zip(path, members, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


@pytest.fixture
def archive(photos):
    members = [
        ("a.png", png("olive")),
        ("deep/b.PNG", png("navy")),
        ("note.txt", b"not an image"),
        ("__MACOSX/._a.png", b"not an image either"),
    ]
    return write_zip(photos.parent / "new.zip", members, compression=zipfile.ZIP_DEFLATED)


def test_an_archive_is_reviewed_and_resumed(photos, archive):
    folder = photos.parent / "new"
    with open_review(photos, inbox=archive) as decided:
        images = decided._review.images
        new = [images[one] for one in decided._review.order if images[one].label is None]
        assert [image.name for image in new] == ["new/a.png", "new/deep/b.PNG"]
        decided.decide(index(decided, "new/deep/b.PNG"), "move", "jar")
    assert sorted(path.name for path in folder.rglob("*.*")) == ["a.png", "b.PNG"]
    assert manifest(photos)["new/deep/b.PNG"]["label"] == "jar"
    with open_review(photos, inbox=archive) as decided:
        assert len(decided) == 1
    archive.unlink()
    with open_review(photos, inbox=folder) as decided:
        assert len(decided) == 1


def test_it_is_unpacked_beside_the_manifest(photos, tmp_path_factory):
    archive = write_zip(tmp_path_factory.mktemp("downloads") / "new.zip", [("a.png", png("olive"))])
    with open_review(photos, inbox=archive):
        assert (photos.parent / "new" / "a.png").read_bytes() == png("olive")
    assert [path.name for path in archive.parent.iterdir()] == ["new.zip"]


@pytest.mark.parametrize(
    "name", ["../a.png", "/a.png", "b/../../a.png", "b\\..\\..\\a.png", "C:a.png", "b//a.png", "a\n.png"]
)
def test_a_path_that_leaves_the_folder(photos, name):
    before = sorted(photos.parent.rglob("*"))
    archive = write_zip(photos.parent / "new.zip", [("fine.png", png("olive")), (name, png("navy"))])
    with pytest.raises(UserError, match=r"`inbox=.*new\.zip`.*inside a folder"):
        open_review(photos, inbox=archive)
    assert sorted(photos.parent.rglob("*")) == sorted([*before, archive])


def test_a_link_becomes_a_file(photos):
    member = zipfile.ZipInfo("a.png")
    member.create_system, member.external_attr = 3, 0o120777 << 16
    archive = write_zip(photos.parent / "new.zip", [(member, b"/etc/passwd")])
    unpack.unpack(archive, photos.parent / "new")
    assert not (photos.parent / "new" / "a.png").is_symlink()
    assert (photos.parent / "new" / "a.png").read_bytes() == b"/etc/passwd"


def test_an_archive_that_would_fill_the_disk(photos, monkeypatch):
    archive = write_zip(
        photos.parent / "new.zip", [("a.png", bytes(1000)), ("b.png", bytes(1000))], compression=8
    )
    monkeypatch.setattr(unpack, "MAX_BYTES", 2000)
    unpack.unpack(archive, photos.parent / "enough")
    monkeypatch.setattr(unpack, "MAX_BYTES", 1999)
    with pytest.raises(UserError, match="2,000 bytes of images, at most 1,999"):
        unpack.unpack(archive, photos.parent / "new")
    assert not (photos.parent / "new").exists()


def test_a_size_that_is_a_lie(photos):
    archive = write_zip(photos.parent / "new.zip", [("a.png", bytes(100_000))], compression=8)
    # The size in the directory, which is what is checked, says 10 bytes.
    content = archive.read_bytes()
    archive.write_bytes(content.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(UserError, match=r"new\.zip.*CRC"):
        unpack.unpack(archive, photos.parent / "new")
    assert not (photos.parent / "new").exists()
    assert not list(photos.parent.glob(".partial-*"))


@pytest.mark.parametrize("content", [b"", b"not a zip", png("olive")])
def test_a_file_that_is_no_archive(photos, content):
    (photos.parent / "new.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"`inbox=.*new\.zip`: cannot be read"):
        open_review(photos, inbox=photos.parent / "new.zip")


def test_an_archive_that_cannot_be_unpacked(photos, archive):
    whole = archive.read_bytes()
    archive.write_bytes(whole.replace(whole[40:60], bytes(20), 1))
    with pytest.raises(UserError, match=r"`inbox=.*new\.zip`: cannot be read"):
        open_review(photos, inbox=archive)
    assert not (photos.parent / "new").exists()
    with pytest.raises(UserError, match="no images in this archive"):
        open_review(photos, inbox=write_zip(archive, [("note.txt", b"")]))
    with pytest.warns(UserWarning, match="Duplicate"):
        write_zip(archive, [("a.png", b"1"), ("a.png", b"2")])
    with pytest.raises(UserError, match=r"a\.png is in it twice"):
        open_review(photos, inbox=archive)


def test_a_folder_with_something_else_is_not_touched(photos, archive):
    (photos.parent / "new").mkdir()
    (photos.parent / "new" / "a.png").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"`inbox=.*new\.zip`.*holds something else"):
        open_review(photos, inbox=archive)
    assert [path.name for path in (photos.parent / "new").iterdir()] == ["a.png"]
    assert (photos.parent / "new" / "a.png").read_bytes() == b"mine"


def test_a_place_in_the_archive_that_does_not_exist(photos, archive):
    content = bytearray(archive.read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + 42 : entry + 46] = (2**31).to_bytes(4, "little")
    archive.write_bytes(content)
    with pytest.raises(UserError, match=r"`inbox=.*new\.zip`: cannot be read"):
        open_review(photos, inbox=archive)
    assert not (photos.parent / "new").exists()


def test_two_names_for_one_file(photos):
    archive = write_zip(photos.parent / "new.zip", [("a.png", b"1"), ("a.png/b.png", b"2")])
    with pytest.raises(UserError, match=r"new: cannot be written"):
        unpack.unpack(archive, photos.parent / "new")
    assert not (photos.parent / "new").exists()

"""Paths that a user gives."""

import os
import pathlib

import pytest

from recycle_tf import paths
from recycle_tf.errors import UserError

LATIN = os.fsdecode(b"caf\xe9")


def test_home_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.from_user("~/photos", "dataset") == tmp_path / "photos"
    assert paths.from_user(pathlib.Path("~/photos"), "dataset") == tmp_path / "photos"
    assert paths.from_user("유리병", "dataset") == pathlib.Path("유리병")


@pytest.mark.parametrize("text", ["", "~nouser/x", "x" * 300, "x/" * 3000, "a\0b", LATIN])
def test_invalid_paths(text):
    with pytest.raises(UserError) as caught:
        paths.from_user(text, "out")
    assert "`out" in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_the_current_folder_matters_for_existing_paths_only(tmp_path, monkeypatch):
    (tmp_path / LATIN / "photos").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / LATIN)
    assert paths.from_user("trashnet", "dataset") == pathlib.Path("trashnet")
    with pytest.raises(UserError, match="`dataset=photos`.*not UTF-8"):
        paths.from_user("photos", "dataset")


def test_a_path_without_a_name_may_have_any_bytes():
    assert paths.from_user(LATIN, utf8=False) == pathlib.Path(LATIN)
    for text in ("", "a\0b", "~nouser/x", "x" * 300):
        with pytest.raises(UserError) as caught:
            paths.from_user(text, utf8=False)
        assert "`" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a b/can.jpg", "a b/can.jpg"),
        ("유리병.jpg", "유리병.jpg"),
        (pathlib.Path("can.jpg"), "can.jpg"),
        ("a\x1b[31m\n", r"a\x1b[31m\n"),
        ("a\udcff", r"a\udcff"),
    ],
)
def test_printable(text, shown):
    assert paths.printable(text) == shown


def test_utf8():
    assert paths.is_utf8("유리병")
    assert not paths.is_utf8(LATIN)

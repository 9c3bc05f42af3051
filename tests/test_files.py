"""A file under its final name is complete."""

import pathlib

import pytest

from recycle_tf.errors import UserError
from recycle_tf.files import replacing, user_path


def test_a_file_is_replaced_when_the_block_succeeds(tmp_path):
    path = tmp_path / "model.keras"
    path.write_text("before")
    with replacing(path) as temporary:
        temporary.write_text("after")
        assert path.read_text() == "before"
        assert temporary.suffix == path.suffix
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "model.keras"
    path.write_text("before")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        1 / 0  # noqa: B018
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_user_path(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert user_path("~/photos") == pathlib.Path("/home/me/photos")
    with pytest.raises(UserError, match="~nobody-of-that-name/x"):
        user_path("~nobody-of-that-name/x")

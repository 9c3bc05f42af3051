"""Where decoded images are cached."""

import dataclasses
import shutil
import types

import psutil
import pytest
import tensorflow as tf

from recycle_tf.data import cache, sources
from recycle_tf.errors import UserError
from tests.conftest import write_photos


def set_free(monkeypatch, memory, disk):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(available=memory))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=disk))


@pytest.mark.parametrize(
    ("memory", "disk", "place"), [(400, 0, "memory"), (399, 200, "disk"), (399, 199, "off")]
)
def test_auto_depends_on_what_is_free(monkeypatch, caplog, memory, disk, place):
    set_free(monkeypatch, memory, disk)
    assert cache._place("auto", 100) == place
    assert ("do not fit" in caplog.text) == (place != "memory")


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_a_cache_without_space_is_an_error(monkeypatch, photos, place):
    split = sources.open_source(photos).splits["train"]
    set_free(monkeypatch, 0, 0)
    with pytest.raises(UserError, match=f"`cache={place}`.*`cache=auto`"):
        cache.reader(split, 16, "stretch", place)


def test_a_damaged_image_is_named(tmp_path):
    root = write_photos(tmp_path / "photos")
    path = root / "jar" / "jar3.png"
    path.write_bytes(path.read_bytes()[:60])
    source = sources.open_source(str(root))
    damaged = next(split for split in source.splits.values() if "jar/jar3.png" in split.ids)
    with pytest.raises(UserError, match=r"jar/jar3\.png: .*`on_bad_image=skip`"):
        cache.decode_all(damaged, 16)
    for place in ("memory", "disk"):
        with pytest.raises(UserError, match=r"jar/jar3\.png: "):
            cache.reader(damaged, 16, "stretch", place)


def test_no_image_is_blamed_for_an_error_that_is_gone(photos):
    split = sources.open_source(photos).splits["train"]
    reads = []

    def encoded(index):
        reads.append(index)
        if len(reads) == 1:
            raise ConnectionError("reset by peer")
        return split.encoded(index)

    flaky = dataclasses.replace(
        split, encoded=lambda index: tf.ensure_shape(tf.py_function(encoded, [index], tf.string), [])
    )
    with pytest.raises(tf.errors.OpError, match="reset by peer"):
        cache.decode_all(flaky, 16)
    assert len(reads) > len(split)

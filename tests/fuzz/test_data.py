"""Damaged manifests: examples, or one line that names the manifest or a file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recycle_tf.data.sources import open_source
from recycle_tf.data.splits import read_manifest
from recycle_tf.errors import UserError
from tests.conftest import write_photos
from tests.fuzz.mutations import answer_or_user_error, damaged, examples

cells = st.text(max_size=8) | st.sampled_from(
    ["can/can0.png", "jar/jar1.png", "../x.png", "/etc/passwd", "\0", '"', "\r", "train", "test", "0" * 16]
)
tables = st.lists(st.lists(cells, max_size=5), max_size=6).map(
    lambda rows: "\n".join(["image,label,split,sha256", *(",".join(row) for row in rows)])
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = write_photos(tmp_path_factory.mktemp("data") / "photos", count=4)
    rows = [
        f"{label}/{label}{number}.png,{label},{split}"
        for label in ("can", "jar", "tube")
        for number, split in enumerate(("train", "train", "validation", "test"))
    ]
    (folder / "whole.csv").write_text("\n".join(["image,label,split", *rows, ""]))
    return folder


def test_a_damaged_manifest_is_rows_or_one_line(folder):
    path = folder / "manifest.csv"
    whole = (folder / "whole.csv").read_bytes()

    @examples(60)
    @given(content=damaged(whole) | tables.map(lambda text: text.encode("utf-8", "surrogatepass")))
    def check(content):
        path.write_bytes(content)
        found = answer_or_user_error(read_manifest, path)
        assert isinstance(found, dict) or "manifest.csv" in str(found)

    check()


def test_a_damaged_manifest_is_a_source_or_one_line(folder):
    path = folder / "manifest.csv"
    whole = (folder / "whole.csv").read_bytes()

    @examples(25)
    @given(content=damaged(whole))
    def check(content):
        path.write_bytes(content)
        found = answer_or_user_error(open_source, str(path))
        assert isinstance(found, UserError) or found.num_examples

    check()

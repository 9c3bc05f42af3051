"""`export.json`: which rows are read, and of which network they are."""

import json

import pytest

from export import record
from recycle_tf.errors import UserError
from tests.export.conftest import ROW


@pytest.mark.parametrize(
    "change",
    [
        {"path": "/photos"},
        {"path": "../photos"},
        {"path": "rejected/../../photos"},
        {"path": "other/model.tflite"},
        {"path": ".."},
        {"path": 3},
        {"format": "../../photos"},
        {"bytes": "1"},
        {"verification": {"failure": "it fails"}},
        {"verification": 3},
    ],
)
def test_rows_that_cannot_be_ours_are_refused(change, tmp_path):
    """Files of outdated rows are deleted."""
    folder = tmp_path / "run" / "export"
    folder.mkdir(parents=True)
    (folder / "model_int8.tflite").touch()
    for rows, names in (([ROW], ["model_int8.tflite"]), ([ROW | {"path": "rejected/x"}], [])):
        (folder / "export.json").write_text(json.dumps(rows))
        assert [row["path"] for row in record.read(folder)] == names
    (folder / "export.json").write_text(json.dumps([ROW | change]))
    with pytest.raises(UserError, match=r"export\.json: damaged"):
        record.read(folder)


def test_another_familiarity_is_another_network():
    before, now = {"network": "a", "unlike": {"limit": 0.9}}, {"network": "a", "unlike": {"limit": 0.8}}
    without = {"network": "a"}
    assert record.by_network([before, now, without], "a", now["unlike"]) == ([now], [before, without])
    assert record.by_network([now, without, {}], "a", None) == ([without, {}], [now])

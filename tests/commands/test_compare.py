"""`recycle-tf compare`."""

import csv
import json
import shutil

import pytest
from PIL import Image

from recycle_tf import describe


@pytest.fixture
def other(finished_run, tmp_path):
    """The run with another report, and an export."""
    run = shutil.copytree(finished_run, tmp_path / "other")
    report = json.loads((run / "report" / "metrics.json").read_text())
    report |= {"accuracy": 0.5, "accuracy_interval": [0.3, 0.7]}
    (run / "report" / "metrics.json").write_text(json.dumps(report))
    (run / "export").mkdir()
    (run / "export" / "model_int8.tflite").write_bytes(b"1")
    row = {
        "format": "tflite_int8",
        "path": "model_int8.tflite",
        "bytes": 2_500_000,
        "latency_ms": {"threads_1": 3.25, "threads_2": 2},
        "verification": {"accuracy": 0.45},
    }
    gone = row | {"format": "tflite_float32", "path": "gone.tflite"}
    (run / "export" / "export.json").write_text(json.dumps([row, gone]))
    return run


def test_one_row_per_run(recycle_tf, finished_run, other, tmp_path):
    table, plot = tmp_path / "runs.csv", tmp_path / "runs.png"
    result = recycle_tf("compare", finished_run, other, f"--csv={table}", f"--plot={plot}")
    assert result.status == 0, result.err
    head, first, second = result.out.splitlines()[:3]
    assert head.split()[:2] == ["network", "px"]
    assert "f32" not in head
    assert first.split()[0] == "run"
    assert "50.0 (30.0 to 70.0)" in second
    assert second.endswith("45.0")
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    expected = describe("test_resnet", 3, image_size=32)
    assert [int(row["parameters"]) for row in rows] == [expected.trainable] * 2
    assert int(rows[0]["macs"]) == expected.macs
    assert (rows[0]["int8_ms"], rows[1]["int8_ms"]) == ("", "3.25")
    assert rows[1]["accuracy_low"] == "0.3"
    with Image.open(plot) as image:
        assert image.size == (1320, 552)


def test_other_data(rejected, finished_run, other):
    record = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(record | {"fingerprint": "another"}))
    rejected(("compare", finished_run, other), str(other), "different data")


def test_without_a_report(rejected, other):
    (other / "report" / "metrics.json").unlink()
    rejected(("compare", other), "metrics.json", "evaluate")


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("compare",), ("no runs given",)),
        (("compare", "/no/run"), ("/no/run", "no such folder")),
        (("compare", "x", "--csv=x.txt"), ("--csv=x.txt", ".csv")),
        (("compare", "x", "--plot=/no/dir/x.png"), ("--plot=/no/dir/x.png", "folder")),
    ],
)
def test_mistakes(rejected, arguments, names):
    rejected(arguments, *names)

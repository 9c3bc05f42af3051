"""`python -m export benchmark`."""

import csv

import pytest

from export import benchmark
from export.__main__ import main
from recycle_tf import describe
from tests.export.conftest import check_error, run_command


def test_costs_of_architectures(tmp_path):
    table, plot = tmp_path / "costs.csv", tmp_path / "costs.png"
    archs = ["test_resnet", "test_densenet"]
    result = run_command(
        main, "benchmark", *archs, "--image_size=32", "--batch_size=4", f"--csv={table}", f"--plot={plot}"
    )
    assert result.status == 0, result.errors
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert [row["name"] for row in rows] == archs
    for row in rows:
        expected = describe(row["arch"], 6, image_size=32)
        assert (int(row["macs"]), int(row["activations"])) == (expected.macs, expected.activations)
        for name in ("keras_ms", "float32_ms", "int8_ms", "images_per_second", "training_memory"):
            assert float(row[name]) > 0
        assert int(row["int8_bytes"]) < int(row["float32_bytes"])
        assert row["accuracy"] == ""
    assert plot.stat().st_size > 10_000


def test_what_has_no_integers_is_left_empty(tmp_path):
    table = tmp_path / "costs.csv"
    result = run_command(
        benchmark.main, "test_deformable*", "--image_size=32", "--batch_size=0", f"--csv={table}"
    )
    assert result.status == 0, result.errors
    row = next(csv.DictReader(table.open(encoding="utf-8")))
    assert (row["int8_ms"], row["images_per_second"]) == ("", "")
    assert float(row["float32_ms"]) > 0


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ((), ("no architectures",)),
        (("resnet",), ("resnet", "resnet50")),
        (("resnet18", "--csv=x.txt"), ("--csv=x.txt",)),
        (("test_resnet", "--image_size=0"), ("image_size",)),
    ],
)
def test_mistakes(arguments, names):
    check_error(run_command(benchmark.main, *arguments), *names)

"""The files of a report beside its page."""

import csv

import numpy as np
import pytest
from PIL import Image

from recycle_tf.errors import UserError
from recycle_tf.evaluation import metrics, plots, report, shifts


def test_names_of_classes_are_no_formulas(tmp_path):
    labels = ["=1+1", "@can", "jar"]
    summary = metrics.summarise(np.eye(3), np.arange(3), labels)
    report._write_table(tmp_path / "per_class.csv", summary)
    with open(tmp_path / "per_class.csv", newline="", encoding="utf-8") as file:
        assert [row["class"] for row in csv.DictReader(file)] == ["'=1+1", "'@can", "jar"]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "run").write_text("a file")
    found = shifts.Robustness(1.0, {"dim": [1.0] * len(shifts.STRENGTHS)}, 3)
    with pytest.raises(UserError, match=f"{tmp_path / 'run' / 'report'}: cannot be written"):
        report.write_shifts(tmp_path / "run" / "report", found, np.zeros((8, 8, 3), np.uint8))


def test_a_sheet_of_large_photographs_needs_no_more_memory_than_it_shows(tmp_path):
    Image.new("RGB", (3000, 2000), "red").save(tmp_path / "large.jpg")
    assert max(plots._preview((tmp_path / "large.jpg").read_bytes()).size) == plots.PREVIEW

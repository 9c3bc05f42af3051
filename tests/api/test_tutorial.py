"""docs/tutorial.ipynb, as `make docs` runs it, with fewer images and epochs."""

import importlib.util
import json

import pytest

from tests.api.conftest import ROOT

PATH = ROOT / "docs" / "tutorial.ipynb"


@pytest.fixture(scope="module")
def notebook_page():
    spec = importlib.util.spec_from_file_location("notebook_page", ROOT / "docs" / "notebook_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_cell_runs(notebook_page, tmp_path, monkeypatch):
    from recyclables_synth.recyclables_synth_dataset_builder import Builder

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Builder, "EXAMPLES_PER_CLASS", {"train": 8, "validation": 3, "test": 4})
    smaller = {
        '"recyclables_synth"': f'"recyclables_synth", data_dir={str(tmp_path / "data")!r}',
        "epochs=20": "epochs=2",
        'export("tflite_int8"': 'export("tflite_int8", max_drop=100',
    }
    cells = notebook_page.cells(PATH)
    for before, after in smaller.items():
        assert any(before in text for _, text in cells), before
        cells = [(kind, text.replace(before, after) if kind == "code" else text) for kind, text in cells]
    outputs = dict(zip([text.splitlines()[-1] for _, text in cells], notebook_page.run(cells), strict=True))
    assert "<th>recyclables_synth</th>" in outputs["data"][1][-1]["text/html"]
    assert "image/png" in outputs["data.show()"][1][-1]
    assert "audit.html" in outputs["rt.audit(data)"][1][-1]["text/html"]
    # The history is not the value of its cell, and is drawn all the same.
    assert [set(shown) & {"image/png"} for shown in outputs["run"][1]] == [{"image/png"}, set()]
    assert "accuracy" in outputs["run.evaluate()"][1][-1]["text/html"]
    assert "tflite_int8      verified" in outputs["files"][0]
    assert "image/png" in outputs["run.explain(answers[0].image)"][1][-1]
    assert (tmp_path / "bins.csv").read_text().count("\n") == len(
        outputs["answers"][1][-1]["text/html"].split("<tr>")
    ) - 1
    assert {path.name for path in tmp_path.iterdir()} == {"audit", "bins.csv", "data", "runs"}


def test_the_text_stands_in_both_languages():
    cells = json.loads(PATH.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    assert len(texts) % 2 == 0
    for english, korean in zip(texts[::2], texts[1::2], strict=True):
        assert not any("가" <= letter <= "힣" for letter in english)
        assert any("가" <= letter <= "힣" for letter in korean)
    # Results are made by `make docs`, not stored.
    assert not any(cell.get("outputs") for cell in cells)


def test_the_page_has_results(notebook_page, tmp_path):
    notebook = {
        "cells": [
            {"cell_type": "markdown", "source": ["# Title\n", "text"]},
            {"cell_type": "code", "source": ["print('printed')\n", "1 + 1"]},
        ]
    }
    (tmp_path / "x.ipynb").write_text(json.dumps(notebook))
    page = notebook_page.as_markdown(tmp_path / "x.ipynb")
    assert page.startswith("# Title\ntext\n\n```python\nprint('printed')\n1 + 1\n```")
    assert "```text\nprinted\n```" in page
    assert page.endswith("```text\n2\n```\n")

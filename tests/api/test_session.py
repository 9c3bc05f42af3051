"""The session of the README, as a notebook runs it."""

import csv
import re

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell

from tests.api.conftest import LABELS, TINY
from tests.conftest import ROOT

REAL = 'arch="efficientnet_lite0", weights="imagenet", recipe="finetune", image_size=160'
"""Settings of the README, in whose place the tiny network is trained."""


@pytest.fixture
def shell():
    shell = InteractiveShell.instance()
    shell.display_pub = CapturingDisplayPublisher()
    yield shell
    InteractiveShell.clear_instance()


def test_the_session_of_the_readme(here, shell, capfd):
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    (session,) = re.findall(r"```python\n(import recycle_tf as rt\n.*?)```", page, re.DOTALL)
    assert REAL in session
    assert 'run.export("tflite_int8")' in session
    tiny = ", ".join(f"{name}={value!r}" for name, value in {**TINY, "epochs": 6}.items())
    session = session.replace(REAL, tiny).replace(
        'export("tflite_int8"', 'export("tflite_int8", max_drop=100'
    )
    shown = {}
    for line in filter(None, session.splitlines()):
        shell.display_pub.outputs.clear()
        result = shell.run_cell(line)
        result.raise_error()
        value = shell.display_formatter.format(result.result)[0] if result.result is not None else {}
        shown[line.partition("  #")[0].strip()] = value, [o["data"] for o in shell.display_pub.outputs]
    value, _ = shown["rt.audit(data)"]
    assert 'href="audit/photos/audit.html"' in value["text/html"]
    value, drawn = shown['run.plot_history(); run.evaluate("other_photos")']
    assert "other_photos all: accuracy" in value["text/html"]
    assert len([data for data in drawn if "image/png" in data]) == 2
    value, _ = shown['clf.predict("new/")']
    assert "new/1.jpg" in value["text/html"]
    value, _ = shown['run.explain("new/1.jpg")']
    assert "image/png" in value
    with open("bins.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [f"new/{number}.jpg" for number in range(1, 7)]
    assert all(row["label"] in LABELS and 0 < float(row["probability"]) <= 1 for row in rows)
    value, _ = shown['run.export("tflite_int8", max_drop=100)']
    assert "model_int8.tflite" in value["text/plain"]


def test_names_are_completed(shell):
    shell.run_cell("import recycle_tf as rt").raise_error()
    with provisionalcompleter():
        found = {one.text.rpartition(".")[2] for one in shell.Completer.completions("rt.open_", 8)}
    assert {"open_dataset", "open_run"} <= found

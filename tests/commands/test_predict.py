"""`recycle-tf predict`."""

import io
import json
import os
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from tests.conftest import ROOT, write_photos


def standard_input(content):
    """What takes the place of `sys.stdin`."""
    return io.TextIOWrapper(io.BytesIO(content if isinstance(content, bytes) else content.encode()), "utf-8")


def test_the_label_of_each_image(recycle_tf, finished_run, tmp_path):
    photos = write_photos(tmp_path / "new", count=3, seed=9)
    result = recycle_tf("predict", f"--model={finished_run}", photos, photos / "jar" / "jar0.png")
    assert result.status == 0, result.err
    lines = result.out.splitlines()
    assert len(lines) == 10
    right = sum(line.split()[0].split("/")[-2] == line.split()[1] for line in lines)
    assert right >= 8
    assert all(line.split()[2].endswith("%") for line in lines)


def test_not_sure_below_the_threshold(recycle_tf, finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    photos = write_photos(tmp_path / "new", count=2)
    known = {"threshold": 0.5, "limit": 0.0, "width": 1e-3}
    for threshold, unsure in ((0.0, 0), (1.01, 6)):
        record = json.loads((run / "calibration.json").read_text())
        (run / "calibration.json").write_text(json.dumps({**record, "threshold": threshold, "unlike": known}))
        result = recycle_tf("predict", f"--model={run}", photos)
        assert result.out.count("not sure") == unsure


def test_a_sheet(recycle_tf, finished_run, tmp_path):
    photos = write_photos(tmp_path / "new", count=2)
    sheet = tmp_path / "sheet.png"
    for _ in range(2):  # An earlier sheet is replaced, also among the images.
        result = recycle_tf("predict", f"--model={finished_run}", f"--sheet={sheet}", photos)
        assert result.status == 0, result.err
    with Image.open(sheet) as image:
        assert image.size == (1200, 460)  # six images in two rows of five


def test_damaged_files_are_reported_and_the_rest_is_predicted(recycle_tf, finished_run, tmp_path):
    photos = write_photos(tmp_path / "new", count=3)
    (photos / "can" / "can1.png").write_bytes((photos / "can" / "can1.png").read_bytes()[:100])
    (photos / "jar" / "jar\x1b[31m.png").write_text("no image")
    result = recycle_tf("predict", f"--model={finished_run}", photos)
    assert result.status == 1
    assert len(result.out.splitlines()) == 8
    assert "can1.png" in result.err
    assert "2 of 10" in result.err
    assert "\x1b" not in result.out + result.err


def test_file_names_that_are_not_utf8(recycle_tf, finished_run, tmp_path):
    photos = write_photos(tmp_path / "new", count=1)
    (photos / "can" / "can0.png").rename(photos / "can" / "can\udcff.png")
    result = recycle_tf("predict", f"--model={finished_run}", photos)
    assert result.status == 0, result.err
    assert r"can\udcff.png" in result.out


def test_a_sheet_on_a_full_disk(rejected, small_disk, finished_run, tmp_path):
    photos = write_photos(tmp_path / "new", count=1)
    small_disk(tmp_path / "disk", "size=4k")
    sheet = tmp_path / "disk" / "sheet.png"
    result_names = (f"--sheet={sheet}", "No space left")
    rejected(("predict", f"--model={finished_run}", f"--sheet={sheet}", str(photos)), *result_names)
    assert not list((tmp_path / "disk").iterdir())


def test_paths_from_standard_input_into_a_table(recycle_tf, finished_run, tmp_path, monkeypatch):
    photos = write_photos(tmp_path / "new", count=2)
    paths = sorted(map(str, photos.rglob("*.png")))
    monkeypatch.setattr("sys.stdin", standard_input("\n".join(paths) + "\n"))
    table = tmp_path / "bins.csv"
    result = recycle_tf("predict", f"--model={finished_run}", f"--csv={table}", "--top=2", "-")
    assert result.status == 0, result.err
    assert all(line.count("%") == 2 for line in result.out.splitlines())
    assert [line.split(",")[0] for line in table.read_text().splitlines()[1:]] == paths


def test_nothing_on_standard_input(rejected, finished_run, monkeypatch):
    monkeypatch.setattr("sys.stdin", standard_input("\n"))
    rejected(("predict", f"--model={finished_run}", "-"), "standard input")


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("predict", "--model=x"), ("no images given",)),
        (("predict", "x.jpg"), ("--model", "missing")),
        (("predict", "--model=RUN", "gone.jpg"), ("gone.jpg", "no such file")),
        (("predict", "--model=RUN", "x" * 5000), ("File name too long",)),
        (("predict", "--model=RUN", "tests/models"), ("tests/models", "no images")),
        (("predict", "--model=x", "--sheet=/no/dir/x.png", "setup.py"), ("--sheet=/no/dir/x.png",)),
        (("predict", "--model=x", "--csv=/no/dir/x.csv", "setup.py"), ("--csv=/no/dir/x.csv",)),
        (("predict", "--model=x", "--csv=", "setup.py"), ("--csv", "empty")),
        (("predict", "--model=x", "--rules=", "setup.py"), ("--rules", "empty")),
        (("predict", "--model=x", "--top=0", "setup.py"), ("top",)),
        (("predict", "--model=/no/run", "setup.py"), ("--model=/no/run", "no such folder")),
        (("predict", "--model=gone.tflite", "setup.py"), ("--model=gone.tflite", "no such file")),
        (("predict", "--model=setup.py", "setup.py"), ("--model=setup.py",)),
    ],
)
def test_mistakes(rejected, finished_run, arguments, names):
    rejected([argument.replace("RUN", str(finished_run)) for argument in arguments], *names)


def test_a_file_that_is_not_an_image(recycle_tf, finished_run):
    result = recycle_tf("predict", f"--model={finished_run}", "setup.py")
    assert result.status == 1
    assert "setup.py" in result.err


@pytest.mark.parametrize(
    ("name", "suffix"), [("csv", ".csv"), ("json", ".json"), ("jsonl", ".jsonl"), ("sheet", "")]
)
def test_photographs_are_not_taken_for_the_file_of_answers(rejected, finished_run, tmp_path, name, suffix):
    """`--csv *.png` names the first photograph."""
    photos = sorted(write_photos(tmp_path / "new", classes=("can",), count=3).rglob("*.png"))
    before = photos[0].read_bytes()
    rejected(
        ["predict", f"--model={finished_run}", f"--{name}={photos[0]}", *photos[1:]], f"--{name}", suffix
    )
    assert photos[0].read_bytes() == before


def test_names_on_standard_input_that_are_not_utf8(recycle_tf, finished_run, tmp_path, monkeypatch):
    (photo,) = write_photos(tmp_path / "new", classes=("can",), count=1).rglob("*.png")
    odd = os.fsencode(photo.parent) + b"/caf\xe9.png"
    os.rename(photo, odd)
    monkeypatch.setattr("sys.stdin", standard_input(odd + b"\n"))
    result = recycle_tf("predict", f"--model={finished_run}", "-")
    assert result.status == 0, result.err
    assert "can" in result.out


def test_a_reader_that_has_enough(finished_run, tmp_path):
    photos = write_photos(tmp_path / "new", count=2)
    command = f"'{sys.executable}' -m recycle_tf predict --model={finished_run} --top=3 {photos} | head -n 0"
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 141, result.stderr
    assert "Traceback" not in result.stderr
    assert "Broken pipe" not in result.stderr

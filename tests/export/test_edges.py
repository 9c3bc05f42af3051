"""Runs that are not as one would have them: it works, or one line says why not; never half a file."""

import json
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT, run_python, tiny_training, write_photos
from tests.test_train import check_refused


def export(run, *flags, **options):
    return run_python("-m", "export", f"--run={run}", "--max_drop=100", *flags, **options)


def check_whole(run):
    """That nothing half-written lies about, and that what is there is what the record says."""
    assert not list(run.rglob(".partial-*"))
    record = run / "export" / "export.json"
    rows = json.loads(record.read_text()) if record.exists() else []
    networks = {path.name for path in (run / "export").glob("*.tflite")}
    assert networks == {row["path"] for row in rows if row["path"].endswith(".tflite")}
    for row in rows:
        path = run / "export" / row["path"]
        files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
        assert sum(p.stat().st_size for p in files) == row["bytes"]


@pytest.fixture
def copy(finished_run, tmp_path):
    return shutil.copytree(finished_run, tmp_path / "run")


@pytest.fixture
def elsewhere(copy):
    """A run that came from another machine, without its pictures."""
    file = copy / "config.json"
    record = json.loads(file.read_text())
    record["config"]["dataset"] = "/gone/photos"
    file.write_text(json.dumps(record))
    return copy


def test_of_another_machine(elsewhere, finished_run):
    check_refused(
        export(elsewhere, "--formats=tflite_float32"),
        "a copy verifies too, --dataset=FOLDER, and --unverified writes without proof",
    )
    assert not (elsewhere / "export").exists()
    photos = finished_run.parent / "photos"
    result = export(elsewhere, "--formats=tflite_float32", f"--dataset={photos}")
    assert result.returncode == 0, result.stderr
    assert "tflite_float32   verified" in result.stdout


def test_without_the_data_set(elsewhere, tmp_path):
    check_refused(
        export(elsewhere, "--unverified", "--formats=tflite_int8"),
        "--formats=tflite_int8: the ranges of its integers are measured on training pictures",
    )
    (elsewhere / "export" / "golden").mkdir(parents=True)
    result = export(elsewhere, "--unverified")
    assert result.returncode == 0, result.stderr
    assert "tflite_int8      left out: the ranges of its integers" in result.stdout
    assert "tflite_float16   not verified" in result.stdout
    spec = json.loads((elsewhere / "export" / "spec.json").read_text())
    assert spec["temperature"] == 1.0
    assert not {"threshold", "calibration"} & set(spec)
    assert not (elsewhere / "export" / "golden").exists()
    for row in json.loads((elsewhere / "export" / "export.json").read_text()):
        assert row["verification"] is None
    card = (elsewhere / "export" / "card.md").read_text()
    assert "Nothing was measured: no data set was at hand" in card
    assert "The temperature is 1: the probabilities have been compared with no data." in card
    check_whole(elsewhere)


def test_while_it_is_training(tmp_path):
    photos, run = write_photos(tmp_path / "photos", count=20), tmp_path / "run"
    command = [sys.executable, "train.py", *tiny_training(photos), f"--run_dir={run}", "--epochs=100000"]
    training = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        while not (run / "model.keras").exists():
            assert training.poll() is None, training.stderr.read()
            time.sleep(0.1)
        result = export(run, "--formats=tflite_float32")
        assert training.poll() is None
    finally:
        training.kill()
        training.communicate()
    assert result.returncode == 0, result.stderr
    assert f"{run}: its training has not ended; exported is its best model so far" in result.stdout
    assert "tflite_float32   verified" in result.stdout


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_and_run_again(copy, stop):
    process = subprocess.Popen(
        [sys.executable, "-m", "export", f"--run={copy}", "--formats=tflite_float32,saved_model"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # As in a terminal; a process that a shell started in the background ignores Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not list((copy / "export").glob(".partial-*")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(stop)
    _, errors = process.communicate(timeout=240)
    if stop == signal.SIGINT:
        assert process.returncode == 130, errors
        assert errors.strip().splitlines()[-1] == "interrupted"
        check_whole(copy)
    assert not (copy / "export" / "model_float32.tflite").exists()
    result = export(copy, "--formats=tflite_float32")
    assert result.returncode == 0, result.stderr
    check_whole(copy)


def test_onto_a_full_disk(copy, small_disk, tmp_path):
    assert export(copy, "--formats=tflite_float32").returncode == 0
    run = tmp_path / "disk" / "run"
    size = sum(path.stat().st_size for path in copy.rglob("*") if path.is_file())
    small_disk(run.parent, f"size={size + 200_000}")
    shutil.copytree(copy, run)
    before = (run / "export" / "model_float32.tflite").read_bytes()
    for formats in ("tflite_float32", "saved_model"):
        (run / "filling").write_bytes(bytes(shutil.disk_usage(run).free - 60_000))
        result = export(run, f"--formats={formats}")
        check_refused(result, "cannot be written (No space left on device); mend that, and give")
        assert (run / "export" / "model_float32.tflite").read_bytes() == before
        check_whole(run)
        (run / "filling").unlink()

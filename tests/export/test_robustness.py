"""Runs and disks with problems: it works, or one line says why not; and never half an export."""

import json
import shutil
import subprocess
import sys
import tempfile
import time

import pytest

from tests.conftest import ROOT, tiny_training, write_photos
from tests.export.conftest import check_error, check_whole, content_of, export, rows_of, succeed


@pytest.fixture
def elsewhere(copy):
    """A run that was copied from another machine without its images."""
    file = copy / "config.json"
    record = json.loads(file.read_text())
    record["config"]["dataset"] = "/gone/photos"
    file.write_text(json.dumps(record))
    return copy


def test_a_run_from_another_machine(elsewhere, finished_run):
    result = export(elsewhere, "--formats=tflite_float32")
    check_error(result, "/gone/photos", "--dataset=FOLDER", "--unverified")
    assert not (elsewhere / "export").exists()
    photos = finished_run.parent / "photos"
    output = succeed(elsewhere, "--formats=tflite_float32", f"--dataset={photos}")
    assert "tflite_float32   verified" in output


def test_without_the_dataset(elsewhere):
    result = export(elsewhere, "--unverified", "--formats=tflite_int8")
    check_error(result, "--formats=tflite_int8", "--unverified")
    (elsewhere / "export" / "golden").mkdir(parents=True)
    output = succeed(elsewhere, "--unverified", "--formats=tflite_float16,tflite_dynamic")
    assert "tflite_float16   not verified" in output
    assert not (elsewhere / "export" / "golden").exists()
    assert {row["verification"] for row in rows_of(elsewhere).values()} == {None}
    card = (elsewhere / "export" / "card.md").read_text()
    assert "Nothing was measured" in card
    check_whole(elsewhere)


def test_an_unfinished_run(copy):
    (copy / "checkpoints").mkdir()
    (copy / "checkpoints" / "epoch0001.npz").touch()
    output = succeed(copy, "--formats=tflite_float32")
    assert f"{copy}: training has not ended" in output
    assert "tflite_float32   verified" in output


@pytest.mark.slow
def test_while_the_run_is_training(tmp_path):
    photos, run = write_photos(tmp_path / "photos", count=20), tmp_path / "run"
    command = [sys.executable, "train.py", *tiny_training(photos), f"--run_dir={run}", "--epochs=100000"]
    training = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        while not (run / "model.keras").exists():
            assert training.poll() is None, training.stderr.read()
            time.sleep(0.1)
        output = succeed(run, "--formats=tflite_float32")
        assert training.poll() is None
    finally:
        training.kill()
        training.communicate()
    assert f"{run}: training has not ended" in output
    assert "tflite_float32   verified" in output


@pytest.fixture
def disk(copy, small_disk, tmp_path):
    """A run with an export on a disk of its own."""
    succeed(copy, "--formats=tflite_float32")
    size = sum(path.stat().st_size for path in copy.rglob("*") if path.is_file())
    small_disk(tmp_path / "disk", f"size={2 * size + 400_000}")
    return shutil.copytree(copy, tmp_path / "disk" / "run")


def fill(folder, free):
    """Fills the disk of a folder, except for some bytes."""
    (folder / "filling").write_bytes(bytes(shutil.disk_usage(folder).free - free))


@pytest.mark.parametrize("name", ["tflite_float32", "saved_model"])
def test_a_full_disk(disk, name, capfd):
    before = content_of(disk / "export")
    fill(disk, 60_000)
    check_error(export(disk, f"--formats={name}"), disk, "No space left on device")
    assert capfd.readouterr() == ("", "")
    assert content_of(disk / "export") == before
    check_whole(disk)


def test_a_disk_that_is_full_at_the_end(disk):
    """The artifact fits, what is written beside it does not."""
    before = content_of(disk / "export")
    fill(disk, (disk / "export" / "model_float32.tflite").stat().st_size + 8_000)
    check_error(export(disk, "--formats=tflite_float32"), disk, "No space left on device")
    assert content_of(disk / "export") == before
    check_whole(disk)


def test_a_read_only_disk(disk):
    subprocess.run(["mount", "-o", "remount,ro", disk.parent], check=True)
    before = content_of(disk)
    check_error(export(disk, "--formats=saved_model"), disk, "Read-only file system")
    assert content_of(disk) == before


@pytest.mark.parametrize("option", ["size=40k", "ro"])
def test_a_temporary_folder_that_cannot_be_written(copy, small_disk, tmp_path, monkeypatch, capfd, option):
    small_disk(tmp_path / "temporary", option)
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
        result = export(copy, "--formats=tflite_float32")
    check_error(result, tmp_path / "temporary")
    # C++ libraries write to the file descriptors themselves.
    assert capfd.readouterr() == ("", "")
    assert not (copy / "export").exists()
    check_whole(copy)


def test_no_temporary_folder_at_all(copy, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", None)
        patch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/no/temporary"])
        result = export(copy, "--formats=tflite_float32")
    check_error(result, "/no/temporary")
    check_whole(copy)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("export.json", "[{"),
        ("export.json", "{}x"),
        ("export.json", '[{"format": "onnx"}]'),
        ("export.json", "3"),
        ("golden/expected.json", "[{"),
        ("golden/expected.json", '[{"file": "x"}]'),
    ],
)
def test_a_damaged_record_of_an_earlier_export_is_reported_before_any_work(copy, name, content):
    file = copy / "export" / name
    file.parent.mkdir(parents=True)
    file.write_text(content)
    # Loading it would be the first work.
    (copy / "model.keras").write_bytes(b"damaged as well")
    check_error(export(copy, "--formats=tflite_float32"), file)
    assert file.read_text() == content

"""`python -m recycle_tf …`."""

import json
import shutil

import pytest
from PIL import Image

from tests.conftest import run_python, write_photos
from tests.test_train import check_refused


def test_evaluate_writes_the_report_again(finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    shutil.rmtree(run / "report")
    result = run_python("-m", "recycle_tf", "evaluate", f"--run={run}")
    assert result.returncode == 0, result.stderr
    again = json.loads((run / "report" / "metrics.json").read_text())
    assert again == json.loads((finished_run / "report" / "metrics.json").read_text())
    assert f"accuracy {again['accuracy']:.4f}" in result.stdout


def test_predict_says_the_label(finished_run, tmp_path):
    photos = write_photos(tmp_path / "new", count=3, seed=9)
    result = run_python(
        "-m", "recycle_tf", "predict", f"--model={finished_run}", photos, photos / "jar" / "jar0.png"
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 10
    right = sum(line.split()[0].split("/")[-2] == line.split()[1] for line in lines)
    assert right >= 8
    assert all(line.endswith("%") for line in lines)


def test_predict_draws_a_sheet(finished_run, tmp_path):
    photos = write_photos(tmp_path / "new", count=2)
    sheet = tmp_path / "sheet.png"
    result = run_python("-m", "recycle_tf", "predict", f"--model={finished_run}", f"--sheet={sheet}", photos)
    assert result.returncode == 0, result.stderr
    with Image.open(sheet) as picture:
        assert picture.size == (1200, 460)  # six pictures in two rows of five


def test_models_prints_stages():
    result = run_python("-m", "recycle_tf", "models", "resnet18", "--layers")
    assert result.returncode == 0, result.stderr
    assert "3x3 512, 3x3 512" in result.stdout


def test_models_prints_counts():
    result = run_python("-m", "recycle_tf", "models", "resnet18")
    assert result.returncode == 0, result.stderr
    assert "11,689,512" in result.stdout
    assert "1.814" in result.stdout
    assert "arXiv 1512.03385" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluat"], "evaluat: no such command, did you mean evaluate?"),
        (["evaluate"], "--run: missing"),
        (["evaluate", "--run=/no/run"], "--run=/no/run: no such folder"),
        (["evaluate", "--run=tests"], "--run=tests: not a run"),
        (["evaluate", "--run=x", "--split=dev"], "--split"),
        (["predict", "--model=x"], "no pictures given"),
        (["predict", "x.jpg"], "--model: missing"),
        (["predict", "--model=x", "gone.jpg"], "gone.jpg: no such file or folder"),
        (["predict", "--model=x", "tests/models"], "tests/models: no pictures in this folder"),
        (
            ["predict", "--model=x", "--sheet=/no/dir/x.png", "setup.py"],
            "--sheet=/no/dir/x.png: expected a .png",
        ),
        (["predict", "--model=/no/run", "setup.py"], "--model=/no/run: no such folder"),
        (["evaluate", "--run=tests", "test"], "test: not a flag; write --name=value"),
        (["predict", "--model=gone.tflite", "setup.py"], "--model=gone.tflite: no such file"),
        (["models", "resnt50"], "resnt50: no architecture of that name, did you mean resnet50"),
    ],
)
def test_mistakes(arguments, message):
    check_refused(run_python("-m", "recycle_tf", *arguments), message)


def test_predict_names_a_file_that_is_no_picture(finished_run):
    check_refused(
        run_python("-m", "recycle_tf", "predict", f"--model={finished_run}", "setup.py"),
        "setup.py: not a picture",
    )


def test_another_split_leaves_the_report_alone(finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    before = (run / "report" / "metrics.json").read_bytes()
    result = run_python("-m", "recycle_tf", "evaluate", f"--run={run}", "--split=train")
    assert result.returncode == 0, result.stderr
    assert (run / "report" / "metrics.json").read_bytes() == before
    assert json.loads((run / "report-photos-train" / "metrics.json").read_text())["examples"] == 42


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", b"", "config.json: damaged, cannot be read"),
        ("config.json", b"[]", "config.json: damaged, config, labels or fingerprint is missing"),
        ("config.json", b'{"config": {}}', "config.json: damaged, config, labels or fingerprint is missing"),
        ("model.keras", b"not a zip", "model.keras: damaged, cannot be loaded"),
    ],
)
def test_a_damaged_run(finished_run, tmp_path, file, content, message):
    run = shutil.copytree(finished_run, tmp_path / "run")
    (run / file).write_bytes(content)
    check_refused(run_python("-m", "recycle_tf", "evaluate", f"--run={run}"), message)


def test_a_model_with_a_damaged_byte(finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    content = bytearray((run / "model.keras").read_bytes())
    content[len(content) // 2] ^= 255
    (run / "model.keras").write_bytes(content)
    check_refused(run_python("-m", "recycle_tf", "evaluate", f"--run={run}"), "model.keras: damaged")


def test_evaluate_on_other_classes(finished_run, tmp_path):
    photos = write_photos(tmp_path / "other", classes=("cup", "lid"))
    result = run_python("-m", "recycle_tf", "evaluate", f"--run={finished_run}", f"--dataset={photos}")
    check_refused(result, "its classes are cup, lid, the run's can, jar, tube")


def test_a_run_of_an_older_version(finished_run, tmp_path):
    """Its config.json lacks the settings that came later."""
    run = shutil.copytree(finished_run, tmp_path / "run")
    record = json.loads((run / "config.json").read_text())
    for name in ("cache", "remat", "on_bad_image", "split", "data_service"):
        del record["config"][name]
    (run / "config.json").write_text(json.dumps(record))
    result = run_python("-m", "recycle_tf", "evaluate", f"--run={run}")
    assert result.returncode == 0, result.stderr
    assert "accuracy" in result.stdout

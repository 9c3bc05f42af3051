"""`python -m recycle_tf …`."""

import json
import re
import shutil

import pytest
from PIL import Image

from recycle_tf.data import sources
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


def test_audit_writes_a_page_and_a_list(photos, tmp_path):
    (photos / "can" / "<b>&\"'.png").write_bytes((photos / "can" / "can0.png").read_bytes())
    (photos / "jar" / "유리병 <i>.png").write_bytes((photos / "can" / "can0.png").read_bytes())
    (photos / "jar" / "<script>alert(1)<.jpg").write_text("<script>alert(1)</script>")
    result = run_python("-m", "recycle_tf", "audit", f"--dataset={photos}", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "photos: 39 pictures" in result.stdout
    assert "3 classes, from tube (12) to jar (14), 1.2 to 1" in result.stdout
    assert re.search(r"files under two labels +1\n", result.stdout)
    assert "next      mend or remove 1 file: a training would not begin with them" in result.stdout
    record = json.loads((tmp_path / "audit" / "photos" / "audit.json").read_text())
    assert record["examples"] == 39
    (double,) = [finding for finding in record["findings"] if finding["kind"] == "two_labels"]
    assert set(double["files"]) == {"can/can0.png", "can/<b>&\"'.png", "jar/유리병 <i>.png"}
    assert set(double["labels"]) == {"can", "jar"}
    assert [f["files"] for f in record["findings"] if f["kind"] == "not_a_picture"] == [
        ["jar/<script>alert(1)<.jpg"]
    ]
    page = (tmp_path / "audit" / "photos" / "audit.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<i>" not in page
    assert "can/&lt;b&gt;&amp;&quot;&#x27;.png" in page
    assert "유리병 &lt;i&gt;.png" in page
    assert page.count('src="data:image/jpeg;base64,') == 3
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_audit_writes_a_split_that_training_takes(photos, tmp_path):
    for number in range(5):
        shutil.copy(photos / "can" / "can0.png", photos / "can" / f"again{number}.png")
    (photos / "jar" / "broken.png").write_text("no picture")
    manifest = tmp_path / "split.csv"
    command = ("-m", "recycle_tf", "audit", f"--dataset={photos}", "--split=grouped", "--seed=1")
    result = run_python(*command, f"--manifest={manifest}", f"--out={tmp_path / 'out'}")
    assert result.returncode == 0, result.stderr
    assert f"next      python train.py --dataset={manifest}" in result.stdout
    assert (tmp_path / "out" / "audit.html").is_file()
    source = sources.open_source(str(manifest))
    assert source.num_examples == 41
    sides = [
        name
        for name, split in source.splits.items()
        for example in split.ids
        if "again" in example or example == "photos/can/can0.png"
    ]
    assert len(sides) == 6
    assert len(set(sides)) == 1


def test_audit_proposes_a_grouped_split(photos, tmp_path):
    for number in range(8):
        shutil.copy(photos / "can" / "can0.png", photos / "can" / f"again{number}.png")
    result = run_python("-m", "recycle_tf", "audit", f"--dataset={photos}", f"--out={tmp_path}")
    assert f"next      python train.py --dataset={photos} --split=grouped" in result.stdout


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "--dataset: missing; give a folder, a .csv or a name such as trashnet"),
        (("--dataset=gone",), "--dataset=gone: no such folder"),
        (("--dataset=PHOTOS", "--out=/proc/audit"), "--out=/proc/audit: cannot be written"),
        (("--dataset=PHOTOS", "--manifest=split.txt"), "--manifest=split.txt: expected a .csv"),
        (("--dataset=PHOTOS", "--manifest=/gone/a.csv"), "expected a .csv in a folder that exists"),
        (("--dataset=PHOTOS", "--manifest=PHOTOS/can/a.csv"), "its paths will be relative to its folder"),
        (("--dataset=PHOTOS", "--split=random"), "--split=random"),
    ],
)
def test_mistakes_in_audit(photos, flags, message):
    flags = [flag.replace("PHOTOS", str(photos)) for flag in flags]
    check_refused(run_python("-m", "recycle_tf", "audit", *flags), message)


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

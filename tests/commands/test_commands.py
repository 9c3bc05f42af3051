"""`python -m recycle_tf …`."""

import json
import re
import shutil

import pytest

from recycle_tf.data import sources
from tests.conftest import run_python
from tests.test_train import check_refused


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


def test_an_unknown_architecture(rejected):
    rejected(("models", "resnt50"), "resnt50", "resnet50")

"""`python -m recycle_tf audit`."""

import json
import os
import re
import shlex
import shutil

import pytest

from recycle_tf.commands import audit
from recycle_tf.config import TrainConfig
from recycle_tf.data import sources
from tests.conftest import write_photos

LATIN = os.fsdecode(b"caf\xe9")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs the command in an empty folder; returns what it prints."""

    def run(*flags):
        place = tmp_path / "place"
        place.mkdir(exist_ok=True)
        monkeypatch.chdir(place)
        status = audit.main(list(map(str, flags)))
        printed = capsys.readouterr()
        assert status == 0, printed.err
        return printed.out

    return run


def test_a_page_and_a_list_are_written(photos, tmp_path, run):
    (photos / "can" / "<b>&\"'.png").write_bytes((photos / "can" / "can0.png").read_bytes())
    (photos / "jar" / "유리병 <i>.png").write_bytes((photos / "can" / "can0.png").read_bytes())
    (photos / "jar" / "<script>alert(1)<.jpg").write_text("<script>alert(1)</script>")
    printed = run(f"--dataset={photos}")
    assert "photos: 39 images" in printed
    assert "3 classes, from tube (12) to jar (14), 1.2 to 1" in printed
    assert re.search(r"images under two labels +1\n", printed)
    assert re.search(r"next +fix 1 problem", printed)
    report = tmp_path / "place" / "audit" / "photos"
    record = json.loads((report / "audit.json").read_text())
    assert record["examples"] == 39
    assert record["path"] == str(photos)
    (double,) = [finding for finding in record["findings"] if finding["kind"] == "two_labels"]
    assert set(double["files"]) == {"can/can0.png", "can/<b>&\"'.png", "jar/유리병 <i>.png"}
    assert set(double["labels"]) == {"can", "jar"}
    not_images = [f["files"] for f in record["findings"] if f["kind"] == "not_an_image"]
    assert not_images == [["jar/<script>alert(1)<.jpg"]]
    page = (report / "audit.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<i>" not in page
    assert "can/&lt;b&gt;&amp;&quot;&#x27;.png" in page
    assert "유리병 &lt;i&gt;.png" in page
    assert page.count('src="data:image/jpeg;base64,') == 3
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_the_report_of_another_dataset_is_not_overwritten(photos, tmp_path, run):
    other = write_photos(tmp_path / "elsewhere" / "photos", count=5)
    manifest = photos / "list.csv"
    for number, dataset in enumerate((photos, other, photos, other), 1):
        run(f"--dataset={dataset}", *([f"--manifest={manifest}"] if number == 1 else []))
    run(f"--dataset={manifest}")
    reports = tmp_path / "place" / "audit"
    paths = {
        folder.name: json.loads((folder / "audit.json").read_text())["path"] for folder in reports.iterdir()
    }
    assert paths == {"photos": str(photos), "photos-2": str(other), "photos-3": str(manifest)}


def test_a_written_split_can_be_trained_on(photos, tmp_path, run):
    for number in range(5):
        shutil.copy(photos / "can" / "can0.png", photos / "can" / f"again{number}.png")
    (photos / "jar" / "broken.png").write_text("not an image")
    manifest = tmp_path / "split.csv"
    out = tmp_path / "out"
    printed = run(
        f"--dataset={photos}", "--split=grouped", "--seed=1", f"--manifest={manifest}", f"--out={out}"
    )
    assert f"python train.py --dataset={manifest}" in printed
    assert (out / "audit.html").is_file()
    source = sources.open_source(str(manifest))
    assert source.num_examples == 41
    splits_of_copies = [
        name
        for name, split in source.splits.items()
        for example in split.ids
        if "again" in example or example == "photos/can/can0.png"
    ]
    assert len(splits_of_copies) == 6
    assert len(set(splits_of_copies)) == 1


def test_a_manifest_takes_the_new_hash_of_a_changed_file(photos, tmp_path, run):
    manifest = photos / "split.csv"
    run(f"--dataset={photos}", f"--manifest={manifest}")
    with open(photos / "can" / "can0.png", "ab") as file:
        file.write(b"x")
    assert re.search(r"next +fix 1 problem", run(f"--dataset={manifest}"))
    run(f"--dataset={manifest}", f"--manifest={manifest}")
    assert sources.open_source(manifest).num_examples == 36


def test_a_grouped_split_is_proposed(photos, run):
    for number in range(8):
        shutil.copy(photos / "can" / "can0.png", photos / "can" / f"again{number}.png")
    assert f"python train.py --dataset={photos} --split=grouped" in run(f"--dataset={photos}")


def test_flags_are_repeated(photos, run):
    assert f"python train.py --dataset={photos} --seed=3\n" in run(f"--dataset={photos}", "--seed=3")


def test_a_class_of_one_image_is_audited(photos, run):
    (photos / "tin").mkdir()
    shutil.copy(photos / "can" / "can0.png", photos / "tin" / "only.png")
    printed = run(f"--dataset={photos}")
    assert "tin: has 1 image" in printed
    assert re.search(r"next +fix 1 problem", printed)


def test_the_command_line_for_a_run(photos):
    assert audit.command_line(TrainConfig()) == "python -m recycle_tf audit --dataset=trashnet"
    config = TrainConfig(dataset="my photos", split="grouped", seed=3, data_dir="/data", epochs="7")
    words = shlex.split(audit.command_line(config))
    assert words[3:] == ["audit", "--dataset=my photos", "--data_dir=/data", "--split=grouped", "--seed=3"]


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ((), ("--dataset", "missing")),
        (("--dataset=",), ("--dataset", "empty")),
        (("--dataset=gone",), ("--dataset=gone", "no such folder")),
        (("--dataset=~nouser/x",), ("--dataset=~nouser/x", "no such user")),
        (("--dataset=PHOTOS", "--out=/proc/audit"), ("--out=/proc/audit", "cannot be written")),
        (("--dataset=PHOTOS", f"--out={LATIN}"), ("--out=", "not UTF-8")),
        (("--dataset=PHOTOS", "--manifest=split.txt"), ("--manifest=split.txt", ".csv")),
        (("--dataset=PHOTOS", "--manifest=/gone/a.csv"), ("--manifest=/gone/a.csv", "existing folder")),
        (("--dataset=PHOTOS", "--manifest=PHOTOS/can/a.csv"), ("--manifest=PHOTOS/can/a.csv", "PHOTOS or")),
        (("--dataset=PHOTOS", "--split=random"), ("--split=random",)),
        (("--dataset=PHOTOS", "more"), ("more", "not a flag")),
    ],
)
def test_mistakes(photos, tmp_path, monkeypatch, capsys, flags, names):
    monkeypatch.chdir(tmp_path)
    assert audit.main([flag.replace("PHOTOS", str(photos)) for flag in flags]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    for name in names:
        assert name.replace("PHOTOS", str(photos)) in message
    assert not (tmp_path / "audit").exists()

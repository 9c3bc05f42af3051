"""The command `shard`."""

import shutil

import pytest

import recycle_tf
from recycle_tf.commands import audit, shard, train
from recycle_tf.data import sources
from tests.conftest import check_refused, run_main, run_python, tiny_training, write_photos


def test_it_writes_what_training_and_audit_take(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run_main(
        shard.main, "--dataset=photos", "--dir=out", "--shards=2", "--split=grouped", "--seed=5"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "shards    out: 4 files, 0.00 GB, 24 train, 6 validation, 6 test",
        "next      python train.py --dataset=out",
    ]
    expected = sources.open_source("photos", split="grouped", seed=5)
    assert sources.open_source("out").fingerprint == expected.fingerprint
    audited = run_main(audit.main, "--dataset=out")
    assert audited.returncode == 0, audited.stderr
    assert audited.stdout.splitlines()[-1] == "next      python train.py --dataset=out"
    # The same shards again, in the place of the earlier ones.
    assert run_main(shard.main, "--dataset=photos", "--dir=out").returncode == 0
    shutil.rmtree("photos")
    trained = run_main(train.main, *tiny_training("out"), "--epochs=1", "--run_dir=run")
    assert trained.returncode == 0, trained.stderr


def test_what_cannot_be_used_is_left_out_and_listed(photos, tmp_path):
    (photos / "can" / "bad.png").write_text("text")
    line = (f"--dataset={photos}", f"--dir={tmp_path / 'out'}")
    check_refused(run_main(shard.main, *line), "bad.png", "not an image")
    assert not (tmp_path / "out").exists()
    result = run_main(shard.main, *line, "--on_bad_image=skip")
    assert result.returncode == 0, result.stderr
    assert "1 file(s) ignored, for example can/bad.png: " in result.stdout
    assert sources.open_source(str(tmp_path / "out")).num_examples == 36


def test_labels_are_mapped_when_shards_are_written(photos, tmp_path):
    (tmp_path / "map.yaml").write_text("jar: glass\n")
    written = recycle_tf.shard(photos, tmp_path / "out", label_map=str(tmp_path / "map.yaml"))
    assert written.counts == {"train": 24, "validation": 6, "test": 6}
    assert sources.open_source(str(tmp_path / "out")).labels == ("can", "glass", "tube")


def test_several_sources(photos, tmp_path):
    more = write_photos(tmp_path / "more", ("can", "jar"), count=6, seed=1)
    result = run_main(shard.main, f"--dataset={photos}+{more}", f"--dir={tmp_path / 'out'}")
    assert result.returncode == 0, result.stderr
    assert sources.open_source(str(tmp_path / "out")).splits["train"].part_names == ("photos", "more")


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ({"dir": None}, ("--dir", "missing")),
        ({"dataset": None}, ("--dataset", "missing")),
        ({"dataset": "nothing"}, ("--dataset=nothing", "no such folder")),
        ({"dir": "photos"}, ("--dir=photos", "in the dataset")),
        ({"dir": "photos/can"}, ("--dir=photos/can", "in the dataset")),
        ({"dir": "."}, ("--dir=.", "holds no shards")),
        ({"dir": "gs://bucket/out"}, ("--dir=gs://bucket/out", "another machine")),
        ({"dir": "photos.csv/out"}, ("--dir=photos.csv/out", "cannot be written")),
        ({"shards": "0"}, ("--shards=0", "positive")),
        ({"shards": "many"}, ("shards", "many")),
        ({"more": "1"}, ("--more", "no such flag")),
    ],
)
def test_mistakes(photos, tmp_path, monkeypatch, flags, names):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos.csv").write_text("")
    before = sorted(tmp_path.rglob("*"))
    given = {"dataset": "photos", "dir": "out"} | flags
    line = [f"--{name}={value}" for name, value in given.items() if value is not None]
    check_refused(run_main(shard.main, *line), *names)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_killed_command_leaves_nothing_under_the_final_name(photos, tmp_path):
    code = (
        "import os\n"
        "from recycle_tf.commands import shard\n"
        "from recycle_tf.data import shards\n"
        "write = shards._example\n"
        "def killed(content, label, name):\n"
        "    if name.startswith('tube'):\n"
        "        os.kill(os.getpid(), 9)\n"
        "    return write(content, label, name)\n"
        "shards._example = killed\n"
        f"shard.main(['--dataset={photos}', '--dir={tmp_path / 'out'}'])\n"
    )
    assert run_python("-c", code).returncode == -9
    assert not (tmp_path / "out").exists()
    assert list(tmp_path.glob(".partial-*"))
    assert run_main(shard.main, f"--dataset={photos}", f"--dir={tmp_path / 'out'}").returncode == 0
    assert not list(tmp_path.glob(".partial-*"))

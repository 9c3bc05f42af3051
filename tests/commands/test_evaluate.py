"""`recycle-tf evaluate`."""

import base64
import json
import re
import shutil

import pytest

from recycle_tf import runs
from recycle_tf.evaluation import stored_reports
from tests.conftest import write_photos


@pytest.fixture
def run(finished_run, tmp_path):
    return shutil.copytree(finished_run, tmp_path / "run")


def test_the_report_is_written_again(recycle_tf, finished_run, run):
    shutil.rmtree(run / "report")
    result = recycle_tf("evaluate", f"--run={run}")
    assert result.status == 0, result.err
    again = json.loads((run / "report" / "metrics.json").read_text())
    assert again == json.loads((finished_run / "report" / "metrics.json").read_text())
    assert f"accuracy {again['accuracy']:.4f}" in result.out


def test_another_split_leaves_the_report_alone(recycle_tf, run):
    before = (run / "report" / "metrics.json").read_bytes()
    result = recycle_tf("evaluate", f"--run={run}", "--split=train")
    assert result.status == 0, result.err
    assert (run / "report" / "metrics.json").read_bytes() == before
    assert json.loads((run / "report-photos-train" / "metrics.json").read_text())["examples"] == 42


def test_several_datasets_in_one_table(recycle_tf, run, tmp_path):
    kitchen = write_photos(tmp_path / "kitchen", classes=("jar", "can"), count=4)
    street = write_photos(tmp_path / "street", count=3)
    own = json.loads((run / "config.json").read_text())["config"]["dataset"]
    result = recycle_tf("evaluate", f"--run={run}", f"--dataset={own},{kitchen},{street}")
    assert result.status == 0, result.err
    rows = {line.split()[0]: line.split() for line in result.out.splitlines() if " to " in line}
    assert [rows[name][2] for name in ("photos", "kitchen", "street")] == ["9", "8", "9"]
    assert rows["photos"][-1] == "+0.0"
    # Nor does the run's own page, which is written by the same command.
    assert "--dataset=FOLDER" not in (run / "report" / "report.html").read_text(encoding="utf-8")
    # The page of an evaluation elsewhere does not say that there was none.
    for name in ("kitchen", "street"):
        page = (run / f"report-{name}-all" / "report.html").read_text(encoding="utf-8")
        assert "--dataset=FOLDER" not in page
        assert f"<td>{name} all</td>" not in page
    assert json.loads((run / "report-kitchen-all" / "metrics.json").read_text())["per_class"]["tube"] == {
        "precision": 0.0,
        "recall": None,
        "f1": None,
        "examples": 0,
    }


def test_simulated_shifts(recycle_tf, run, tmp_path):
    result = recycle_tf("evaluate", f"--run={run}", "--shift=dim")
    assert result.status == 0, result.err
    assert [line.split()[0] for line in result.out.splitlines()][:2] == ["shift", "dim"]
    folder = run / "report-shifts"
    assert json.loads((folder / "shifts.json").read_text())["accuracy"].keys() == {"dim"}
    assert (folder / "examples.png").is_file()
    before = (folder / "shifts.png").read_bytes()
    other = write_photos(tmp_path / "kitchen", count=3, seed=6)
    assert recycle_tf("evaluate", f"--run={run}", "--shift=blur", f"--dataset={other}").status == 0
    assert (run / "report-shifts-kitchen-all" / "shifts.json").is_file()
    # The page shows those of the run's own test split.
    assert (folder / "shifts.png").read_bytes() == before
    assert recycle_tf("evaluate", f"--run={run}").status == 0
    page = (run / "report" / "report.html").read_text(encoding="utf-8")
    assert base64.b64encode(before).decode() in page


def test_a_damaged_report(rejected, run, tmp_path):
    (run / "report" / "metrics.json").write_text("[")
    photos = write_photos(tmp_path / "other", count=2, seed=5)
    rejected(("evaluate", f"--run={run}", f"--dataset={photos}"), "metrics.json", "damaged")


def test_a_run_against_another(recycle_tf, run, finished_run):
    result = recycle_tf("evaluate", f"--run={run}", f"--against={finished_run}")
    assert result.status == 0, result.err
    assert "p = 1" in result.out
    assert "+0.0 to +0.0 points" in result.out
    assert f"{run} against {finished_run}" in result.out


def test_the_precision_that_is_wanted(recycle_tf, run):
    result = recycle_tf("evaluate", f"--run={run}", "--target_precision=0.9")
    assert result.status == 0, result.err
    assert re.search(r"precision 90\.0% from a confidence of 0\.\d{4} on", result.out)
    assert re.search(r"photos test: \d+\.\d% answered, \d+\.\d% of these right", result.out)


def test_untested_and_unknown_classes_are_named(recycle_tf, rejected, run, tmp_path):
    photos = write_photos(tmp_path / "other", classes=("can", "cup"), count=3)
    command = ("evaluate", f"--run={run}", f"--dataset={photos}")
    rejected(command, f"--dataset={photos}", "cup", "--ignore_unknown")
    result = recycle_tf(*command, "--ignore_unknown")
    assert result.status == 0, result.err
    assert "left out  other: cup" in result.out
    page = (run / "report-other-all" / "report.html").read_text(encoding="utf-8")
    assert f"evaluate --run={run} --dataset={photos} --ignore_unknown" in page
    assert "jar   not tested" in result.out


@pytest.mark.parametrize(
    ("file", "content", "names"),
    [
        ("config.json", b"", ("config.json", "damaged")),
        ("config.json", b"[]", ("config.json", "damaged")),
        ("config.json", b"[" * 100_000, ("config.json", "damaged")),
        ("config.json", b'{"config": {}}', ("config.json", "labels")),
        ("config.json", b'{"config": 3, "labels": [], "fingerprint": ""}', ("config.json", "damaged")),
        ("model.keras", b"not a zip", ("model.keras", "damaged")),
        ("calibration.json", b'{"temperature": "hot"}', ("calibration.json", "damaged")),
        ("history.csv", b"epoch,accuracy\n0,high\n", ("history.csv", "damaged")),
    ],
)
def test_a_damaged_run(rejected, run, file, content, names):
    (run / file).write_bytes(content)
    rejected(("evaluate", f"--run={run}"), *names)


def test_a_model_with_a_damaged_byte(rejected, run):
    content = bytearray((run / "model.keras").read_bytes())
    content[len(content) // 2] ^= 255
    (run / "model.keras").write_bytes(content)
    rejected(("evaluate", f"--run={run}"), "model.keras", "damaged")


def test_a_model_with_a_foreign_class(rejected, run):
    import zipfile

    with zipfile.ZipFile(run / "model.keras") as model:
        content = {name: model.read(name) for name in model.namelist()}
    content["config.json"] = content["config.json"].replace(b'"Conv2D"', b'"EvilLayer"')
    with zipfile.ZipFile(run / "model.keras", "w") as model:
        for name, value in content.items():
            model.writestr(name, value)
    rejected(("evaluate", f"--run={run}"), "model.keras")


def test_a_run_of_an_earlier_version(recycle_tf, run):
    """Its config.json lacks the settings that came later, and has one under its earlier name."""
    record = json.loads((run / "config.json").read_text())
    for name in ("cache", "remat", "on_bad_image", "split", "data_service"):
        del record["config"][name]
    record["config"]["rates"] = record["config"].pop("lr_multipliers")
    (run / "config.json").write_text(json.dumps(record))
    (run / "calibration.json").unlink()
    result = recycle_tf("evaluate", f"--run={run}")
    assert result.status == 0, result.err
    assert "accuracy" in result.out


def test_a_full_disk(rejected, small_disk, finished_run, tmp_path):
    small_disk(tmp_path / "disk", "size=8m")
    run = shutil.copytree(finished_run, tmp_path / "disk" / "run")
    before = {path.name: path.read_bytes() for path in (run / "report").iterdir()}
    (run / "filler").write_bytes(b"0" * (shutil.disk_usage(run).free - 8192))
    rejected(("evaluate", f"--run={run}"), str(run / "report"), "No space left")
    assert {path.name: path.read_bytes() for path in (run / "report").iterdir()} == before
    assert not list(run.glob(".partial*"))


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("evaluate",), ("--run", "missing")),
        (("evaluate", "--run=/no/run"), ("--run=/no/run", "no such folder")),
        (("evaluate", "--run=tests"), ("--run=tests", "not a run")),
        (("evaluate", "--run=x", "--split=dev"), ("split",)),
        (("evaluate", "--run=x", "--shift=all", "--dataset=a,b"), ("--shift", "--dataset")),
        (("evaluate", "--run=x", "--shift=all", "--against=y"), ("--shift", "--against")),
        (("evaluate", "--run=x", "--rules=korea", "--against=y"), ("--against", "--rules")),
        (("evaluate", "--run=x", "--model=y", "--against=z"), ("--model", "--against")),
        (("evaluate", "--run=x", "--target_precision=95"), ("target_precision",)),
        (("evaluate", "--run=x", "--dataset="), ("--dataset", "empty")),
        (("evaluate", "--run=x", "--against="), ("--against", "empty")),
        (("evaluate", "--run=tests", "test"), ("test", "not a flag")),
        (("evaluate", "--rum=x"), ("--rum", "run")),
        (("evaluat",), ("evaluat", "evaluate")),
    ],
)
def test_mistakes(rejected, arguments, names):
    rejected(arguments, *names)


def test_datasets_of_one_name_have_rows_and_reports_of_their_own(
    recycle_tf, rejected, run, tmp_path, monkeypatch
):
    places = [
        write_photos(tmp_path / part / "photos", count=3, seed=seed) for seed, part in ((7, "a"), (8, "b"))
    ]
    result = recycle_tf("evaluate", f"--run={run}", f"--dataset={places[0]},{places[1]}")
    assert result.status == 0, result.err
    rows = [line.split()[0] for line in result.out.splitlines() if line.startswith("photos")]
    assert rows == ["photos", "photos-2"]
    # In another call too.
    third = write_photos(tmp_path / "c" / "photos", count=4, seed=9)
    assert recycle_tf("evaluate", f"--run={run}", f"--dataset={third}").status == 0
    found = {
        json.loads(path.read_text())["location"]: path.parent.name
        for path in run.glob("report-photos*-all/metrics.json")
    }
    assert set(found) == {str(place) for place in (*places, third)}
    # The same dataset again takes its own folder.
    assert recycle_tf("evaluate", f"--run={run}", f"--dataset={places[1]}").status == 0
    assert len(list(run.glob("report-photos*-all"))) == 3
    names = stored_reports.elsewhere(runs.Run(run))
    assert len(names) == 3
    assert recycle_tf("evaluate", f"--run={run}").status == 0
    page = (run / "report" / "report.html").read_text(encoding="utf-8")
    assert all(page.count(f"<td>{name}</td>") == 1 for name in names)
    # Also if its path is written in another way, or from elsewhere.
    monkeypatch.chdir(third)
    assert recycle_tf("evaluate", f"--run={run}", "--dataset=../photos").status == 0
    monkeypatch.chdir(third.parent)
    assert recycle_tf("evaluate", f"--run={run}", "--dataset=photos").status == 0
    assert recycle_tf("evaluate", f"--run={run}", f"--dataset={third}/../photos/").status == 0
    assert len(list(run.glob("report-photos*-all"))) == 3
    damaged = run / found[str(third)]
    (damaged / "metrics.json").write_text("{")
    rejected(["evaluate", f"--run={run}", f"--dataset={third}"], f"delete {damaged}")
    shutil.rmtree(damaged)
    assert recycle_tf("evaluate", f"--run={run}", f"--dataset={third}").status == 0


def test_a_run_that_was_trained_on_the_images_of_the_other(recycle_tf, run, finished_run, tmp_path):
    other = shutil.copytree(finished_run, tmp_path / "other")
    manifest = other / "split.csv"
    exchanged = manifest.read_text().replace(",test,", ",TRAIN,").replace(",train,", ",test,")
    manifest.write_text(exchanged.replace(",TRAIN,", ",train,"))
    result = recycle_tf("evaluate", f"--run={run}", f"--against={other}")
    assert result.status == 0, result.err
    (line,) = result.err.strip().splitlines()
    for part in (str(other), "trained on 9 of these 9"):
        assert part in line

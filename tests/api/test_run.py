"""Runs in the Python API."""

import pathlib

import numpy as np
import pytest

import recycle_tf as rt
from tests.api.conftest import LABELS, TINY
from tests.conftest import write_photos

RULES = """
name: {en: Here}
source: us
bins:
  sack: {en: The sack}
  box: {en: The box}
classes:
"""


@pytest.fixture
def rules(tmp_path):
    """A rule file for the drawn classes."""
    classes = "".join(
        f"  {label}: {{bin: {'box' if label == 'paper' else 'sack'}, source: us}}\n" for label in LABELS
    )
    path = tmp_path / "here.yaml"
    path.write_text(RULES + classes)
    return path


def test_settings_of_python(studio, tmp_path):
    """Numbers and paths where the settings are texts; how a dataset was opened is how it is trained on."""
    data = rt.open_dataset(studio / "photos", split="grouped", seed=5)
    trained = rt.train(data, **TINY, epochs=1, run_dir=tmp_path / "run")
    assert trained.settings["epochs"] == "1"
    assert trained.settings["warmup"] == "0"
    assert (trained.settings["split"], trained.settings["seed"]) == ("grouped", 5)
    rows = {tuple(row.split(",")[:3]) for row in trained.folder.manifest.read_text().splitlines()[1:]}
    assert rows == {row[:3] for row in data.source.manifest()}
    # The same call again finds the complete run.
    assert rt.train(data, **TINY, epochs=1, run_dir=tmp_path / "run") == trained


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"epoch": 3}, ("epoch:", "epochs")),
        ({"arch": "resnet51"}, ("resnet51", "resnet50")),
        ({"epochs": -1}, ("`epochs=-1`",)),
        ({"recipe": "finetune"}, ("`weights=imagenet`",)),
    ],
)
def test_mistakes_in_settings(data, settings, names):
    with pytest.raises(rt.UserError) as caught:
        rt.train(data, **settings)
    for name in names:
        assert name in str(caught.value)


def test_a_run_shows_itself(run):
    assert str(run.path) in repr(run)
    assert "test_resnet_a" in repr(run)
    assert "6 epochs" in repr(run)
    assert rt.open_run(run) == run
    with pytest.raises(rt.UserError, match="`run=gone`"):
        rt.open_run("gone")


def test_other_photographs(run, studio, rules):
    other = rt.open_dataset(studio / "other_photos")
    result = run.evaluate(other, rules=rules)
    assert result.set.split_name == "all"
    assert result.reference == run.evaluate().accuracy
    assert set(result.bins) == {"most_probable", "cheapest"}
    for part in ("other_photos all", "change", "bins      Here"):
        assert part in repr(result)
    both = run.evaluate([None, other])
    assert [each.set.own for each in both] == [True, False]
    assert "other_photos all" in repr(both)


def test_shifts_and_comparisons(run):
    found, folder = run.evaluate_shifts(["blur"])
    assert "blur" in str(found)
    assert (folder / "shifts.png").is_file()
    with pytest.raises(rt.UserError, match="`shift=blr`.*blur"):
        run.evaluate_shifts(["blr"])
    assert run.compare(run.path).accuracy[0] == run.evaluate().accuracy
    assert list(run.evaluate_shifts("blur")[0].accuracy) == ["blur"]
    with pytest.raises(rt.UserError, match="`shift`: empty"):
        run.evaluate_shifts([])


def test_splits_and_datasets_that_are_none(run):
    with pytest.raises(rt.UserError, match="`split=val`.*validation"):
        run.evaluate(split="val")
    with pytest.raises(rt.UserError, match="`dataset`: an empty list"):
        run.evaluate([])
    with pytest.raises(rt.UserError, match="`images`: an empty list"):
        run.explain([], nearest=0)
    with pytest.raises(rt.UserError, match="`runs`: an empty list"):
        rt.compare([])


def test_sources_are_evaluated_one_by_one(run, tmp_path):
    for name in ("kitchen", "street"):
        write_photos(tmp_path / name, LABELS, count=4)
    both = rt.open_dataset(f"{tmp_path / 'kitchen'}+{tmp_path / 'street'}")
    with pytest.raises(rt.UserError, match="kitchen.*street.*one by one"):
        run.evaluate(both)


def test_a_file_of_other_classes_is_not_tested_under_shifts(run, tmp_path):
    other = rt.train(write_photos(tmp_path / "photos", count=8), **TINY, epochs=1, run_dir=tmp_path / "run")
    with pytest.raises(rt.UserError, match=r"`model=.*run`: its classes are can, jar, tube"):
        run.evaluate_shifts("blur", model=other.path)


def test_exports_and_their_mistakes(run, studio, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # Elsewhere than the package's own `export` folder.
    files = run.export("tflite_float16", "saved_model")
    assert {path.parent for path in files.values()} == {run.path / "export"}
    answers = [rt.load(path).predict(studio / "new") for path in (run, *files.values())]
    first, *others = [[answer.probability for answer in found] for found in answers]
    for other in others:
        np.testing.assert_allclose(other, first, atol=0.01)
    with pytest.raises(rt.UserError, match="`formats=tflite_int`.*tflite_int8"):
        run.export("tflite_int")
    with pytest.raises(rt.UserError, match="`max_dro`.*max_drop"):
        run.export(max_dro=3)
    with pytest.raises(rt.UserError, match="`max_drop=much`.*number"):
        run.export(max_drop="much")
    with pytest.raises(rt.UserError, match="`batch=0`"):
        run.export(batch=0)


def test_bins(run, studio, rules, tmp_path):
    answers = rt.load(run, rules=rules).predict(studio / "new")
    assert all(
        answer.instruction.startswith(("The sack", "The box")) for answer in answers if answer.familiar
    )
    answers.to_csv(tmp_path / "bins.csv")
    assert (
        (tmp_path / "bins.csv")
        .read_text()
        .startswith("image,label,probability,sure,unlike,instruction,error\n")
    )
    with pytest.raises(rt.UserError, match="rules"):
        rt.load(run, rules="mars")


def test_paths_with_a_slash_and_lists(run, here):
    clf = rt.load(str(run.path) + "/")
    assert [answer.image for answer in clf.predict("new/")] == [f"new/{n}.jpg" for n in range(1, 7)]
    assert len(clf.predict(["new/1.jpg", pathlib.Path("new/2.jpg"), "new/[34].jpg"])) == 4
    assert "cardboard, glass" in repr(clf)


def test_an_array_is_explained_without_the_dataset(run):
    assert run.explain(np.full((40, 50, 3), 200, np.uint8), nearest=0).axes


def test_figures_are_written_into_a_new_folder(run, tmp_path):
    run.explain(np.full((40, 50, 3), 200, np.uint8), nearest=0, out=tmp_path / "figures" / "today")
    assert [path.name for path in (tmp_path / "figures" / "today").iterdir()] == ["images.png"]


def test_a_column_of_paths_is_a_list(run, here):
    names = ["new/1.jpg", "new/2.jpg"]
    assert [answer.image for answer in rt.load(run).predict(np.array(names))] == names


def test_classes_of_other_photographs_are_mapped(run, tmp_path):
    photos = write_photos(tmp_path / "photos", ("tin", LABELS[1], LABELS[2]), count=4, seed=3)
    label_map = tmp_path / "map.yaml"
    label_map.write_text(f"tin: {LABELS[0]}\n")
    found = run.evaluate(rt.open_dataset(photos, label_map=label_map))
    assert found.summary["per_class"][LABELS[0]]["examples"] == 4


def test_paths_of_a_dataset_are_stored_as_text(tmp_path):
    photos = write_photos(tmp_path / "photos", ("tin", "jar"), count=8)
    (tmp_path / "map.yaml").write_text("tin: can\n")
    data = rt.open_dataset(photos, label_map=tmp_path / "map.yaml")
    trained = rt.train(data, **TINY, epochs=1, run_dir=tmp_path / "run")
    assert trained.settings["label_map"] == str(tmp_path / "map.yaml")

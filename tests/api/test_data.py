"""Datasets in the Python API: what they show, and mistakes."""

import re
import shutil

import pytest

import recycle_tf as rt
from tests.conftest import write_photos


@pytest.fixture
def spoiled(photos):
    """Photographs of which one is damaged and one lies under two labels."""
    shutil.copy(photos / "can" / "can0.png", photos / "jar" / "copy.png")
    (photos / "tube" / "tube0.png").write_text("not an image")
    return photos


def test_what_a_dataset_shows(spoiled):
    data = rt.open_dataset(spoiled)
    assert data.classes == ("can", "jar", "tube")
    assert sum(data.counts["train"].values()) + sum(data.counts["test"].values()) < 37
    assert re.search(r"photos: 37 images of 3 classes\n +train +validation +test\n +can ", repr(data))
    assert "1 file cannot be used" in repr(data)
    assert "1 file cannot be used" in data._repr_html_()
    # The damaged file is not drawn, and nothing fails.
    assert [axes.get_ylabel() for axes in data.show(columns=20).axes if axes.get_ylabel()] == list(
        data.classes
    )
    with pytest.raises(rt.UserError, match="`split=dev`.*train, validation, test"):
        data.show(split="dev")


def test_what_an_audit_shows(spoiled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = rt.audit(spoiled, manifest=tmp_path / "photos.csv", seed=3)
    assert report.data.settings["seed"] == 3
    assert report.written == 36
    assert report.blocking == 1
    assert {finding.kind for finding in report.findings} >= {"not_an_image", "two_labels"}
    page = report._repr_html_()
    assert 'href="audit/photos/audit.html"' in page
    assert "images under two labels" in page
    assert "can/can0.png" in page
    assert rt.open_dataset("photos.csv").problems == 0


def test_an_open_dataset_is_audited_as_it_is(data):
    with pytest.raises(rt.UserError, match="`split`: of no effect"):
        rt.audit(data, split="grouped")


def test_labels_are_audited_by_a_run(run, studio, tmp_path):
    report = rt.audit(studio / "photos", out=tmp_path, labels=run)
    assert report.page.is_file()


def test_a_review_of_a_dataset(photos, tmp_path):
    data = rt.open_dataset(photos)
    with data.review(tmp_path / "reviewed.csv") as running:
        assert running.address.startswith("http://127.0.0.1:")
    with pytest.raises(rt.UserError, match="`out="), data.review(tmp_path / "reviewed.txt"):
        pass
    manifest = tmp_path / "mine.csv"
    data.write_manifest(manifest)
    with pytest.raises(rt.UserError, match="the dataset itself"), rt.open_dataset(manifest).review(manifest):
        pass


def test_mistakes_name_the_parameter(tmp_path):
    for function in (rt.open_dataset, rt.audit, rt.train):
        with pytest.raises(rt.UserError, match="`dataset=gone`"):
            function("gone")
    with pytest.raises(rt.UserError, match="`split=random`"):
        rt.open_dataset(write_photos(tmp_path / "photos", count=8), split="random")
    with pytest.raises(AttributeError, match="open_datset"):
        rt.open_datset  # noqa: B018

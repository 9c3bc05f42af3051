"""`recycle-tf explain`."""

import shutil

import pytest
from PIL import Image

from tests.conftest import write_photos


def test_photographs_and_the_test_split(recycle_tf, finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    photos = write_photos(tmp_path / "new", count=1)
    result = recycle_tf("explain", f"--run={run}", "--nearest=0", photos)
    assert result.status == 0, result.err
    assert result.out.strip() == str(run / "explain" / "images.png")
    with Image.open(run / "explain" / "images.png") as image:
        assert image.size[0] > 500
    result = recycle_tf("explain", f"--run={run}")
    assert result.status == 0, result.err
    assert str(run / "explain" / "uncertain.png") in result.out.splitlines()
    assert not list((run / "explain").glob(".partial*"))


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("explain",), ("--run", "missing")),
        (("explain", "--run=/no/run"), ("--run=/no/run", "no such folder")),
        (("explain", "--run=x", "--nearest=-1"), ("nearest",)),
    ],
)
def test_mistakes(rejected, arguments, names):
    rejected(arguments, *names)


def test_a_file_that_is_not_an_image(rejected, finished_run):
    rejected(("explain", f"--run={finished_run}", "--nearest=0", "setup.py"), "setup.py")

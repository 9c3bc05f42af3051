"""The source archive and the wheel, in an environment of its own, outside the checkout."""

import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile

import pytest

import recycle_tf
from tests.conftest import ROOT, tiny_training, write_photos
from tests.export.conftest import make_mild

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder that `python -m build` writes: a source archive, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("built")
    # A copy, so that no earlier build is in the way and none is left.
    left_out = shutil.ignore_patterns(".git", ".venv", "build", "runs", "*.egg-info", "__pycache__")
    source = shutil.copytree(ROOT, folder / "source", symlinks=True, ignore=left_out)
    run(sys.executable, "-m", "build", f"--outdir={folder}", source)
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    (wheel,) = built.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """A fresh virtual environment with the wheel and Hugging Face's `datasets`; takes minutes."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    run(folder / "bin" / "pip", "install", "--quiet", wheel, "datasets")
    return folder / "bin"


def run(*command, cwd=None):
    result = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def test_names_version_and_licence(built, wheel):
    (archive,) = built.glob("*.tar.gz")
    assert archive.name == f"recycle_tf-{recycle_tf.__version__}.tar.gz"
    assert wheel.name == f"recycle_tf-{recycle_tf.__version__}-py3-none-any.whl"
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"train.py", "README.md", "LICENSE", "setup.py", "export/tflite.py"} <= names
    (metadata,) = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith("/METADATA")]
    text = zipfile.ZipFile(wheel).read(metadata).decode()
    assert re.search(r"^License(-Expression)?: MIT$", text, re.MULTILINE)


def test_one_top_level_name_and_no_tests(wheel):
    archive = zipfile.ZipFile(wheel)
    names = archive.namelist()
    top = {name.partition("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"recycle_tf"}
    assert not [name for name in names if name.endswith("_test.py") or "dummy_data" in name]
    for file in (
        "recycle_tf/commands/train.py",
        "recycle_tf/export/tflite.py",
        "recycle_tf/export/golden_page.md",
        "recycle_tf/export/web_page/index.html",
        "recycle_tf/datasets/trashnet/TAGS.txt",
    ):
        assert file in names
    assert archive.read("recycle_tf/commands/train.py") == (ROOT / "train.py").read_bytes()


def test_datasets_is_still_hugging_faces(environment, tmp_path):
    code = "import datasets, recycle_tf; print(hasattr(datasets, 'load_dataset'), datasets.__file__)"
    assert run(environment / "python", "-c", code, cwd=tmp_path).startswith("True")


def test_the_console_script_does_the_whole_path(environment, tmp_path):
    photos = write_photos(tmp_path / "photos", count=20)
    command = environment / "recycle-tf"
    run(command, "train", *tiny_training(photos), "--epochs=6", "--run_dir=mine", cwd=tmp_path)
    assert "accuracy" in run(command, "evaluate", "--run=mine", cwd=tmp_path)
    make_mild(tmp_path / "mine")
    assert "verified" in run(command, "export", "--run=mine", "--max_drop=20", cwd=tmp_path)
    answers = run(
        command, "predict", "--model=mine/export/model_int8.tflite", photos / "jar" / "jar0.png", cwd=tmp_path
    )
    assert "jar" in answers


def test_the_python_api(environment, tmp_path):
    write_photos(tmp_path / "photos", count=20)
    code = (
        "import recycle_tf as rt\n"
        "data = rt.open_dataset('photos')\n"
        "tiny = dict(arch='test_resnet', image_size=32, batch_size=8, warmup=1, augment='none', mix='none')\n"
        "run = rt.train(data, epochs=4, run_dir='mine', **tiny)\n"
        "files = run.export('tflite_float32', 'saved_model')\n"
        "answers = [rt.load(path).predict('photos/jar') for path in (run.path, *files.values())]\n"
        "print(*({answer.label for answer in found} for found in answers))"
    )
    last = run(environment / "python", "-c", code, cwd=tmp_path).splitlines()[-1]
    assert last.count("jar") == 3
    assert run(environment / "recycle-tf", "--version") == f"recycle-tf {recycle_tf.__version__}\n"


def test_the_builders_come_along(environment, tmp_path):
    code = (
        "from recycle_tf.data import sources\n"
        f"source = sources.open_source('recyclables_synth', data_dir={str(tmp_path)!r})\n"
        "print(source.num_examples, *source.labels)"
    )
    assert run(environment / "python", "-c", code, cwd=tmp_path).split()[-7:] == [
        "900",
        "glass",
        "paper",
        "cardboard",
        "plastic",
        "metal",
        "trash",
    ]

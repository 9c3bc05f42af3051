"""`python -m recycle_tf …`."""

import re

import recycle_tf
from tests.conftest import ROOT, run_python


def test_the_version():
    """The same in the package, on the command line and at the top of the changelog; a semantic version."""
    result = run_python("-m", "recycle_tf", "--version")
    assert (result.returncode, result.stdout) == (0, f"recycle-tf {recycle_tf.__version__}\n")
    assert re.fullmatch(r"\d+\.\d+\.\d+", recycle_tf.__version__)
    releases = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert recycle_tf.__version__ in releases


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


def test_an_unknown_command(rejected):
    rejected(("evaluat",), "evaluat", "evaluate")


def test_an_unknown_architecture(rejected):
    rejected(("models", "resnt50"), "resnt50", "resnet50")

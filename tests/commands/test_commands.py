"""`python -m recycle_tf …`."""

from tests.conftest import run_python


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

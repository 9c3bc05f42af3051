"""The rules of the house: which way the arrows point, and that help comes at once."""

import ast
import subprocess
import sys

import pytest

import recycle_tf
from recycle_tf.config import TrainConfig
from recycle_tf.models import registry
from tests.conftest import ROOT

ALLOWED = {
    # folder or file: what of this project it may import
    "recycle_tf/layers.py": (),
    "recycle_tf/models": ("recycle_tf.layers", "recycle_tf.models", "recycle_tf.errors"),
    "recycle_tf/data": ("recycle_tf.data", "recycle_tf.errors"),
    "recycle_tf/training": (
        "recycle_tf.training",
        "recycle_tf.data",
        "recycle_tf.models",
        "recycle_tf.layers",
        "recycle_tf.runs",
        "recycle_tf.errors",
    ),
    "recycle_tf/evaluation": (
        "recycle_tf.evaluation",
        "recycle_tf.data",
        "recycle_tf.runs",
        "recycle_tf.cli",
        "recycle_tf.errors",
    ),
}


def imports(path):
    """Full names of what a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{name.name}" for name in node.names)


def files(place):
    return [ROOT / place] if place.endswith(".py") else sorted((ROOT / place).rglob("*.py"))


@pytest.mark.parametrize("place", ALLOWED)
def test_arrows_point_one_way(place):
    for path in files(place):
        for name in imports(path):
            if name.startswith("recycle_tf"):
                module = "recycle_tf.runs" if name == "recycle_tf.runs" else name
                allowed = module.startswith(ALLOWED[place]) or name in {
                    f"recycle_tf.{last}" for last in ("runs", "cli") if f"recycle_tf.{last}" in ALLOWED[place]
                }
                assert allowed, f"{path} imports {name}"


def test_training_knows_no_family():
    families = {registry.find(arch).build.__module__.rpartition(".")[2] for arch in recycle_tf.list_models()}
    assert {"resnet", "densenet", "googlenet"} < families
    for path in files("recycle_tf/training"):
        text = path.read_text(encoding="utf-8").lower().replace(f'arch: str = "{TrainConfig.arch}"', "")
        for family in (*families, "deformable"):
            assert family not in text, f"{path} names {family}"


@pytest.mark.parametrize("place", ["recycle_tf/layers.py", "recycle_tf/models"])
def test_models_know_keras_alone(place):
    for path in files(place):
        if path.name != "recompute.py":  # Recomputation has a way for each backend.
            assert not {"tensorflow", "jax"} & {name.partition(".")[0] for name in imports(path)}, path


def test_nothing_in_the_library_imports_export_or_datasets():
    for path in files("recycle_tf"):
        for name in imports(path):
            assert name.partition(".")[0] not in ("export", "datasets"), f"{path} imports {name}"
            assert not name.startswith(("recycle_tf.export", "recycle_tf.datasets")), f"{path} imports {name}"


def test_the_library_imports_by_full_name():
    for path in files("recycle_tf"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: write the name in full"


def test_the_top_level_is_as_agreed():
    names = {path.name for path in ROOT.iterdir()}
    assert {"recycle_tf", "datasets", "train.py", "export", "tests", "setup.py"} <= names


def test_datasets_has_no_init():
    assert not (ROOT / "datasets" / "__init__.py").exists()


@pytest.mark.parametrize(
    "command",
    [
        ("train.py",),
        ("-m", "export"),
        ("-m", "export", "serve"),
        ("-m", "recycle_tf"),
        ("-m", "recycle_tf", "train"),
        ("-m", "recycle_tf", "audit"),
        ("-m", "recycle_tf", "evaluate"),
        ("-m", "recycle_tf", "predict"),
        ("-m", "recycle_tf", "models"),
    ],
)
def test_help_needs_no_tensorflow(command):
    code = (
        "import runpy, sys\n"
        f"sys.argv = {[*command[1:], '--help'] if command[0] == '-m' else [*command, '--help']!r}\n"
        "try:\n"
        f"    {_run(command)}\n"
        "except SystemExit as end:\n"
        "    status = end.code\n"
        "assert not status, status\n"
        "assert not {'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "--" in result.stdout


def _run(command):
    if command[0] == "-m":
        return f"runpy.run_module({command[1]!r}, run_name='__main__', alter_sys=True)"
    return f"runpy.run_path({command[0]!r}, run_name='__main__')"

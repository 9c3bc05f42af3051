"""The rules of the house: which way imports point, no circles, and a `--help` that answers at once."""

import ast
import inspect
import subprocess
import sys

import pytest

import recycle_tf
from recycle_tf.config import TrainConfig
from recycle_tf.models import registry
from tests.conftest import ROOT

BASE = (
    "recycle_tf.options",
    "recycle_tf.files",
    "recycle_tf.paths",
    "recycle_tf.remote",
    "recycle_tf.errors",
    "recycle_tf.quiet",
)
SETTINGS = (*BASE, "recycle_tf.config", "recycle_tf.recipes")
MODELS = ("recycle_tf.models", "recycle_tf.layers")
STORED = (*SETTINGS, "recycle_tf.runs", "recycle_tf.data")
ALLOWED = {
    # file or folder: what of this project it may import; the longest match counts
    "recycle_tf/__init__.py": ("recycle_tf.api", "recycle_tf.errors", "recycle_tf.models"),
    "recycle_tf/errors.py": (),
    "recycle_tf/files.py": ("recycle_tf.errors",),
    "recycle_tf/paths.py": ("recycle_tf.errors", "recycle_tf.remote"),
    "recycle_tf/remote.py": ("recycle_tf.errors", "recycle_tf.quiet"),
    "recycle_tf/quiet.py": (),
    "recycle_tf/options.py": (),
    "recycle_tf/recipes.py": BASE,
    "recycle_tf/config.py": SETTINGS,
    "recycle_tf/runs.py": (*SETTINGS, "recycle_tf.models"),
    "recycle_tf/layers.py": (),
    "recycle_tf/models": (*BASE, *MODELS),
    "recycle_tf/data": (*BASE, "recycle_tf.data"),
    "recycle_tf/quantization": (*BASE, "recycle_tf.layers", "recycle_tf.data", "recycle_tf.quantization"),
    "recycle_tf/training": (*STORED, *MODELS, "recycle_tf.quantization", "recycle_tf.training"),
    "recycle_tf/evaluation": (*STORED, *MODELS, "recycle_tf.evaluation"),
    "recycle_tf/review": (*BASE, "recycle_tf.data", "recycle_tf.review"),
    "recycle_tf/cli.py": ("recycle_tf.errors", "recycle_tf.paths", "recycle_tf.quiet"),
    "recycle_tf/__main__.py": ("recycle_tf.cli", "recycle_tf.errors", "recycle_tf.commands"),
    "recycle_tf/api": (
        *STORED,
        *MODELS,
        "recycle_tf.evaluation",
        "recycle_tf.training",
        "recycle_tf.review",
        "recycle_tf.api",
        "recycle_tf.commands.train",
    ),
    "recycle_tf/commands": (
        "recycle_tf.cli",
        "recycle_tf.config",
        "recycle_tf.options",
        "recycle_tf.errors",
        "recycle_tf.files",
        "recycle_tf.paths",
    ),
    "train.py": ("recycle_tf",),
    "export": ("recycle_tf",),
    "datasets": ("recycle_tf.errors",),
}


def imports(path):
    """Full names of what a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(ROOT).parent.parts
            module = ".".join([*package, *filter(None, [node.module])])
            yield from (f"{module}.{name.name}" for name in node.names)


def files(place):
    return [ROOT / place] if place.endswith(".py") else sorted((ROOT / place).rglob("*.py"))


LIBRARY = [
    path
    for place in ("recycle_tf", "export", "datasets", "train.py")
    for path in files(place)
    if not path.is_symlink()
]


def _within(name, allowed):
    return any(name == module or name.startswith(f"{module}.") for module in allowed)


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    place = path.relative_to(ROOT).as_posix()
    rule = max((key for key in ALLOWED if place == key or place.startswith(f"{key}/")), key=len)
    for name in imports(path):
        if name in ("recycle_tf", "recycle_tf.create_model") or not name.startswith("recycle_tf"):
            continue
        # `from recycle_tf import runs` names the module, `from recycle_tf.runs import Run` something in it.
        assert _within(name, ALLOWED[rule]), f"{place} imports {name}"


@pytest.mark.parametrize("path", files("recycle_tf/commands"), ids=lambda path: path.name)
def test_commands_call_the_python_api(path):
    """They parse flags and print; `ALLOWED` permits nothing else of the library."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        of_package = isinstance(node, ast.Attribute) and ast.unparse(node.value) == "recycle_tf"
        assert not of_package or node.attr in recycle_tf.__all__, f"{path.name}: recycle_tf.{node.attr}"


def test_the_export_command_parses_and_calls():
    names = {name for name in imports(ROOT / "export" / "__main__.py")}
    assert {name for name in names if name.startswith(("recycle_tf", "export"))} == {
        "recycle_tf.cli",
        "recycle_tf.errors.UserError",
        "export.benchmark",
        "export.serve",
        "export.settings.ExportSettings",
        "export.exporting",
    }


def test_no_circle_of_modules():
    modules = {_module(path): path for path in LIBRARY}
    graph = {
        module: {target for name in imports(path) if (target := _target(name, modules)) and target != module}
        for module, path in modules.items()
    }
    done, active = set(), []

    def visit(module):
        assert module not in active, f"circle: {' -> '.join([*active[active.index(module) :], module])}"
        if module in done:
            return
        active.append(module)
        for target in sorted(graph[module]):
            visit(target)
        active.pop()
        done.add(module)

    for module in graph:
        visit(module)


def _module(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _target(name, modules):
    """The module of this project that an imported name lies in, or None; a package is its `__init__`."""
    while name:
        if name in modules:
            # The lazy names of the package are no dependency of its modules.
            return None if name == "recycle_tf" else name
        name = name.rpartition(".")[0]
    return None


DOORS = {
    # text that stands for something not public, or on its way out: the only file that may use it
    "tf.lite": "export/converter.py",
    "tensorflow.lite": "export/flat_buffer.py",
    "keras.src": "recycle_tf/training/keras_internals.py",
    "keras_cv": "recycle_tf/data/keras_cv_policies.py",
}


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_not_public_has_one_door(path):
    place, text = path.relative_to(ROOT).as_posix(), ast.unparse(ast.parse(path.read_text(encoding="utf-8")))
    for name, door in DOORS.items():
        code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith(('"', "'")))
        if place != door:
            assert name not in code.replace("keras_cv_policies", ""), f"{place} uses {name}"


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_fit_a_screen(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            lines = node.end_lineno - node.lineno + 1
            assert lines <= 60, f"{path.name}: {node.name} has {lines} lines"


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_library_knows_no_flags(path):
    place = path.relative_to(ROOT).as_posix()
    if place.startswith(("recycle_tf/commands", "train.py", "recycle_tf/cli.py", "recycle_tf/__main__.py")):
        return
    if place in ("recycle_tf/config.py", "export/__main__.py", "export/serve.py"):  # help texts
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            text = "".join(
                part.value
                for part in ast.walk(node.exc)
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
            )
            assert " --" not in f" {text}", f"{place}, line {node.lineno}: a message names a flag"


def test_training_knows_no_family():
    families = {registry.find(arch).build.__module__.rpartition(".")[2] for arch in recycle_tf.list_models()}
    assert {"resnet", "densenet", "googlenet"} < families
    for path in files("recycle_tf/training"):
        text = path.read_text(encoding="utf-8").lower().replace(f'arch: str = "{TrainConfig.arch}"', "")
        for family in (*families, "deformable"):
            assert family not in text, f"{path} names {family}"


@pytest.mark.parametrize("place", ["recycle_tf/layers.py", "recycle_tf/models"])
def test_models_import_keras_alone(place):
    for path in files(place):
        if path.name != "recompute.py":  # Recomputation differs between backends.
            assert not {"tensorflow", "jax"} & {name.partition(".")[0] for name in imports(path)}, path


def test_nothing_in_the_library_imports_export_or_datasets():
    for path in files("recycle_tf"):
        for name in imports(path):
            assert name.partition(".")[0] not in ("export", "datasets"), f"{path} imports {name}"
            assert not name.startswith(("recycle_tf.export", "recycle_tf.datasets")), f"{path} imports {name}"


def test_keras_cv_has_one_door():
    users = [
        path.relative_to(ROOT).as_posix()
        for path in LIBRARY
        if any(name.partition(".")[0] == "keras_cv" for name in imports(path))
    ]
    assert users == ["recycle_tf/data/keras_cv_policies.py"]


def test_the_library_imports_by_full_name():
    for path in files("recycle_tf"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: write the name in full"


def test_the_top_level_is_as_agreed():
    names = {path.name for path in ROOT.iterdir()}
    assert {"recycle_tf", "datasets", "train.py", "export", "tests", "setup.py"} <= names


def test_the_public_names_are_found():
    names = {"audit", "create_model", "describe", "list_models", "load", "open_dataset", "open_run", "train"}
    assert names <= set(recycle_tf.__all__) <= set(dir(recycle_tf))
    # Editors read what stands under TYPE_CHECKING.
    of_editors = {name.rpartition(".")[2] for name in imports(ROOT / "recycle_tf" / "__init__.py")}
    assert set(recycle_tf.__all__) <= of_editors
    for name in recycle_tf.__all__:
        assert callable(getattr(recycle_tf, name)), name
        assert inspect.getdoc(getattr(recycle_tf, name)), name


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys, recycle_tf\n"
        "dir(recycle_tf)\n"
        "heavy = {'tensorflow', 'keras', 'numpy', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


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
        ("-m", "recycle_tf", "review"),
        ("-m", "recycle_tf", "shard"),
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

"""One export of a tiny run for all tests that only read it, and the command in this process."""

import contextlib
import hashlib
import io
import json
import pathlib
import shutil
import threading
import types

import numpy as np
import pytest

from export import serve, web
from export.__main__ import main
from recycle_tf.errors import UserError
from tests.conftest import require, unavailable

FILES = {
    "tflite_float32": "model_float32.tflite",
    "tflite_float16": "model_float16.tflite",
    "tflite_dynamic": "model_dynamic.tflite",
    "tflite_int8": "model_int8.tflite",
    "tflite_int16x8": "model_int16x8.tflite",
}

SPEC = dict.fromkeys(("arch", "run", "input", "output", "resize"), "") | {
    "labels": [],
    "image_size": 32,
    "batch": 1,
}
"""As much of a spec as the converter needs."""

VERDICT = {"accuracy": 0.9, "drop": 0.0, "max_gap": 0.0, "failure": None}
ROW = {"format": "tflite_int8", "bytes": 1, "verification": VERDICT, "path": "model_int8.tflite", "batch": 1}
"""A row of `export.json`."""

RULES = {
    "name": {"en": "Here", "ko": "이곳"},
    "valid": "since yesterday",
    "source": "a sign",
    "bins": {
        "yellow": {"en": "Yellow bin", "ko": "노란 통", "color": "#ffd000"},
        "gray": {"en": "Gray bin", "ko": "회색 통", "color": "#333333"},
    },
    "classes": {
        name: {
            "bin": "yellow",
            "advice": {"en": "Empty it.", "ko": "비우세요."},
            "question": {"en": "Is it greasy?", "ko": "기름이 묻었나요?", "if_yes": "gray"},
            "source": "a sign",
        }
        for name in ("can", "jar", "tube")
    },
    "costs": {"default": 1},
}
"""Where the classes of the run go."""


def run_command(command, *arguments):
    """Runs a command's `main` in this process; returns its exit status, standard output and error."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        status = command([*map(str, arguments)])
    return types.SimpleNamespace(status=status, output=output.getvalue(), errors=errors.getvalue())


def export(run, *flags):
    """Runs `python -m export --run=RUN` with these flags, as `run_command`."""
    return run_command(main, f"--run={run}", *flags)


def succeed(run, *flags):
    """Runs `python -m export`, which must succeed; returns its standard output."""
    result = export(run, *flags)
    assert result.status == 0, result.errors + result.output
    return result.output


def check_error(result, *named):
    """Checks that a command failed with one line that names some things."""
    assert result.status == 2, result.errors
    (line,) = result.errors.strip().splitlines()
    assert line.startswith("error: ")
    for one in named:
        assert str(one) in line


def rows_of(run):
    """The rows of `export.json`, by format."""
    rows = json.loads((run / "export" / "export.json").read_text(encoding="utf-8"))
    return {row["format"]: row for row in rows}


def content_of(folder):
    """`{path below a folder: SHA-256 of the file}`; {} if there is no folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in pathlib.Path(folder).rglob("*")
        if path.is_file()
    }


def check_whole(run):
    """Checks that an export folder agrees with its own records, and that nothing else was left behind."""
    assert not [path for path in run.rglob(".*") if path.name not in (".", "..")]
    folder = run / "export"
    if not folder.exists():
        return
    found = content_of(folder)
    digests = json.loads((folder / "spec.json").read_text(encoding="utf-8"))["files"]
    assert {name: found.get(name) for name in digests} == digests
    rows = rows_of(run)
    for row in rows.values():
        files = [name for name in found if name == row["path"] or name.startswith(f"{row['path']}/")]
        assert sum((folder / name).stat().st_size for name in files) == row["bytes"]
    networks = {name for name in found if name.endswith(".tflite") and not name.startswith("web/")}
    assert networks == {row["path"] for row in rows.values() if row["path"].endswith(".tflite")}


@contextlib.contextmanager
def served(folder):
    """The port of a server for a folder."""
    with serve.open_server(folder, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def make_mild(run):
    """Gives a run a temperature of 1, a threshold that every answer reaches, and familiarity with everything.

    The tiny network answers its 9 validation images correctly, so that its own temperature is the lowest
    possible one, which multiplies all differences between formats by 20. What 42 images say about familiarity
    changes with the last bits of a feature.
    """
    file = run / "calibration.json"
    mild = {"temperature": 1.0, "threshold": 0.3, "unlike": {"threshold": 0.5, "limit": 0.0, "width": 1e-3}}
    file.write_text(json.dumps(json.loads(file.read_text()) | mild))


@pytest.fixture(scope="session")
def mild_run(finished_run, tmp_path_factory):
    """A copy of the run, made mild."""
    run = shutil.copytree(finished_run, tmp_path_factory.mktemp("mild") / "run")
    make_mild(run)
    return run


@pytest.fixture(scope="session")
def exported(mild_run, tmp_path_factory):
    """The folder `export` of a run, and what the command printed."""
    run = shutil.copytree(mild_run, tmp_path_factory.mktemp("exported") / "run")
    (run / "korean.txt").write_text("캔\n병\n튜브\n", encoding="utf-8")
    formats = f"--formats=saved_model,{','.join(FILES)}"
    names = f"--translations=ko:{run / 'korean.txt'}"
    return run / "export", succeed(run, "--max_drop=12", formats, names, "--author=A. Author")


@pytest.fixture
def copy(mild_run, tmp_path):
    """A copy of the run that a test may change."""
    return shutil.copytree(mild_run, tmp_path / "run")


@pytest.fixture(scope="session")
def web_runtime():
    """The files of LiteRT.js."""
    require("npm")
    try:
        return web.open_runtime()
    except UserError as error:
        unavailable(str(error))


@pytest.fixture
def images():
    """24 random images of 32 pixels."""
    return np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3)).astype(np.uint8)

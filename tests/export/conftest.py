"""One export of a tiny run, for every test that only looks at it."""

import shutil

import pytest

from tests.conftest import run_python

FILES = {
    "tflite_float32": "model_float32.tflite",
    "tflite_float16": "model_float16.tflite",
    "tflite_dynamic": "model_dynamic.tflite",
    "tflite_int8": "model_int8.tflite",
    "tflite_int16x8": "model_int16x8.tflite",
}


def run_export(run, *flags):
    """Exports a run with names and an author."""
    names = (f"--labels_ko={run / 'korean.txt'}", "--author=A. Author")
    return run_python("-m", "export", f"--run={run}", *names, *flags)


@pytest.fixture(scope="session")
def exported(finished_run, tmp_path_factory):
    """The folder `export` of a run, and what the command printed."""
    run = shutil.copytree(finished_run, tmp_path_factory.mktemp("exported") / "run")
    (run / "korean.txt").write_text("캔\n병\n튜브\n", encoding="utf-8")
    result = run_export(run, "--max_drop=12", f"--formats=saved_model,{','.join(FILES)}")
    assert result.returncode == 0, result.stderr + result.stdout
    return run / "export", result.stdout

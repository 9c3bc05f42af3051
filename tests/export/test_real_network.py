"""A real network on its whole way: published weights, photographs, fine-tuning, export with its defaults.

Minutes, and files that are not part of this package: `RECYCLE_TF_WEIGHTS` is the folder of
`efficientnet_lite0.safetensors`, `RECYCLE_TF_MANUAL_DIR` that of TrashNet's archive.
"""

import json
import os
import pathlib

import numpy as np
import pytest

from recycle_tf import runs
from recycle_tf.data import decode
from recycle_tf.evaluation import litert
from tests.conftest import run_python
from tests.export.conftest import rows_of

NEEDED = ("RECYCLE_TF_WEIGHTS", "RECYCLE_TF_MANUAL_DIR")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not set(NEEDED) <= set(os.environ), reason=f"{' or '.join(NEEDED)} is not set"),
]

SIZE = 160


@pytest.fixture(scope="module")
def fine_tuned(tmp_path_factory):
    """EfficientNet-Lite0, fine-tuned for some epochs."""
    weights = pathlib.Path(os.environ["RECYCLE_TF_WEIGHTS"]) / "efficientnet_lite0.safetensors"
    run = tmp_path_factory.mktemp("real") / "run"
    flags = (f"--weights={weights}", f"--run_dir={run}", f"--image_size={SIZE}", "--epochs=8")
    result = run_python("train.py", "--arch=efficientnet_lite0", "--recipe=finetune", *flags)
    assert result.returncode == 0, result.stderr
    return run


def export(run):
    result = run_python("-m", "export", f"--run={run}")
    assert result.returncode == 0, result.stdout + result.stderr
    for row in rows_of(run).values():
        assert row["verification"]["failure"] is None
    return rows_of(run)["tflite_int8"]


def test_every_format_is_verified_and_golden_images_agree(fine_tuned):
    row = export(fine_tuned)
    assert "float_layers" not in row
    predict = litert.open_predictor(fine_tuned / "export" / row["path"])
    for expected in json.loads((fine_tuned / "export" / "golden" / "expected.json").read_text()):
        encoded = (fine_tuned / "export" / "golden" / expected["file"]).read_bytes()
        found = predict(decode.decode(encoded, SIZE, "stretch").numpy())
        np.testing.assert_allclose(found, expected["probabilities"]["tflite_int8"], atol=1e-4)


def test_trained_with_integers_it_is_verified_too(fine_tuned, tmp_path):
    flags = (f"--from_run={fine_tuned}", "--quantize=int8", "--epochs=1", f"--run_dir={tmp_path / 'run'}")
    result = run_python("train.py", *flags)
    assert result.returncode == 0, result.stderr
    row = export(tmp_path / "run")
    assert row["verification"]["drop"] < 1
    assert runs.open_run(tmp_path / "run").trained_ranges

"""The models depend on `keras` only: on its JAX backend they train, with recomputation."""

import json
import os
import re
import subprocess
import sys

import pytest

from recycle_tf import list_models
from tests.conftest import ROOT, run_python, write_photos

STEP = """
import json, sys
import keras, numpy as np
from recycle_tf import create_model
from recycle_tf.models.recompute import RecomputedModel
from recycle_tf.models.registry import training_model

steps = {}
for arch in sys.argv[1:]:
    keras.utils.set_random_seed(1)
    model = create_model(arch, 3)
    size = model.input_shape[1]
    images = np.random.default_rng(0).uniform(0, 255, (4, size, size, 3)).astype("float32")
    labels = np.arange(4) % 3
    before = [np.asarray(v) for v in model.trainable_variables]
    inference = np.asarray(model(images))
    has_blocks = any("_block" in layer.name for layer in model.layers)
    trained, weights = training_model(model, 3, RecomputedModel if has_blocks else keras.Model)

    def loss(labels, logits):
        logits = logits[:, 0] if len(logits.shape) == 3 else logits
        return keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)

    trained.compile(keras.optimizers.SGD(1e-3), loss)
    loss = trained.train_on_batch(images, labels)
    changed = [not np.array_equal(a, np.asarray(b)) for a, b in zip(before, model.trainable_variables)]
    finite = bool(np.isfinite(inference).all())
    steps[arch] = {"loss": float(loss), "finite": finite, "changed": sum(changed) / len(changed)}
print(json.dumps({"backend": keras.backend.backend(), "steps": steps}))
"""


@pytest.mark.slow  # Three minutes.
def test_every_family_trains_a_step_on_jax():
    tiny = list_models("test_*")
    result = subprocess.run(
        [sys.executable, "-c", STEP, *tiny],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout.splitlines()[-1])
    assert report["backend"] == "jax"
    assert set(report["steps"]) == set(tiny)
    for arch, step in report["steps"].items():
        assert step["finite"], arch
        assert 0 < step["loss"] < float("inf"), arch
        # Some gradients are exactly zero at first, e.g. those of offsets in a dropped branch.
        assert step["changed"] > 0.5, arch


@pytest.mark.slow  # Half a minute to three.
def test_the_example_in_scaling_md_trains_on_two_jax_devices(tmp_path):
    write_photos(tmp_path / "photos", count=20)
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    script = re.search(r"```py\n(.*?)```", page, re.DOTALL)[1]
    script += "\nimport jax\nprint(jax.device_count(), 'devices', model.variables[0].value.sharding)"
    two = {"KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    result = run_python("-c", script, cwd=tmp_path, env={**two, "PYTHONPATH": str(ROOT)})
    assert result.returncode == 0, result.stderr
    assert "2 devices NamedSharding" in result.stdout
    assert (tmp_path / "model.keras").is_file()

"""The models know `keras` alone: on its JAX backend they are built, trained a step, and recomputed."""

import json
import os
import subprocess
import sys

import pytest

from recycle_tf import list_models
from tests.conftest import ROOT

STEP = """
import json, sys
import keras, numpy as np
from recycle_tf import create_model
from recycle_tf.models.recompute import RecomputedModel
from recycle_tf.models.registry import training_model

found = {}
for arch in sys.argv[1:]:
    keras.utils.set_random_seed(1)
    model = create_model(arch, 3)
    size = model.input_shape[1]
    images = np.random.default_rng(0).uniform(0, 255, (4, size, size, 3)).astype("float32")
    labels = np.arange(4) % 3
    before = [np.asarray(v) for v in model.trainable_variables]
    inference = np.asarray(model(images))
    in_blocks = any("_block" in layer.name for layer in model.layers)
    trained, weights = training_model(model, 3, RecomputedModel if in_blocks else keras.Model)
    def loss(labels, logits):
        logits = logits[:, 0] if len(logits.shape) == 3 else logits
        return keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)

    trained.compile(keras.optimizers.SGD(1e-3), loss)
    loss = trained.train_on_batch(images, labels)
    moved = [not np.array_equal(a, np.asarray(b)) for a, b in zip(before, model.trainable_variables)]
    finite = bool(np.isfinite(inference).all())
    found[arch] = {"loss": float(loss), "finite": finite, "moved": sum(moved) / len(moved)}
print(json.dumps({"backend": keras.backend.backend(), "found": found}))
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
    assert set(report["found"]) == set(tiny)
    for arch, step in report["found"].items():
        assert step["finite"], arch
        assert 0 < step["loss"] < float("inf"), arch
        # Some gradients of a fresh network are exactly zero, such as of offsets behind a dropped branch.
        assert step["moved"] > 0.5, arch

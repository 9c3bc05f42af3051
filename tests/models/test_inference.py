"""Networks that answer are not translated by XLA, on a GPU neither."""

import types

import pytest
import tensorflow as tf

from recycle_tf import create_model, runs
from recycle_tf.evaluation import familiarity, label_errors, temperature
from recycle_tf.models import inference


@pytest.fixture(autouse=True)
def _gpu(monkeypatch):
    """Keras decides by the devices that it is told of."""
    found = [types.SimpleNamespace(device_type="GPU")]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda *_: found)


def test_networks_that_answer_do_not_wait_for_xla(finished_run):
    run = runs.open_run(finished_run)
    networks = {
        "run": run.load_model(),
        "calibration": familiarity.with_features(run.load_model()),
        "report": temperature.load_answering_model(run),
        "label errors": label_errors.open_extractor(run)[0],
    }
    assert not [name for name, model in networks.items() if model.jit_compile]
    # What Keras does unless told otherwise; without it, this would test nothing.
    assert create_model("test_resnet", 3).jit_compile


def test_other_outputs():
    model = create_model("test_resnet", 3)
    features = model.get_layer("features").output
    found = inference.with_outputs(model, features)
    assert not found.jit_compile
    assert found.name == model.name
    assert found.output_shape == tuple(features.shape)

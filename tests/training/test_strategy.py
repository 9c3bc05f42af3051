"""Devices."""

import numpy as np
import pytest

from recycle_tf import runs
from recycle_tf.config import TrainConfig
from recycle_tf.errors import UserError
from recycle_tf.training import strategy
from tests.conftest import run_python, tiny_training
from tests.training.test_tensorboard import read, steps


def test_mirrored_needs_two_devices():
    with pytest.raises(UserError, match="`strategy=mirrored`"):
        strategy.make_strategy("mirrored")
    assert strategy.make_strategy("auto").num_replicas_in_sync == 1


@pytest.mark.parametrize(
    ("settings", "replicas", "names"),
    [
        ({"batch_size": 9}, 2, ["`batch_size=9`", "2 device"]),
        ({"batch_size": 8, "accumulate": 3}, 1, ["`batch_size=8`", "`accumulate=3`"]),
        ({"batch_size": 12, "accumulate": 3}, 2, None),
        ({"batch_size": 12, "accumulate": 3}, 3, ["`batch_size=12`", "`accumulate=3`"]),
        ({"jit": "on"}, 2, ["`jit=on`", "2 devices"]),
        ({"jit": "on"}, 1, None),
    ],
)
def test_the_configuration_has_to_fit_the_devices(settings, replicas, names):
    config = TrainConfig(**settings)
    if names is None:
        strategy.validate(config, replicas)
        return
    with pytest.raises(UserError) as caught:
        strategy.validate(config, replicas)
    assert all(name in str(caught.value) for name in names)


@pytest.mark.parametrize(
    "precision", ["off", *(pytest.param(p, marks=pytest.mark.slow) for p in ("bfloat16", "float16"))]
)
def test_training_on_two_logical_cpus(photos, tmp_path, precision):
    """Nine validation images and batches of eight: the second device would get none of the last batch."""
    run = tmp_path / "run"
    flags = ("--epochs=1", "--strategy=mirrored", "--logical_cpus=2", f"--mixed_precision={precision}")
    flags += ("--arch=test_resnet_a", f"--run_dir={run}")
    result = run_python("train.py", *tiny_training(photos), *flags)
    assert result.returncode == 0, result.stderr
    assert "2 device(s)" in result.stdout
    assert (run / "model.keras").is_file()
    events = read(run / "tensorboard")
    assert steps(events, "recall/jar") == steps(events, "gradient_norm/stage1") == [0]


def test_a_teacher_and_integers_on_two_devices_change_the_weights_as_on_one(finished_run, tmp_path):
    flags = (f"--from_run={finished_run}", f"--teacher={finished_run}", "--quantize=int8", "--epochs=3steps")
    flags += ("--optimizer=sgd", "--learning_rate=0.05", "--augment=none", "--mix=none")
    places = {
        "two": ("--strategy=mirrored", "--logical_cpus=2"),
        "one": ("--strategy=one_device",),
    }
    for name, devices in places.items():
        result = run_python("train.py", *flags, *devices, f"--run_dir={tmp_path / name}")
        assert result.returncode == 0, result.stderr
    found = [runs.open_run(path).load_model() for path in (finished_run, tmp_path / "one", tmp_path / "two")]
    before, one, two = (np.concatenate([w.ravel() for w in model.get_weights()]) for model in found)
    change = np.linalg.norm(one - before)
    assert change > 1e-3 * np.linalg.norm(before)
    # Not to the last bit: a value between two integers is rounded to either.
    assert np.linalg.norm(two - one) < 0.02 * change

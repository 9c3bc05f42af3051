"""How the learning rate goes, and how long."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from recycle_tf import runs
from recycle_tf.config import TrainConfig, duration, in_steps
from recycle_tf.errors import UserError
from recycle_tf.training import callbacks, loop
from recycle_tf.training.phases import Phase
from recycle_tf.training.schedules import WarmUp, make_schedule
from tests.conftest import run_python, tiny_training
from tests.test_train import check_refused


def rates(*steps, name, warmup_steps=0, **settings):
    schedule = make_schedule(name, 0.1, 100, warmup_steps, **settings)
    return [float(schedule(tf.constant(step, tf.int64))) for step in steps]


def test_cosine():
    assert rates(0, 5, 10, 55, name="cosine", warmup_steps=10) == pytest.approx(
        [0, 0.05, 0.1, 0.05], rel=1e-3
    )
    assert rates(100, name="cosine", warmup_steps=10) == pytest.approx([0], abs=1e-8)
    assert rates(0, 50, name="cosine") == pytest.approx([0.1, 0.05])


def test_step_lowers_the_rate_at_its_shares():
    settings = {"name": "step", "decay": 0.2, "decay_at": [0.5, 0.75]}
    expected = [0.1, 0.1, 0.02, 0.02, 0.004, 0.004]
    assert rates(0, 49, 50, 74, 75, 99, **settings) == pytest.approx(expected)
    assert rates(0, 5, 10, 50, warmup_steps=10, **settings) == pytest.approx([0, 0.05, 0.1, 0.02])


def test_exponential_and_constant():
    assert rates(0, 50, 100, name="exponential", decay=0.01) == pytest.approx([0.1, 0.01, 0.001])
    assert rates(5, 10, 99, name="constant", warmup_steps=10) == pytest.approx([0.05, 0.1, 0.1])


def test_one_cycle_has_a_rise_of_its_own():
    assert rates(0, 30, 65, name="one_cycle", warmup_steps=10) == pytest.approx([0.004, 0.1, 0.05], rel=1e-3)
    assert rates(100, name="one_cycle") == pytest.approx([0], abs=1e-8)


def test_a_warm_up_can_be_saved():
    schedule = make_schedule("step", 0.1, 100, 10, 0.1, [0.5])
    again = WarmUp.from_config(schedule.get_config())
    assert [float(again(step)) for step in (3, 20, 60)] == [float(schedule(step)) for step in (3, 20, 60)]


def test_the_flags_reach_the_optimizer():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input([4]), keras.layers.Dense(3)])
    config = TrainConfig(
        epochs="10", warmup="5steps", schedule="step", decay=0.5, decay_at="0.3", learning_rate=1.0
    )
    loop.compile_model(model, [1.0], config, 10, [1, 1, 1], Phase(0, 10, 100, ()))
    schedule = model.optimizer._learning_rate
    assert [float(schedule(step)) for step in (0, 4, 5, 29, 30)] == pytest.approx([0, 0.8, 1, 1, 0.5])
    # At most a fifth of the training is warm-up.
    loop.compile_model(model, [1.0], TrainConfig(warmup="5"), 10, [1, 1, 1], Phase(0, 10, 100, ()))
    assert float(model.optimizer._learning_rate(20)) == pytest.approx(TrainConfig.learning_rate)


def test_durations():
    assert duration("30") == duration("30epochs") == (30, "epochs")
    assert [in_steps(text, 10) for text in ("30", "0.25", "2.5epochs", "7steps")] == [300, 2, 25, 7]
    for text in ("5h", "-1", "5 epochs", "ten"):
        with pytest.raises(UserError) as caught:
            TrainConfig(warmup=text)
        assert (
            str(caught.value)
            == f"--warmup={text}: expected a number and epochs or steps, such as 30 or 500steps"
        )
    with pytest.raises(UserError, match="--epochs=0steps: nothing would be trained"):
        TrainConfig(epochs="0steps")


@pytest.mark.parametrize("shares", ["", "0.5,", "a", "0.5,0.2", "0.5,2.0", "30,60"])
def test_what_cannot_be_shares_of_a_training(shares):
    with pytest.raises(UserError) as caught:
        TrainConfig(decay_at=shares)
    assert (
        str(caught.value) == f"--decay_at={shares}: expected rising shares of the training, such as 0.5,0.75"
    )


def test_a_training_in_steps_ends_within_an_epoch_and_validates_it(photos, tmp_path):
    run = runs.Run(tmp_path / "run")
    result = run_python("train.py", *tiny_training(photos), "--epochs=5steps", f"--run_dir={run.path}")
    assert result.returncode == 0, result.stderr
    # Three steps are an epoch.
    assert [row["epoch"] for row in run.history_rows()] == [0, 1]
    assert run.complete


@pytest.mark.parametrize("begun", [(0, 0), (1, 0), (1, 2)])
def test_the_last_epoch_is_as_long_as_what_is_left(tmp_path, begun):
    model = keras.Sequential([keras.Input([4]), keras.layers.Dense(3)])
    model.compile("sgd", "mse")
    progress = callbacks.Progress(4, *begun, end=7)
    checkpoint = callbacks.Checkpoint(tmp_path, progress, "1steps")
    data = tf.data.Dataset.from_tensors((np.ones([2, 4]), np.ones([2, 3]))).repeat()
    before = progress.steps
    model.fit(
        data,
        epochs=2,
        initial_epoch=progress.epoch,
        steps_per_epoch=4,
        shuffle=False,
        verbose=0,
        callbacks=[progress, checkpoint],
    )
    assert int(model.optimizer.iterations.numpy()) == 7 - before
    assert [path.name for path in tmp_path.iterdir()] == ["epoch0002.npz"]


class Clock:
    """Every look at it is a second later."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1
        return self.now


def fitted(progress, limit, folder):
    model = keras.Sequential([keras.Input([4]), keras.layers.Dense(3)])
    model.compile("sgd", "mse")
    data = tf.data.Dataset.from_tensors((np.ones([2, 4]), np.ones([2, 3]))).repeat()
    checkpoint = callbacks.Checkpoint(folder, progress, "500steps")
    return model.fit(
        data,
        epochs=5,
        initial_epoch=progress.epoch,
        steps_per_epoch=4,
        shuffle=False,
        verbose=0,
        validation_data=data.take(1),
        callbacks=[progress, callbacks.TimeLimit(progress, limit), checkpoint],
    ).history


def test_a_training_ends_when_its_time_is_used_up(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(callbacks.time, "monotonic", Clock())
    progress = callbacks.Progress(4)
    history = fitted(progress, "7s", tmp_path)
    # Six looks at the clock: after four steps, at an epoch's end, and after one step more.
    assert len(history["val_loss"]) == progress.epoch == 2
    assert capsys.readouterr().out == "--time_limit=7s: training ends after epoch 2\n"
    assert [path.name for path in tmp_path.iterdir()] == ["epoch0002.npz"]


def test_the_time_of_all_parts_of_a_run_counts(tmp_path, monkeypatch):
    model = keras.Sequential([keras.Input([4]), keras.layers.Dense(3)])
    model.compile("sgd", "mse")
    clock = Clock()
    monkeypatch.setattr(callbacks.time, "monotonic", clock)
    progress = callbacks.Progress(4, epoch=1)
    checkpoint = callbacks.Checkpoint(tmp_path, progress, "500steps")
    checkpoint.set_model(model)
    clock.now += 1000
    checkpoint.write()
    clock.now += 5000
    again = callbacks.restore(model, tmp_path, 4)
    assert again.seconds == pytest.approx(1001, abs=4)
    assert callbacks.TimeLimit(again, "16m").due
    assert not callbacks.TimeLimit(again, "17m").due
    assert not callbacks.TimeLimit(again, None).due


def test_a_time_limit_ends_a_run_with_its_report(photos, tmp_path):
    run = runs.Run(tmp_path / "run")
    flags = [*tiny_training(photos), "--epochs=9999", "--time_limit=8s", f"--run_dir={run.path}"]
    result = run_python("train.py", *flags)
    assert result.returncode == 0, result.stderr
    rows = run.history_rows()
    assert f"--time_limit=8s: training ends after epoch {len(rows)}\n" in result.stdout
    assert run.complete


def test_several_workers_have_several_clocks():
    with pytest.raises(
        UserError, match="--time_limit=5m: the clocks of several workers differ; give --epochs"
    ):
        TrainConfig(strategy="multi_worker", time_limit="5m")


def test_xla_is_refused_where_it_is_known_to_break(photos):
    with pytest.raises(UserError, match="--jit=on: XLA is off with --deterministic; leave one of them out"):
        TrainConfig(jit="on", deterministic=True)
    check_refused(
        run_python("train.py", *tiny_training(photos), "--jit=on", "--strategy=mirrored", "--logical_cpus=2"),
        "--jit=on: XLA cannot train on 2 devices; take --jit=auto, or --strategy=one_device",
    )


@pytest.mark.parametrize(("jit", "compiled"), [("auto", False), ("on", True), ("off", False)])
def test_the_flag_reaches_xla(jit, compiled):
    model = keras.Sequential([keras.Input([4]), keras.layers.Dense(3)])
    loop.compile_model(model, [1.0], TrainConfig(jit=jit), 10, [1, 1, 1], Phase(0, 1, 10, ()))
    # `auto` is off on a machine without GPUs.
    assert model.jit_compile == (compiled or (jit == "auto" and bool(tf.config.list_physical_devices("GPU"))))

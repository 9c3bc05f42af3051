"""Learning-rate schedules."""

import pytest
import tensorflow as tf

from recycle_tf.config import TrainConfig, duration, in_steps
from recycle_tf.errors import UserError
from recycle_tf.training.schedules import WarmUp, make_schedule


def learning_rates(*steps, name, warmup_steps=0, **settings):
    schedule = make_schedule(name, 0.1, 100, warmup_steps, **settings)
    return [float(schedule(tf.constant(step, tf.int64))) for step in steps]


def test_cosine():
    assert learning_rates(0, 5, 10, 55, name="cosine", warmup_steps=10) == pytest.approx(
        [0, 0.05, 0.1, 0.05], rel=1e-3
    )
    assert learning_rates(100, name="cosine", warmup_steps=10) == pytest.approx([0], abs=1e-8)
    assert learning_rates(0, 50, name="cosine") == pytest.approx([0.1, 0.05])


def test_step_decays_at_its_fractions():
    settings = {"name": "step", "decay": 0.2, "decay_at": [0.5, 0.75]}
    expected = [0.1, 0.1, 0.02, 0.02, 0.004, 0.004]
    assert learning_rates(0, 49, 50, 74, 75, 99, **settings) == pytest.approx(expected)
    assert learning_rates(0, 5, 10, 50, warmup_steps=10, **settings) == pytest.approx([0, 0.05, 0.1, 0.02])


def test_exponential_and_constant():
    assert learning_rates(0, 50, 100, name="exponential", decay=0.01) == pytest.approx([0.1, 0.01, 0.001])
    assert learning_rates(5, 10, 99, name="constant", warmup_steps=10) == pytest.approx([0.05, 0.1, 0.1])


def test_one_cycle_has_its_own_rise():
    assert learning_rates(0, 30, 65, name="one_cycle", warmup_steps=10) == pytest.approx(
        [0.004, 0.1, 0.05], rel=1e-3
    )
    assert learning_rates(100, name="one_cycle") == pytest.approx([0], abs=1e-8)


def test_a_warm_up_can_be_serialized():
    schedule = make_schedule("step", 0.1, 100, 10, 0.1, [0.5])
    copy = WarmUp.from_config(schedule.get_config())
    assert [float(copy(step)) for step in (3, 20, 60)] == [float(schedule(step)) for step in (3, 20, 60)]


@pytest.mark.parametrize("fractions", ["", "0.5,", "a", "0.5,0.2", "0.5,2.0", "30,60"])
def test_invalid_fractions_are_rejected(fractions):
    with pytest.raises(UserError) as caught:
        TrainConfig(decay_at=fractions)
    assert f"`decay_at={fractions}`" in str(caught.value)


def test_durations():
    assert duration("30") == duration("30epochs") == (30, "epochs")
    assert duration("5m") == (300, "seconds")
    assert duration("1.5h") == (5400, "seconds")
    assert duration("30s") == (30, "seconds")
    assert duration("500steps") == (500, "steps")
    assert [in_steps(text, 10) for text in ("30", "0.25", "2.5epochs", "7steps")] == [300, 2, 25, 7]


@pytest.mark.parametrize(
    ("setting", "texts"),
    [
        ("warmup", ("5h", "-1", "5 epochs", "ten")),
        ("checkpoint_every", ("5", "m", "-1m", "5 m", "3epochs")),
        ("epochs", ("0steps",)),
    ],
)
def test_invalid_durations_are_rejected(setting, texts):
    for text in texts:
        with pytest.raises(UserError) as caught:
            TrainConfig(**{setting: text})
        assert f"`{setting}={text}`" in str(caught.value)

"""The learning rate that the range test suggests."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import train
from recycle_tf.config import TrainConfig
from recycle_tf.data import sources
from recycle_tf.errors import UserError
from recycle_tf.training import lr_finder
from recycle_tf.training.batches import Batches
from recycle_tf.training.optimizers import make_optimizer
from recycle_tf.training.schedules import make_schedule
from tests.conftest import run_main, tiny_settings, tiny_training

LEARNING_RATES = np.geomspace(1e-6, 10, 100)


def test_suggests_where_the_loss_falls_fastest():
    losses = 2 - np.tanh(np.log(LEARNING_RATES / 0.01))
    assert lr_finder.suggest(LEARNING_RATES, losses) == pytest.approx(0.01, rel=0.2)
    # Noise of single batches, and what follows the minimum, does not count.
    losses[3] += 0.2
    losses[90:] += np.linspace(5, 0, 10)
    assert lr_finder.suggest(LEARNING_RATES, losses) == pytest.approx(0.01, rel=0.2)


@pytest.mark.parametrize("losses", [[1.0], [1.0, 0.9, 1.2], np.linspace(1, 2, 100)])
def test_a_loss_that_never_falls_is_an_error(losses):
    with pytest.raises(UserError, match=r"`lr_finder`.*1e-06 to 10"):
        lr_finder.suggest(LEARNING_RATES[: len(losses)], losses)


def test_stops_when_the_loss_explodes(tmp_path):
    """Gradient descent on a parabola of curvature 20 diverges at learning rates above 2 / 20."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input([1]), keras.layers.Dense(1, use_bias=False)])
    model.compile(make_optimizer("momentum", make_schedule("cosine", 0.1, 10), 0.0), "mse")
    data = tf.data.Dataset.from_tensors((np.full([4, 1], 10**0.5), np.full([4, 1], 20.0))).repeat()
    found = lr_finder.find(model, data, tmp_path / "lr_finder.png")
    assert int(model.optimizer.iterations.numpy()) < lr_finder.STEPS
    assert 1e-4 < found < 0.1
    assert [path.name for path in tmp_path.iterdir()] == ["lr_finder.png"]


def test_the_command_leaves_a_plot_and_no_run(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run_main(train.main, *tiny_training(photos), "--lr_finder", f"--run_dir={tmp_path / 'run'}")
    assert result.returncode == 0, result.stderr
    assert "--learning_rate=" in result.stdout
    assert str(tmp_path / "lr_finder.png") in result.stdout
    assert (tmp_path / "lr_finder.png").stat().st_size > 5000
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "lr_finder.png"}


def test_there_are_batches_for_all_rates(photos):
    source = sources.open_source(str(photos))
    numbers = {}
    for finds in (True, False):
        config = TrainConfig(**tiny_settings(photos), epochs="1", lr_finder=finds)
        found = Batches(source, config, 32, tf.distribute.get_strategy())
        numbers[finds] = sum(1 for _ in found.training_from(0))
    assert numbers[True] >= lr_finder.STEPS > numbers[False] == found.steps_per_epoch

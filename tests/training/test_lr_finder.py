"""The learning rate that `--lr_finder` suggests."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from recycle_tf.errors import UserError
from recycle_tf.training import lr_finder
from recycle_tf.training.optimizers import make_optimizer
from recycle_tf.training.schedules import make_schedule
from tests.conftest import ROOT, run_python, tiny_training

RATES = np.geomspace(1e-6, 10, 100)


def test_where_the_loss_falls_fastest():
    losses = 2 - np.tanh(np.log(RATES / 0.01))
    assert lr_finder.suggest(RATES, losses) == pytest.approx(0.01, rel=0.2)
    # What single batches do, and what comes behind the minimum, does not count.
    losses[3] += 0.2
    losses[90:] += np.linspace(5, 0, 10)
    assert lr_finder.suggest(RATES, losses) == pytest.approx(0.01, rel=0.2)


@pytest.mark.parametrize("losses", [[1.0], [1.0, 0.9, 1.2], np.linspace(1, 2, 100)])
def test_a_loss_that_never_falls(losses):
    with pytest.raises(UserError, match="--lr_finder: the loss falls at no rate from 1e-06 to 10"):
        lr_finder.suggest(RATES[: len(losses)], losses)


def test_it_ends_where_the_loss_explodes(tmp_path, capsys):
    """Gradient descent on a parabola of curvature 20 diverges from a rate of 2 / 20 on."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input([1]), keras.layers.Dense(1, use_bias=False)])
    schedule = make_schedule("cosine", 0.1, 10)
    model.compile(make_optimizer("momentum", schedule, 0.0), "mse")
    data = tf.data.Dataset.from_tensors((np.full([4, 1], 10**0.5), np.full([4, 1], 20.0))).repeat()
    lr_finder.draw(model, data, tmp_path / "lr_finder.png")
    assert int(model.optimizer.iterations.numpy()) < lr_finder.STEPS
    said = capsys.readouterr().out
    rate = float(said.split("=")[1].split(":")[0])
    assert 1e-4 < rate < 0.1
    assert [path.name for path in tmp_path.iterdir()] == ["lr_finder.png"]


def test_it_leaves_a_picture_and_no_run(photos, tmp_path):
    run = tmp_path / "run"
    command = [*tiny_training(photos), "--lr_finder", f"--run_dir={run}"]
    result = run_python(ROOT / "train.py", *command, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"there the loss falls fastest; see {tmp_path / 'lr_finder.png'}" in result.stdout
    assert (tmp_path / "lr_finder.png").stat().st_size > 5000
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "lr_finder.png"}

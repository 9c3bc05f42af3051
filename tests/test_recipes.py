"""Named settings, and those that architectures were published with."""

import keras
import numpy as np
import pytest
from absl import flags

from recycle_tf import cli, list_models, options, recipes
from recycle_tf.config import TrainConfig, resolve
from recycle_tf.models import registry
from recycle_tf.training import optimizers


def parse(*arguments):
    values = flags.FlagValues()
    cli.define_flags(TrainConfig, values)
    values(["train.py", *arguments])
    given = cli.given(TrainConfig, values)
    return resolve(given, registry.find(resolve(given).arch).recipe)


@pytest.mark.parametrize("arch", list_models() + list_models("test_*"))
def test_every_architecture_has_a_recipe_of_its_paper(arch):
    config = parse("--recipe=paper", f"--arch={arch}")
    assert config.optimizer in ("momentum", "sgd", "rmsprop")
    assert config.mix == "none"
    assert config.epochs == TrainConfig.epochs


def test_a_published_rate_goes_with_the_batch():
    found = parse("--recipe=paper", "--arch=resnet50")
    assert found.optimizer == "momentum"
    assert found.learning_rate == pytest.approx(0.1 * 32 / 256)
    assert (found.schedule, found.decay, found.decay_fractions()) == ("step", 0.1, [0.25, 0.5, 0.75])
    assert found.label_smoothing == 0
    assert parse("--recipe=paper", "--arch=resnet50", "--batch_size=256").learning_rate == pytest.approx(0.1)
    found = parse("--recipe=paper", "--arch=efficientnet_b0", "--batch_size=64")
    assert found.learning_rate == pytest.approx(0.256 / 64)
    assert (found.optimizer, found.schedule, found.label_smoothing) == ("rmsprop", "exponential", 0.1)
    assert parse("--recipe=paper", "--arch=densenet_bc100_k12").decay_at == "0.5,0.75"


def test_flags_override_what_was_published():
    found = parse("--recipe=paper", "--arch=vgg16", "--learning_rate=0.5", "--mix=both")
    assert (found.learning_rate, found.mix, found.optimizer) == (0.5, "both", "momentum")


def test_other_recipes_do_not_know_what_was_published():
    assert parse("--arch=vgg16") == TrainConfig(arch="vgg16")


def test_weight_decay_is_that_of_a_gradient_with_momentum():
    """A weight without gradient falls as fast as with the papers' decay, once momentum has built up."""
    published = registry.find("resnet50").recipe
    settings = recipes.paper(published, published.batch_size)
    theirs, velocity, rate, decay = 1.0, 0.0, 0.1, published.weight_decay
    ours = keras.Variable(np.ones(1, np.float32), name="kernel")
    optimizer = optimizers.make_optimizer("momentum", rate, settings["weight_decay"])
    for _ in range(200):
        velocity = 0.9 * velocity - rate * decay * theirs
        theirs += velocity
        optimizer.apply([keras.ops.zeros([1])], [ours])
    assert 1 - float(ours.numpy()[0]) == pytest.approx(1 - theirs, rel=0.06)


@pytest.mark.parametrize("name", options.OPTIMIZERS)
def test_every_optimizer_learns_and_can_be_saved(name):
    variable = keras.Variable(np.ones(1, np.float32), name="kernel")
    optimizer = optimizers.make_optimizer(name, 0.01, 0.0)
    optimizer.apply([keras.ops.ones([1])], [variable])
    assert float(variable.numpy()[0]) < 1
    assert optimizer.get_config()["learning_rate"] == pytest.approx(0.01)

"""What a training is told."""

import dataclasses

import pytest
from absl import flags

from recycle_tf.data import augment, cache, decode, mix, splits
from recycle_tf.errors import UserError
from recycle_tf.training import config as training_config
from recycle_tf.training.config import TrainConfig


def parse(*arguments):
    values = flags.FlagValues()
    training_config.define_flags(values)
    values(["train.py", *arguments])
    return training_config.from_flags(values)


def test_every_field_is_a_flag_with_a_help():
    values = flags.FlagValues()
    training_config.define_flags(values)
    for field in dataclasses.fields(TrainConfig):
        assert len(values[field.name].help) > 10, field.name


def test_defaults_then_recipe_then_flags():
    assert parse() == TrainConfig()
    assert parse("--recipe=quick").epochs == training_config.RECIPES["quick"]["epochs"]
    assert parse("--recipe=quick", "--epochs=3") == dataclasses.replace(parse("--recipe=quick"), epochs="3")
    # A flag that repeats the default still overrides the recipe.
    assert parse("--recipe=quick", f"--mix={TrainConfig.mix}").mix == TrainConfig.mix


def test_choices_are_those_of_the_pipeline():
    assert training_config.CHOICES["resize"] == decode.RESIZES
    assert training_config.CHOICES["mix"] == mix.MIXES
    assert training_config.CHOICES["cache"] == cache.CACHES
    assert training_config.CHOICES["split"] == splits.METHODS
    help_text = training_config._comments(TrainConfig)["augment"]
    assert all(name in help_text for name in augment.policies())


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--image_size=0", "--image_size=0: expected 32 to 2048"),
        ("--epochs=0", "--epochs=0: nothing would be trained"),
        ("--learning_rate=-1", "--learning_rate=-1.0: expected"),
        ("--optimizer=adam", "--optimizer=adam: did you mean adamw"),
        ("--recipe=scrach", "--recipe=scrach: did you mean scratch"),
        ("--resize=zoom", "--resize=zoom: choose from crop, letterbox, stretch"),
    ],
)
def test_values_that_cannot_work(flag, message):
    with pytest.raises(UserError) as caught:
        parse(flag)
    assert message in str(caught.value)


def test_overrides():
    assert parse("--overrides=filters=32,drop_rate=0.5,block=basic").model_overrides() == {
        "filters": 32,
        "drop_rate": 0.5,
        "block": "basic",
    }
    with pytest.raises(UserError, match="'filters' should be name=value"):
        parse("--overrides=filters").model_overrides()

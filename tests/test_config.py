"""What a training is told."""

import dataclasses
import json

import pytest
from absl import flags

from recycle_tf.config import TrainConfig
from recycle_tf.data import augment, cache, decode, mix, splits
from recycle_tf.errors import UserError
from recycle_tf.training import config as training_config


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


@pytest.mark.parametrize("text", ["10", "10,20", "0,20steps", "20,10steps", "10,steps", "1.5,3steps"])
def test_a_range_of_steps_to_profile(text):
    assert TrainConfig(profile="10,20steps").profiled_steps() == (10, 20)
    assert TrainConfig().profiled_steps() == (0, 0)
    with pytest.raises(
        UserError, match=f"--profile={text}: expected first and last step, such as 10,20steps"
    ):
        TrainConfig(profile=text)


def write_run(path, **settings):
    path.mkdir()
    record = {"config": settings, "labels": ["can", "jar"], "fingerprint": "1"}
    (path / "config.json").write_text(json.dumps(record))
    return path


def test_a_run_is_repeated_with_its_settings_but_for_its_place(tmp_path):
    settings = dataclasses.asdict(TrainConfig(recipe="quick", epochs="7", mix="both", run_dir="runs/first"))
    before = write_run(tmp_path / "before", **settings)
    flag = f"--from_run={before}"
    expected = TrainConfig(recipe="quick", epochs="7", mix="both", from_run=str(before))
    assert parse(flag) == expected
    assert parse(flag, "--epochs=9", "--run_dir=b") == dataclasses.replace(expected, epochs="9", run_dir="b")
    quick = training_config.RECIPES["quick"]
    assert parse(flag, "--recipe=quick") == dataclasses.replace(expected, **quick)


def test_a_run_that_cannot_be_repeated(tmp_path):
    with pytest.raises(UserError, match=f"--from_run={tmp_path}/none: no such folder"):
        parse(f"--from_run={tmp_path}/none")
    with pytest.raises(UserError, match=f"--from_run={tmp_path}: not a run"):
        parse(f"--from_run={tmp_path}")
    other = write_run(tmp_path / "other", momentum=0.5)
    with pytest.raises(
        UserError, match=f"--from_run={other}: was begun with --momentum=0.5, which this version does not"
    ):
        parse(f"--from_run={other}")

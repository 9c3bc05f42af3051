"""What a training is told."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
from absl import flags

from recycle_tf import cli, options, runs
from recycle_tf import config as training_config
from recycle_tf.config import TrainConfig
from recycle_tf.data import augment
from recycle_tf.errors import UserError
from recycle_tf.models import registry
from recycle_tf.recipes import RECIPES, paper


def parse(*arguments):
    values = flags.FlagValues()
    cli.define_flags(TrainConfig, values)
    values(["train.py", *arguments])
    given = cli.given(TrainConfig, values)
    earlier = runs.settings_to_repeat(given["from_run"]) if "from_run" in given else None
    return training_config.resolve(given, earlier=earlier)


def test_every_field_is_a_flag_with_a_help():
    values = flags.FlagValues()
    cli.define_flags(TrainConfig, values)
    for field in dataclasses.fields(TrainConfig):
        assert len(values[field.name].help) > 10, field.name


def test_defaults_then_recipe_then_flags():
    assert parse() == TrainConfig()
    assert parse("--recipe=quick").epochs == RECIPES["quick"]["epochs"]
    assert parse("--recipe=quick", "--epochs=3") == dataclasses.replace(parse("--recipe=quick"), epochs="3")
    # A flag that repeats the default still overrides the recipe.
    assert parse("--recipe=quick", f"--mix={TrainConfig.mix}").mix == TrainConfig.mix


def test_the_recipe_applies_in_python_too():
    assert TrainConfig(recipe="quick").epochs == RECIPES["quick"]["epochs"]
    assert TrainConfig(recipe="quick", epochs="3").epochs == "3"
    with pytest.raises(UserError, match="recipe=scrach.*scratch"):
        TrainConfig(recipe="scrach")


@pytest.mark.parametrize("name", ["augment", "mix", "cache", "resize", "split", "schedule", "optimizer"])
def test_help_names_every_choice(name):
    field = TrainConfig.__dataclass_fields__[name]
    assert all(choice in field.metadata["help"] for choice in field.metadata["choices"])


def test_every_policy_exists():
    assert set(augment.policies()) == set(options.POLICIES)


@pytest.mark.parametrize(
    ("flag", "names"),
    [
        ("--image_size=0", ("image_size=0", "32", "2048")),
        ("--logical_cpus=2", ("logical_cpus=2", "strategy=mirrored")),
        ("--epochs=0", ("epochs=0",)),
        ("--learning_rate=-1", ("learning_rate=-1",)),
        ("--optimizer=adam", ("optimizer=adam", "adamw")),
        ("--recipe=scrach", ("recipe=scrach", "scratch")),
        ("--resize=zoom", ("resize=zoom", "crop", "letterbox", "stretch")),
        ("--augment=trival", ("augment=trival", "trivial")),
        ("--checkpoint_every=5", ("checkpoint_every=5", "5m")),
        ("--batch_size=99999999999", ("batch_size=99999999999", "65536")),
    ],
)
def test_invalid_values(flag, names):
    with pytest.raises(UserError) as caught:
        parse(flag)
    assert all(name in str(caught.value) for name in names)


def test_an_unknown_setting():
    with pytest.raises(UserError, match="epoch.*epochs"):
        TrainConfig(epoch="3")


def test_overrides():
    assert parse("--overrides=filters=32,drop_rate=0.5,block=basic").model_overrides() == {
        "filters": 32,
        "drop_rate": 0.5,
        "block": "basic",
    }
    with pytest.raises(UserError, match="filters"):
        parse("--overrides=filters").model_overrides()
    # Python's parser fails on this: a list cannot be a key.
    assert parse("--overrides=filters={[]:1}").model_overrides() == {"filters": "{[]:1}"}


@pytest.mark.parametrize("text", ["10", "10,20", "0,20steps", "20,10steps", "10,steps", "1.5,3steps"])
def test_a_range_of_steps_to_profile(text):
    assert TrainConfig(profile="10,20steps").profiled_steps() == (10, 20)
    assert TrainConfig().profiled_steps() == (0, 0)
    with pytest.raises(UserError, match=f"profile={text}.*10,20steps"):
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
    quick = RECIPES["quick"]
    assert parse(flag, "--recipe=quick") == dataclasses.replace(expected, **quick)


def test_with_the_recipe_of_a_whole_training_nothing_remains_of_the_earlier_one(tmp_path):
    earlier = dataclasses.asdict(TrainConfig(recipe="finetune", weights="imagenet", image_size=160, ema=0.99))
    given = {"from_run": str(tmp_path), "recipe": "scratch"}
    found = training_config.resolve(given, earlier=earlier)
    assert (found.head_epochs, found.layer_decay, found.freeze_norms) == (0, 1.0, False)
    assert (found.image_size, found.ema, found.weights) == (160, 0.99, "imagenet")


def test_nothing_after_a_flag_takes_a_setting_away(tmp_path):
    earlier = dataclasses.asdict(TrainConfig(teacher="runs/other", progressive="64"))
    given = {"from_run": str(tmp_path), "teacher": "", "progressive": ""}
    found = training_config.resolve(given, earlier=earlier)
    assert found.teacher is None
    assert found.progressive is None
    assert TrainConfig(run_dir="").run_dir == "", "a mistake, which is named when it is used"


def test_backgrounds_go_with_the_augmentation(tmp_path):
    earlier = dataclasses.asdict(TrainConfig(recipe="robust", weights="imagenet", backgrounds="floors"))
    given = {"from_run": str(tmp_path), "weights": "imagenet"}
    assert training_config.resolve({**given, "recipe": "finetune"}, earlier=earlier).backgrounds is None
    assert training_config.resolve({**given, "recipe": "robust"}, earlier=earlier).backgrounds == "floors"


def test_a_balance_of_classes_replaces_the_turns_of_adapt(tmp_path):
    given = {"from_run": str(tmp_path), "recipe": "adapt", "class_balance": "weights"}
    assert training_config.resolve(given).source_weights == "size"


def test_a_run_that_cannot_be_repeated(tmp_path):
    with pytest.raises(UserError, match=f"from_run={tmp_path}/none.*no such folder"):
        parse(f"--from_run={tmp_path}/none")
    with pytest.raises(UserError, match=f"from_run={tmp_path}.*not a run"):
        parse(f"--from_run={tmp_path}")
    other = write_run(tmp_path / "other", momentum=0.5)
    with pytest.raises(UserError, match=f"from_run={other}.*momentum=0.5"):
        parse(f"--from_run={other}")


def test_adapting_starts_from_the_weights_of_the_run(tmp_path):
    given = {"from_run": str(tmp_path), "recipe": "adapt", "dataset": "trashnet+own"}
    earlier = {"weights": "imagenet", "image_size": 160, "epochs": "60", "head_epochs": 3}
    found = training_config.resolve(given, earlier=earlier)
    assert found.weights == str(tmp_path / "model.keras")
    assert (found.image_size, found.epochs, found.source_weights) == (160, "10", "even")
    assert found.head_epochs == 0
    assert training_config.resolve({**given, "weights": "other.keras"}).weights == "other.keras"
    with pytest.raises(UserError, match="recipe=adapt"):
        TrainConfig(recipe="adapt")


def test_a_run_is_adapted_with_its_augmentation_and_without_its_limit(tmp_path):
    earlier = dataclasses.asdict(TrainConfig(recipe="robust", weights="imagenet", time_limit="5m"))
    given = {"from_run": str(tmp_path)}
    adapted = training_config.resolve({**given, "recipe": "adapt"}, earlier=earlier)
    assert (adapted.augment, adapted.time_limit) == ("wild", None)
    assert adapted.continues
    assert not training_config.resolve(given, earlier=earlier).continues


def test_what_a_paper_published_does_not_outlast_its_recipe(tmp_path):
    published = registry.find("resnet50").recipe
    earlier = {"arch": "resnet50", "batch_size": 128, "recipe": "paper", "class_balance": "sampler"}
    earlier |= paper(published, 128) | {"weights": None}
    given = {"from_run": str(tmp_path)}
    for recipe in ({"recipe": "adapt", "dataset": "a+b"}, {"quantize": "int8"}):
        found = training_config.resolve({**given, **recipe}, published, earlier)
        assert (found.optimizer, found.schedule, found.weight_decay) == ("adamw", "cosine", 0.05)
    again = training_config.resolve({**given, "recipe": "paper"}, published, earlier)
    assert again.learning_rate == pytest.approx(0.1 * 128 / 256)


@pytest.mark.parametrize(
    ("setting", "kind"),
    [
        ({"overrides": {"filters": 32}}, "a text"),
        ({"freeze": ["stem"]}, "a text"),
        ({"epochs": None}, "a text"),
        ({"image_size": 160.0}, "a whole number or None"),
        ({"batch_size": True}, "a whole number"),
        ({"learning_rate": "1e-3"}, "a number"),
        ({"deterministic": "no"}, "True or False"),
    ],
)
def test_values_of_another_type(setting, kind):
    (name,) = setting
    with pytest.raises(UserError, match=f"`{name}=.*expected {kind}, not "):
        TrainConfig(**setting)


def test_numbers_of_numpy_and_paths_are_taken():
    config = TrainConfig(image_size=np.int64(64), learning_rate=1, run_dir=pathlib.Path("runs/a"), epochs=3)
    assert config.image_size == 64


def test_the_recipe_of_integers_alone_is_refused():
    with pytest.raises(UserError, match="`recipe=quantize`.*`quantize=int8`"):
        training_config.resolve({"recipe": "quantize"})
    earlier = {"recipe": "quantize", "quantize": "int8", "epochs": "3", "weights": "model.keras"}
    found = training_config.resolve({"quantize": "none"}, earlier=earlier)
    assert (found.recipe, found.epochs) == (TrainConfig.recipe, "3")

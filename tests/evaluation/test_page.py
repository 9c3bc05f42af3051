"""The page of a report: whole, inert, in two languages."""

import dataclasses
import json
import re
import types

import pytest

from recycle_tf import create_model, runs
from recycle_tf.config import TrainConfig
from recycle_tf.evaluation import page
from recycle_tf.evaluation.page import FILES


@pytest.fixture(scope="module", params=["report.html", "report.ko.html"])
def text(request, finished_run):
    return (runs.open_run(finished_run).report / request.param).read_text(encoding="utf-8")


def test_it_holds_everything(text, finished_run):
    summary = json.loads((finished_run / "report" / "metrics.json").read_text())
    assert f"{100 * summary['accuracy']:.1f}\N{NO-BREAK SPACE}%" in text
    assert all(f"<td>{label}</td>" in text for label in runs.open_run(finished_run).labels)
    assert text.count("data:image/png;base64,") == 4
    assert "python -m recycle_tf train --arch=test_resnet" in text
    # Nothing is loaded from elsewhere, but the page in the other language.
    assert not re.search(r'(src|href)="(?!data:|report)', text)
    assert "<script" not in text


def test_its_style_is_not_escaped(text):
    """Entities in a style element are not decoded: the first would end the declaration of the fonts."""
    style = text[text.index("<style>") : text.index("</style>")]
    assert '"Pretendard"' in style
    assert "&" not in style


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"mix": "none"}, "python -m recycle_tf train --arch=densenet121 --mix=none"),
        ({"recipe": "quick"}, "python -m recycle_tf train --arch=densenet121 --recipe=quick"),
        # The default of the flag, but not of the recipe.
        (
            {"recipe": "quick", "mix": "both"},
            "python -m recycle_tf train --arch=densenet121 --recipe=quick --mix=both",
        ),
    ],
)
def test_its_command_repeats_the_training(settings, expected):
    config = dataclasses.asdict(TrainConfig(**settings))
    assert page._training_command(types.SimpleNamespace(config=config, averaged={})) == expected


def test_its_command_repeats_an_average():
    config = dataclasses.asdict(TrainConfig(run_dir="runs/both"))
    run = types.SimpleNamespace(config=config, averaged={"runs/a": 0.25, "runs/b": 0.75})
    command = "average runs/a runs/b --proportions=0.25,0.75 --run_dir=runs/both"
    assert page._training_command(run).endswith(command)
    run.averaged["runs/b"] = 0.0
    assert page._training_command(run).endswith("average runs/a runs/b --run_dir=runs/both")


def test_it_warns_without_other_photographs(text, finished_run):
    assert "--dataset=FOLDER" in text
    assert str(finished_run) in text


def test_both_languages_say_everything():
    files = [(FILES / f"texts.{code}.json").read_text(encoding="utf-8") for code in ("en", "ko")]
    english, korean = map(json.loads, files)
    assert english.keys() == korean.keys()
    for key, value in english.items():
        fields = [set(re.findall(r"{\w+}", str(texts[key]))) for texts in (english, korean)]
        assert fields[0] == fields[1], key
        assert isinstance(value, type(korean[key]))


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"image_size": None, "overrides": ""}, 224),
        ({"image_size": None, "overrides": "phi=1.0"}, 258),
        ({"image_size": 96, "overrides": "phi=1.0"}, 96),
    ],
)
def test_it_shows_the_image_size_of_the_network(settings, size):
    config = {"arch": "efficientnet_b0", "dataset": "photos", **settings}
    run = types.SimpleNamespace(path=FILES, config=config)
    assert page._run(run)["image_size"] == size
    overrides = TrainConfig(**config).model_overrides()
    assert create_model("efficientnet_b0", 2, settings["image_size"], **overrides).input_shape[1] == size


def test_it_is_written_for_a_run_with_a_setting_that_is_refused_now():
    settings = {"image_size": None, "overrides": "drop_path_rate=0.1"}
    run = types.SimpleNamespace(path=FILES, config={"arch": "plain18", "dataset": "photos", **settings})
    assert page._run(run)["image_size"] == 224

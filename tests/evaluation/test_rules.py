"""Bins: the built-in rules, and what a rule file may get wrong."""

import json

import numpy as np
import pytest
import yaml

from recycle_tf.errors import UserError
from recycle_tf.evaluation import rules

TRASHNET = ["glass", "paper", "cardboard", "plastic", "metal", "trash"]
SMALL = {
    "name": {"en": "here"},
    "source": "a sign",
    "bins": {"blue": {"en": "Blue"}, "gray": {"en": "Gray"}},
    "classes": {
        "can": {"bin": "blue", "source": "the sign"},
        "jar": {"bin": "blue", "source": "the sign"},
        "rag": {"bin": "gray", "source": "the sign"},
    },
    "costs": {"default": 1, "gray": {"blue": 4}},
}


def written(tmp_path, content):
    path = tmp_path / "rules.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("name", rules.built_in())
def test_built_in_rules_cover_trashnet(name):
    found = rules.load(name)
    assert len(found.bins_of(TRASHNET)) == 6
    assert set(found.name) == set(rules.LANGUAGES)
    for rule in found.classes.values():
        assert rule["source"]
        for texts in (rule.get("advice", {}), rule.get("question", {})):
            assert not texts or set(rules.LANGUAGES) <= set(texts)
    assert all(set(rules.LANGUAGES) <= set(texts) for texts in found.bins.values())
    assert (np.diag(found.costs) == 0).all()


def test_korea_keeps_clear_pet_apart():
    found = rules.load("korea")
    assert found.classes["plastic"]["question"]["if_yes"] == "clear_pet"
    assert found.classes["trash"]["bin"] == "pay_bag"


def test_bins_add_up_their_classes(tmp_path):
    found = rules.load(written(tmp_path, SMALL))
    probabilities = np.array([[0.3, 0.3, 0.4], [0.05, 0.05, 0.9]])
    bins = found.probabilities(probabilities, ["can", "jar", "rag"])
    assert bins == pytest.approx(np.array([[0.6, 0.4], [0.1, 0.9]]))
    # The most probable class of the first is a rag, its most probable bin blue, its cheapest gray:
    # 0.4 x 4 for blue, 0.6 x 1 for gray.
    assert bins.argmax(axis=1).tolist() == [0, 1]
    assert found.cheapest(bins).tolist() == [1, 1]
    summary = found.summarise(probabilities, np.array([0, 2]), ["can", "jar", "rag"])
    assert summary == {
        "most_probable": {"accuracy": 1.0, "cost": 0.0},
        "cheapest": {"accuracy": 0.5, "cost": 0.5},
    }


def test_a_class_without_a_rule(tmp_path):
    with pytest.raises(UserError, match="'cup'.*can, jar, rag"):
        rules.load(written(tmp_path, SMALL)).bins_of(["cup"])


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"bins": None}, ("bins",)),
        ({"source": None}, ("source",)),
        ({"classes": {"can": {"bin": "red", "source": "x"}}}, ("can", "bin")),
        ({"classes": {"can": {"bin": "blue"}}}, ("can", "source")),
        ({"classes": {"can": {"bin": "blue", "source": "x", "question": {"en": "?"}}}}, ("can", "if_yes")),
        ({"name": {}}, ("name",)),
        ({"bins": {"blue": {"en": "Blue", "color": "blue"}}}, ("blue", "color")),
        ({"bins": {1: {"en": "One"}}}, ("bins", "names")),
        ({"classes": {"can": {"bin": ["blue"], "source": "x"}}}, ("can", "bin")),
        ({"costs": {"blue": {"gray": -1}}}, ("costs", "blue", "gray")),
        ({"costs": {"red": {"gray": 1}}}, ("costs", "red")),
        ({"costs": {"default": "much"}}, ("costs", "default")),
        ({"bins": {"blue": {"en": "Blue"}, "default": {"en": "Rest"}}}, ("bin", "default")),
    ],
)
def test_mistakes_in_a_file(tmp_path, change, names):
    path = written(tmp_path, {**SMALL, **change})
    with pytest.raises(UserError) as caught:
        rules.load(path)
    for name in (f"`rules={path}`", *names):
        assert name in str(caught.value)


TAGS = ("name: !!map [a]", "source: !!bool x", "valid: !!timestamp x", 'costs: {default: !!int ""}')
"""What PyYAML cannot construct."""


@pytest.mark.parametrize(
    "text", ["a: [", "- 1", "!!python/object/apply:os.system [ls]", "\0", "a: 0x_", *TAGS]
)
def test_files_that_are_not_rules(tmp_path, text):
    with pytest.raises(UserError, match="rules="):
        rules.load(written(tmp_path, text))


def test_a_key_that_occurs_twice(tmp_path):
    path = written(tmp_path, SMALL)
    path.write_text(path.read_text().replace("classes:", "classes: {}\nclasses:", 1))
    with pytest.raises(UserError, match="classes occurs twice"):
        rules.load(path)


def test_dates_stay_texts(tmp_path):
    """A date is no value of JSON, and 30 February is none at all."""
    path = written(tmp_path, SMALL)
    path.write_text(path.read_text() + "valid: 2026-02-30\n")
    assert rules.load(path).valid == "2026-02-30"


def test_names_that_do_not_exist(tmp_path):
    with pytest.raises(UserError, match="korea"):
        rules.load("korean")
    with pytest.raises(UserError, match="No such file"):
        rules.load(tmp_path / "gone.yaml")


def test_a_decision_has_the_lowest_cost_and_the_class_of_its_bin(tmp_path):
    found, labels = rules.load(written(tmp_path, SMALL)), ["rag", "can", "jar"]
    # A rag is most probable; blue is the most probable bin; gray costs least: 0.6 against 0.4 x 4.
    decision = found.decide((0.4, 0.25, 0.35), labels, threshold=0.5)
    assert (decision.bin, decision.label, decision.sure) == ("gray", "rag", False)
    assert decision.probability == pytest.approx(0.4)
    decision = found.decide((0.02, 0.4, 0.58), labels, threshold=0.9)
    # Neither class reaches the threshold, but both go into the same bin.
    assert (decision.bin, decision.label, decision.sure) == ("blue", "jar", True)
    chosen = found.cheapest(found.probabilities(np.array([[0.4, 0.25, 0.35]]), labels))
    assert list(found.bins)[chosen[0]] == "gray"


def test_a_decision_as_sentences():
    found = rules.load("korea")
    labels = TRASHNET
    decision = found.decide(np.eye(6)[labels.index("plastic")], labels)
    english, korean = (found.describe(decision, language) for language in rules.LANGUAGES)
    assert english == (
        "Plastic. Rinse it and remove the label. Is it a clear, colorless PET bottle? "
        "If yes: Clear PET bottles."
    )
    assert korean.startswith("플라스틱류. ")
    assert korean.endswith("그렇다면: 투명 페트병.")


def test_a_bin_without_classes(tmp_path):
    content = {**SMALL, "bins": {**SMALL["bins"], "desk": {"en": "Ask"}}}
    content["costs"] = {"default": 4, "blue": {"desk": 0.1}, "gray": {"desk": 0.1}}
    found = rules.load(written(tmp_path, content))
    decision = found.decide((0.5, 0.0, 0.5), ["can", "jar", "rag"])
    assert (decision.bin, decision.label, decision.probability) == ("desk", None, 0.0)
    assert found.describe(decision) == "Ask."


@pytest.mark.parametrize("name", rules.built_in())
def test_rules_travel_as_json(name):
    found = rules.load(name)
    again = rules.parse(json.loads(json.dumps(found.content(TRASHNET))), "spec.json")
    assert again.content(TRASHNET) == found.content(TRASHNET)
    np.testing.assert_array_equal(again.costs, found.costs)
    assert list(found.content(["glass"])["classes"]) == ["glass"]

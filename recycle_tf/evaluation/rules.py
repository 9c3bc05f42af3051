"""Which bin? Rules of a place: the bin of each class, the cost of mistakes, advice and questions.

A rule file is YAML: `bins`, `classes` (bin, advice, question, source of each) and `costs`. Texts are given
per language. The files in `recycle_tf/rules` come with the package. Municipalities differ, so a file says
whose rules it holds.
"""

import dataclasses
import importlib.resources

import numpy as np
import yaml

from recycle_tf.errors import UserError, did_you_mean
from recycle_tf.paths import from_user

BUILT_IN = importlib.resources.files("recycle_tf") / "rules"
LANGUAGES = ("en", "ko")


@dataclasses.dataclass(frozen=True)
class Rules:
    """Rules of a place.

    Attributes:
        name: `{language: text}`, whose rules they are.
        valid: since when and where, as text.
        source: of the whole file, as text.
        bins: `{bin: {language: text, "color": "#rrggbb"}}`.
        classes: `{class: {"bin": bin, "advice": {language: text}, "question": {…, "if_yes": bin},
            "source": text}}`; advice and question are optional.
        costs: cost of putting something of one bin (rows) into another one, `[bins, bins]`, in the order of
            `bins`; 0 on the diagonal.
    """

    name: dict
    valid: str
    source: str
    bins: dict
    classes: dict
    costs: np.ndarray

    def bins_of(self, labels):
        """Index of the bin of each class.

        Args:
            labels: names of the classes.

        Raises:
            UserError: a class without a rule.
        """
        for label in labels:
            if label not in self.classes:
                raise UserError(
                    f"rules: no bin for the class {label!r}; there are bins for {', '.join(self.classes)}"
                )
        order = list(self.bins)
        return np.array([order.index(self.classes[label]["bin"]) for label in labels])

    @property
    def title(self):
        """Whose rules they are, in English if there is such a text."""
        return _english(self.name)

    def instruct(self, label):
        """What to do with something of a class: its bin, advice and question, as sentences.

        Args:
            label: name of the class.
        """
        rule = self.classes[label]
        texts = filter(None, (self.bins[rule["bin"]], rule.get("advice"), rule.get("question")))
        return ". ".join(_english(text).rstrip(".") for text in texts)

    def probabilities(self, probabilities, labels):
        """Probability of each bin: the sum over its classes.

        Args:
            probabilities: of the classes, `[examples, num_classes]`.
            labels: names of the classes.

        Returns:
            `[examples, bins]`.
        """
        member = np.zeros((len(labels), len(self.bins)))
        member[np.arange(len(labels)), self.bins_of(labels)] = 1
        return probabilities @ member

    def cheapest(self, bin_probabilities):
        """Index of the bin with the lowest expected cost, `[examples]`.

        Args:
            bin_probabilities: `[examples, bins]`.
        """
        return (bin_probabilities @ self.costs).argmin(axis=1)

    def summarise(self, probabilities, true_labels, labels):
        """Accuracy and cost of the bins.

        Args:
            probabilities: of the classes, `[examples, num_classes]`.
            true_labels: true classes, `[examples]`.
            labels: names of the classes.

        Returns:
            A dict: for the answers `most_probable` and `cheapest` each the `accuracy` of the bin (0..1) and
            the mean `cost` per image.
        """
        true = self.bins_of(labels)[true_labels]
        bins = self.probabilities(probabilities, labels)
        answers = {"most_probable": bins.argmax(axis=1), "cheapest": self.cheapest(bins)}
        return {
            name: {"accuracy": float((found == true).mean()), "cost": float(self.costs[true, found].mean())}
            for name, found in answers.items()
        }


def load(path):
    """Reads a rule file.

    Args:
        path: of a `.yaml` file, or the name of a built-in one (`england`, `korea`).

    Returns:
        `Rules`.

    Raises:
        UserError: no such file, not YAML, or something in it that is missing or inconsistent.
    """
    try:
        content = yaml.safe_load(_read(path))
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"`rules={path}`: not valid YAML: {' '.join(str(error).split())[:120]}") from error
    return _parse(content, path)


def load_for(path, labels):
    """As `load`, for a network.

    Args:
        path: as in `load`.
        labels: names of its classes.

    Raises:
        UserError: as `load`, or a class without a rule.
    """
    found = load(path)
    found.bins_of(labels)
    return found


def _english(texts):
    return texts.get("en") or next(iter(texts.values()))


def built_in():
    """Names of the rule files that come with the package."""
    return sorted(
        file.name.removesuffix(".yaml") for file in BUILT_IN.iterdir() if file.name.endswith(".yaml")
    )


def _read(path):
    if str(path) in built_in():
        return (BUILT_IN / f"{path}.yaml").read_text(encoding="utf-8")
    file = from_user(path, "rules")
    if file.suffix not in (".yaml", ".yml"):
        raise UserError(f"`rules={path}`: not a .yaml file; built-in rules: {did_you_mean(path, built_in())}")
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise UserError(f"`rules={path}`: cannot be read ({reason})") from error


def _parse(content, path):
    def expect(condition, what):
        if not condition:
            raise UserError(f"`rules={path}`: {what}")

    expect(isinstance(content, dict), "expected the keys name, source, bins, classes and costs")
    for key, kind in (("name", dict), ("source", str), ("bins", dict), ("classes", dict)):
        expect(isinstance(content.get(key), kind), f"{key} is missing or not a {kind.__name__}")
    bins, classes = content["bins"], content["classes"]
    for name, texts in bins.items():
        expect(_texts(texts), f"bin {name}: expected a text per language, for example en: Paper")
    for name, rule in classes.items():
        expect(
            isinstance(rule, dict) and rule.get("bin") in bins,
            f"class {name}: its bin is not one of the bins",
        )
        expect(isinstance(rule.get("source"), str), f"class {name}: its source is missing")
        expect(_texts(rule.get("advice", {"en": ""})), f"class {name}: advice is not a text per language")
        question = rule.get("question")
        expect(
            question is None or (_texts(question) and question.get("if_yes") in bins),
            f"class {name}: a question needs a text per language and if_yes, one of the bins",
        )
    costs = _costs(content.get("costs", {}), list(bins), expect)
    return Rules(content["name"], str(content.get("valid", "")), content["source"], bins, classes, costs)


def _texts(value):
    return isinstance(value, dict) and any(isinstance(value.get(language), str) for language in LANGUAGES)


def _costs(given, order, expect):
    expect(isinstance(given, dict), "costs: expected bin: {bin: cost}")
    default = given.get("default", 1)
    expect(_is_cost(default), "costs: default is not a number of at least 0")
    costs = np.full((len(order), len(order)), float(default))
    np.fill_diagonal(costs, 0)
    for true, row in given.items():
        if true == "default":
            continue
        expect(true in order and isinstance(row, dict), f"costs: {true} is not one of the bins")
        for chosen, cost in row.items():
            expect(chosen in order and chosen != true, f"costs: {true}: {chosen} is not another bin")
            expect(_is_cost(cost), f"costs: {true}: {chosen} is not a number of at least 0")
            costs[order.index(true), order.index(chosen)] = cost
    return costs


def _is_cost(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e6

"""Which bin? Rules of a place: the bin of each class, the cost of mistakes, advice and questions.

A rule file is YAML: `bins`, `classes` (bin, advice, question, source of each) and `costs`. Texts are given
per language. The files in `recycle_tf/rules` come with the package. Municipalities differ, so a file says
whose rules it holds.
"""

import dataclasses
import importlib.resources
import re

import numpy as np
import yaml

from recycle_tf.errors import UserError, did_you_mean
from recycle_tf.paths import from_user

BUILT_IN = importlib.resources.files("recycle_tf") / "rules"
LANGUAGES = ("en", "ko")
YES = {"en": "If yes", "ko": "그렇다면"}


@dataclasses.dataclass(frozen=True)
class Decision:
    """Where an object goes.

    Attributes:
        bin: the bin with the lowest expected cost.
        probability: of this bin, 0..1.
        label: the most probable class of this bin, whose advice and question apply; None for a bin without
            classes.
        sure: whether the probability of the bin reaches the model's threshold.
    """

    bin: str
    probability: float
    label: str | None
    sure: bool


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
        return text(self.name, "en")

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

    def decide(self, probabilities, labels, threshold=None):
        """Where one object goes: the bin with the lowest expected cost.

        Classes of the same bin need not be told apart: the threshold applies to the probability of the bin.

        Args:
            probabilities: of the classes, `[num_classes]`.
            labels: names of the classes.
            threshold: confidence of the model below which an answer is not sure, 0..1, or None.

        Returns:
            A `Decision`.
        """
        bins = self.probabilities(np.asarray(probabilities)[None], labels)
        chosen = int(self.cheapest(bins)[0])
        members = np.flatnonzero(self.bins_of(labels) == chosen)
        best = members[np.argmax(np.asarray(probabilities)[members])] if len(members) else None
        probability = float(bins[0, chosen])
        return Decision(
            list(self.bins)[chosen],
            probability,
            None if best is None else labels[best],
            threshold is None or probability >= threshold,
        )

    def describe(self, decision, language="en"):
        """A decision as sentences: the bin, then advice and question of the class.

        Args:
            decision: a `Decision`.
            language: one of `LANGUAGES`.
        """
        sentences = [text(self.bins[decision.bin], language)]
        rule = self.classes.get(decision.label, {})
        if "advice" in rule:
            sentences.append(text(rule["advice"], language))
        if "question" in rule:
            other = text(self.bins[rule["question"]["if_yes"]], language)
            sentences.append(f"{text(rule['question'], language)} {YES[language]}: {other}")
        return " ".join(one if one.endswith((".", "?")) else f"{one}." for one in sentences)

    def content(self, labels):
        """The rules of some classes as a dict for JSON, which `parse` reads.

        Args:
            labels: names of the classes.
        """
        names = list(self.bins)
        costs = {
            true: {chosen: cost for chosen, cost in zip(names, row, strict=True) if chosen != true}
            for true, row in zip(names, self.costs.tolist(), strict=True)
        }
        return {
            "name": self.name,
            "valid": self.valid,
            "source": self.source,
            "bins": self.bins,
            "classes": {label: self.classes[label] for label in labels},
            "costs": costs,
        }

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


class _Loader(yaml.SafeLoader):
    """Dates stay texts, which JSON can hold, and a key that occurs twice is an error."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node, deep=False):
        """A dict of a YAML mapping."""
        keys = [key for key, _ in node.value]
        for number, key in enumerate(keys):
            if key.value in [other.value for other in keys[:number]]:
                raise yaml.YAMLError(f"{key.value} occurs twice{key.start_mark}")
        return super().construct_mapping(node, deep)


def text(texts, language):
    """The text of a language; of another one if it is missing."""
    return next(texts[code] for code in (language, *LANGUAGES) if code in texts)


def load(path):
    """Reads a rule file.

    Args:
        path: of a `.yaml` file, or the name of a built-in one (`england`, `korea`).

    Returns:
        `Rules`.

    Raises:
        UserError: no such file, not YAML, or something in it that is missing or inconsistent.
    """
    where = f"`rules={path}`"
    written = _read(path)
    try:
        content = yaml.load(written, Loader=_Loader)  # noqa: S506  (a SafeLoader)
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        # Tags such as `!!int ""` make PyYAML raise any of these.
        raise UserError(f"{where}: not valid YAML: {' '.join(str(error).split())[:120]}") from error
    return parse(content, where)


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


def built_in():
    """Names of the rule files that come with the package."""
    return sorted(
        file.name.removesuffix(".yaml") for file in BUILT_IN.iterdir() if file.name.endswith(".yaml")
    )


def parse(content, where):
    """Rules from what a rule file or an artifact's `spec.json` holds.

    Args:
        content: the value that was read.
        where: it came from, for messages.

    Returns:
        `Rules`.

    Raises:
        UserError: something is missing or inconsistent.
    """

    def expect(condition, what):
        if not condition:
            raise UserError(f"{where}: {what}")

    expect(isinstance(content, dict), "expected the keys name, source, bins, classes and costs")
    for key, kind in (("name", dict), ("source", str), ("bins", dict), ("classes", dict)):
        expect(isinstance(content.get(key), kind), f"{key} is missing or not a {kind.__name__}")
    bins, classes = content["bins"], content["classes"]
    expect(_texts(content["name"]), "name: expected a text per language, for example en: Our town")
    expect(bins and all(isinstance(one, str) for one in (*bins, *classes)), "bins and classes need names")
    expect("default" not in bins, "no bin can be called default, which costs use for all others")
    for name, texts in bins.items():
        expect(_texts(texts), f"bin {name}: expected a text per language, for example en: Paper")
        color = texts.get("color", "#000000")
        expect(
            isinstance(color, str) and re.fullmatch("#[0-9a-fA-F]{6}", color),
            f"bin {name}: color is not like '#2d6fb3'",
        )
    for name, rule in classes.items():
        _check_class(name, rule, bins, expect)
    costs = _costs(content.get("costs", {}), list(bins), expect)
    return Rules(content["name"], str(content.get("valid", "")), content["source"], bins, classes, costs)


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


def _check_class(name, rule, bins, expect):
    def is_bin(value):
        return isinstance(value, str) and value in bins

    expect(
        isinstance(rule, dict) and is_bin(rule.get("bin")), f"class {name}: its bin is not one of the bins"
    )
    expect(isinstance(rule.get("source"), str), f"class {name}: its source is missing")
    expect("advice" not in rule or _texts(rule["advice"]), f"class {name}: advice is not a text per language")
    question = rule.get("question")
    expect(
        "question" not in rule or (_texts(question) and is_bin(question.get("if_yes"))),
        f"class {name}: a question needs a text per language and if_yes, one of the bins",
    )


def _texts(value):
    """Whether a value holds a text in at least one language, and nothing else under a language."""
    given = [value[code] for code in LANGUAGES if code in value] if isinstance(value, dict) else []
    return bool(given) and all(isinstance(one, str) and one for one in given)


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

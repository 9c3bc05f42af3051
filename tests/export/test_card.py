"""The model card."""

from export import card
from recycle_tf.evaluation import rules
from tests.export.conftest import FILES, RULES


def test_the_card_lists_what_was_exported(exported):
    text = (exported[0] / "card.md").read_text(encoding="utf-8")
    assert "| 1 | jar | 병 |" in text
    assert "- author: A. Author" in text
    assert "- license: not stated" in text
    assert "9 images of the test split of photos" in text
    for file in FILES.values():
        assert f"| `{file}` |" in text


def make(elsewhere=None, **given):
    spec = {
        "arch": "resnet18",
        "run": "run",
        "dataset": "photos",
        "dataset_fingerprint": "0",
        "image_size": 32,
        "resize": "stretch",
        "input": "pixels",
        "output": "probabilities",
        "labels": ["can", "jar"],
        "temperature": 1.0,
    }
    return card.make_card({**spec, **given}, [], elsewhere=elsewhere)


def test_labels_author_and_license_are_escaped():
    text = make(
        labels=["a|b", "<script>alert(1)</script>"],
        labels_ko=["캔|", "`병`"],
        author="A\n\n# Heading",
        license="[x](javascript:y) & *z* _u_",
    )
    assert "| 0 | a\\|b | 캔\\| |" in text
    assert "| 1 | \\<script\\>alert(1)\\</script\\> | \\`병\\` |" in text
    assert "- author: A # Heading" in text
    assert "- license: \\[x\\](javascript:y) \\& \\*z\\* \\_u\\_" in text
    assert text.count("\n# ") == 0


def test_whose_rules_and_how_many_bins():
    place = rules.parse(RULES, "test")
    text = make(labels=["can", "jar"], rules=place.content(["can", "jar"]))
    assert "- bins: 2, by the rules of Here; since yesterday; source: a sign\n" in text
    unknown = rules.parse({**RULES, "name": {"ko": "이곳*"}, "valid": ""}, "test")
    text = make(labels=["can", "jar"], rules=unknown.content(["can", "jar"]))
    assert "- bins: 2, by the rules of 이곳\\*; source: a sign\n" in text
    assert "- bins: none: no rules were given, only classes\n" in make()


def test_what_was_measured_elsewhere():
    text = make()
    assert "never evaluated on photographs of another origin" in text
    assert "always answers with one of its classes" in text
    summary = {"accuracy": 0.5, "examples": 40, "unlike": 0.25}
    spec = {"unlike": {"threshold": 0.5}}
    text = make(elsewhere={"street_1 all": summary, "old all": {"accuracy": 0.4}}, **spec)
    assert "never evaluated" not in text
    assert "| street\\_1 all | 40 | 0.5000 | 25.0% |" in text
    assert "| old all | not counted | 0.4000 | not measured |" in text
    assert "From 0.5 on, an app" in text
    assert "always answers" not in text


def test_a_column_per_locale():
    text = make(labels_ko=["캔", "병"], labels_de=["Dose", "Glas"])
    assert "| index | label | ko | de |" in text
    assert "| 1 | jar | 병 | Glas |" in text

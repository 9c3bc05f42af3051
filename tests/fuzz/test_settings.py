"""Any text as the value of any flag: a configuration, or one line."""

import dataclasses

import pytest
from absl import flags
from hypothesis import given
from hypothesis import strategies as st

from recycle_tf import cli, config
from recycle_tf.__main__ import main
from recycle_tf.config import TrainConfig
from recycle_tf.errors import UserError
from tests.fuzz.mutations import answer_or_user_error, examples, run_command

NAMES = sorted(field.name for field in dataclasses.fields(TrainConfig))
TEXTS = (
    st.text(max_size=12)
    | st.from_regex(r"[0-9.]{1,6}(steps|epochs|m|h|s)?", fullmatch=True)
    | st.sampled_from(
        ["nan", "inf", "-1", "1e999", "0" * 50 + "1", "1.2.3", "", "\0", "None", "[", "x" * 5000]
    )
)
PATTERNS = {
    "too many repetitions": "a{99999999999999}",
    "nested too deeply": "(" * 5000 + ")" * 5000,
    "bad range": "[z-a]",
    "the same group twice": "(?P<a>x)(?P<a>y)",
}


def configure(argument):
    """What `train.py` does with a command line before it imports TensorFlow."""
    values = flags.FlagValues()
    cli.define_flags(TrainConfig, values)
    cli.no_positionals(cli.parse([argument], values, "", may_be_empty=True))
    return config.resolve(cli.given(TrainConfig, values))


@pytest.mark.parametrize("name", NAMES)
def test_any_value_of_a_flag(name):
    @examples(12)
    @given(value=TEXTS)
    def check(value):
        found = answer_or_user_error(configure, f"--{name}={value}")
        assert isinstance(found, TrainConfig | UserError)

    check()


@pytest.mark.parametrize(
    "kind",
    [
        "too many repetitions",
        "nested too deeply",
        "bad range",
        "the same group twice",
    ],
)
def test_a_pattern_that_python_cannot_compile(kind):
    assert isinstance(answer_or_user_error(configure, f"--freeze={PATTERNS[kind]}"), UserError)


@pytest.mark.parametrize("name", ["epochs", "warmup"])
def test_a_length_that_is_infinite_as_a_float(name):
    found = answer_or_user_error(configure, f"--{name}={'9' * 400}")
    assert isinstance(found, UserError) or config.in_steps(getattr(found, name), 10)


@pytest.mark.parametrize("text", ["a\nb", "a\x1b[31mb", "a\rb", "a\u2028b"])
def test_an_error_is_one_line_without_control_characters(text):
    status, message = run_command(main, "predict", f"--model={text}", "setup.py")
    assert status == 2
    assert message.rstrip("\n").isprintable()


@examples(150)
@given(name=st.sampled_from(["epochs", "warmup"]), value=TEXTS)
def test_any_length(name, value):
    found = answer_or_user_error(lambda: TrainConfig(**{name: value}))
    if isinstance(found, TrainConfig):
        assert config.in_steps(value, 10) >= 0

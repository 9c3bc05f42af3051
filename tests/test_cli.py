"""What every command shares."""

import dataclasses
import errno
import logging
import platform
import re

import pytest
from absl import flags

from recycle_tf import cli, quiet
from recycle_tf.config import TrainConfig
from recycle_tf.errors import UserError
from tests.conftest import run_python


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("`run_dir`: taken", "--run_dir: taken"),
        (
            "`weights=a b.h5`: no such file; give `recipe=scratch`",
            "--weights=a b.h5: no such file; give --recipe=scratch",
        ),
        ("run `npm pack litert` first", "run `npm pack litert` first"),
        ("plain", "plain"),
    ],
)
def test_parameters_become_flags(message, line):
    assert cli.as_flags(message) == line


@pytest.mark.parametrize(
    ("raised", "status", "line"),
    [
        (UserError("`epochs=0`: expected more"), 2, "error: --epochs=0: expected more"),
        (OSError(errno.ENOSPC, "No space left on device", "/disk/a\x1b"), 2, r"error: /disk/a\x1b: No space"),
        (KeyboardInterrupt("stopped"), 130, "stopped"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_exit_status(capsys, raised, status, line):
    @cli.command
    def main(argv):
        raise raised

    assert main([]) == status
    (printed,) = capsys.readouterr().err.splitlines()
    assert printed.startswith(line)


def test_defects_are_not_hidden():
    @cli.command
    def main(argv):
        raise ValueError("a defect")

    with pytest.raises(ValueError, match="a defect"):
        main([])


def test_programs_are_named_as_they_can_be_started(monkeypatch, tmp_path):
    assert (cli.program("train"), cli.program("export")) == ("python train.py", "python -m export")
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "recycle_tf" / "cli.py"))
    assert (cli.program("train"), cli.program("export")) == ("recycle-tf train", "recycle-tf export")


def test_a_renamed_flag_still_works(capsys):
    values = flags.FlagValues()
    cli.define_flags(TrainConfig, values)
    cli.parse(["--rates=stem=0.1", "--epochs=3"], values, "usage")
    assert values.lr_multipliers == "stem=0.1"
    assert cli.given(TrainConfig, values) == {"lr_multipliers": "stem=0.1", "epochs": "3"}
    (line,) = capsys.readouterr().err.splitlines()
    assert "--rates" in line
    assert "--lr_multipliers" in line


@pytest.mark.parametrize("argument", ["--epoch=3", "--batch_size=many"])
def test_mistakes_name_the_flag(argument):
    values = flags.FlagValues()
    cli.define_flags(TrainConfig, values)
    with pytest.raises(UserError, match=argument.partition("=")[0]):
        cli.parse([argument], values, "usage")


def test_help_shows_every_setting(capsys):
    values = flags.FlagValues()
    cli.define_flags(TrainConfig, values)
    with pytest.raises(SystemExit) as end:
        cli.parse(["--help"], values, "usage text")
    assert not end.value.code
    shown = capsys.readouterr().out
    assert shown.startswith("usage text")
    assert all(f"--{field.name}" in shown for field in dataclasses.fields(TrainConfig))


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="oneDNN is for other processors")
def test_convolutions_are_computed_by_onednn_on_every_processor():
    code = "import recycle_tf, tensorflow as tf; x = tf.ones([9, 9, 9, 9]); tf.nn.conv2d(x, x, 1, 'SAME')"
    result = run_python("-c", code, env={"ONEDNN_VERBOSE": "1"})
    assert result.returncode == 0, result.stderr
    assert re.search(r"onednn_verbose.*convolution", result.stdout)


def test_a_logger_reports_only_errors_for_a_while(caplog):
    logger = logging.getLogger("noisy")
    with quiet.only_errors("noisy"):
        logger.warning("hidden")
        logger.error("an error")
    logger.warning("shown")
    assert caplog.messages == ["an error", "shown"]


def test_float32_is_not_rounded_on_a_gpu():
    cli.import_tensorflow()
    import tensorflow as tf

    assert not tf.config.experimental.tensor_float_32_execution_enabled()

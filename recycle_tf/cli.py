"""What every command shares: flags, one-line errors, and a quiet TensorFlow."""

import dataclasses
import functools
import os
import pathlib
import re
import sys
import textwrap
import types
import typing

from absl import flags

from recycle_tf.errors import UserError, did_you_mean
from recycle_tf.paths import printable
from recycle_tf.quiet import hushed, import_tensorflow  # noqa: F401  (commands take them from here)

RENAMED_FLAGS = {"rates": "lr_multipliers"}
"""Flags that earlier versions had under another name."""


def command(main):
    """Makes `main(argv)` a program that returns its exit status, without a traceback for user errors.

    What `main` returns, or 0 for None; 2 after a `UserError` or an error of the file system (one line on
    standard error), 130 after Ctrl-C, 141 if nobody reads its output any more.
    """

    @functools.wraps(main)
    def program(argv=None):
        try:
            status = main(sys.argv[1:] if argv is None else argv) or 0
            if sys.stdout:
                sys.stdout.flush()
            return status
        except UserError as error:
            print(f"error: {printable(as_flags(str(error)))}", file=sys.stderr)
            return 2
        except BrokenPipeError:
            # What reads our output, for example `head`, has enough. Python would complain when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141  # 128 + SIGPIPE, which not every system has
        except OSError as error:
            if error.filename is None:
                raise
            print(f"error: {printable(error.filename)}: {error.strerror}", file=sys.stderr)
            return 2
        except KeyboardInterrupt as interrupt:
            print(*interrupt.args or ["interrupted"], file=sys.stderr)
            return 130

    return program


def program(name):
    """How a program is started: `python train.py` in a checkout, `recycle-tf train` where there is none.

    Args:
        name: train or export.
    """
    checkout = (pathlib.Path(__file__).parents[1] / "train.py").is_file()
    in_checkout = {"train": "python train.py", "export": "python -m export"}
    return in_checkout[name] if checkout else f"recycle-tf {name}"


def as_flags(message):
    """Writes the parameters of a message, which stand in backquotes, as flags: `--name` or `--name=value`."""
    return re.sub(r"`(\w+(=[^`]*)?)`", r"--\1", message)


def warn(message):
    """Prints a warning of the library on standard error, its parameters as flags."""
    print(f"warning: {as_flags(message)}", file=sys.stderr)


def parse(argv, flag_values, usage, may_be_empty=False):
    """Parses a command line; `--help` prints `usage` and the flags, and exits with status 0.

    Args:
        argv: the arguments, without the program's name.
        flag_values: `absl.flags.FlagValues` with the command's flags.
        usage: the command's docstring.
        may_be_empty: whether a flag may have an empty value; elsewhere, it is a variable that is not set.

    Returns:
        The positional arguments.

    Raises:
        UserError: an unknown flag, or an invalid or empty value.
    """
    flags.DEFINE_bool("help", False, "Show this help.", flag_values=flag_values)
    try:
        _, *rest = flag_values(["command", *_renamed(argv, flag_values)])
    except flags.UnrecognizedFlagError as error:
        raise UserError(
            f"--{error.flagname}: no such flag, {did_you_mean(error.flagname, list(flag_values))}"
        ) from None
    except flags.Error as error:
        raise UserError(str(error).splitlines()[0]) from None
    if flag_values.help:
        print(_help(usage, flag_values))
        sys.exit(0)
    if not may_be_empty:
        for name in flag_values:
            if flag_values[name].present and flag_values[name].value == "":
                raise UserError(f"--{name}: empty; give a value, or leave the flag out")
    return rest


def _renamed(argv, flag_values):
    """The arguments with the present names of flags that were renamed; says so for each."""
    for argument in argv:
        old, equals, value = argument.removeprefix("--").partition("=")
        new = RENAMED_FLAGS.get(old)
        if argument.startswith("--") and new in flag_values:
            print(f"--{old}: renamed, use --{new}; the old name works until version 0.2", file=sys.stderr)
            argument = f"--{new}{equals}{value}"
        yield argument


def no_positionals(positionals):
    """Raises if there are positional arguments.

    Raises:
        UserError: names the first one.
    """
    if positionals:
        raise UserError(f"{positionals[0]}: not a flag; write --name=value")


def define_flags(dataclass, flag_values, names=None):
    """Makes flags of the fields of a dataclass whose metadata hold a `help` text.

    Args:
        dataclass: such as `TrainConfig`.
        flag_values: where the flags are defined.
        names: of the fields; default: all.
    """
    define = {
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_string,
        bool: flags.DEFINE_bool,
    }
    hints = typing.get_type_hints(dataclass)
    for field in dataclasses.fields(dataclass):
        if names is not None and field.name not in names:
            continue
        hint = hints[field.name]
        kind = typing.get_args(hint)[0] if isinstance(hint, types.UnionType) else hint
        define[kind](field.name, field.default, field.metadata["help"], flag_values=flag_values)


def given(dataclass, flag_values):
    """`{name: value}` of the fields of a dataclass that were given as flags."""
    names = [field.name for field in dataclasses.fields(dataclass)]
    return {name: flag_values[name].value for name in names if flag_values[name].present}


def _help(usage, flag_values):
    lines = [textwrap.dedent(usage).strip(), "", "Flags:"]
    for name in flag_values:
        flag = flag_values[name]
        silent = flag.default is None or flag.default is False or flag.default == ""
        default = "" if silent else f" [{flag.default}]"
        lines.append(f"  --{name}{default}")
        lines += textwrap.wrap(flag.help, 92, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)

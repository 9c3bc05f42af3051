"""What every command shares: flags, one-line errors, and a quiet start of TensorFlow."""

import contextlib
import functools
import os
import re
import sys
import tempfile
import textwrap

from absl import flags

from recycle_tf.errors import UserError, did_you_mean


def command(main):
    """Makes `main(argv) -> None` a program that returns its exit status and shows no traceback for a mistake.

    0 when it went well, 2 after a `UserError` (one line on standard error), 130 after Ctrl-C.
    """

    @functools.wraps(main)
    def program(argv=None):
        try:
            main(sys.argv[1:] if argv is None else argv)
        except UserError as error:
            print(f"error: {as_flags(str(error))}", file=sys.stderr)
            return 2
        except KeyboardInterrupt as interrupt:
            print(*interrupt.args or ["interrupted"], file=sys.stderr)
            return 130
        return 0

    return program


def as_flags(message):
    """Writes the parameters of a message, which stand in backquotes, as flags: `--name` or `--name=value`."""
    return re.sub(r"`(\w+(=[^`]*)?)`", r"--\1", message)


def parse(argv, flag_values, usage):
    """Parses a command line; `--help` prints `usage` and the flags, and exits with status 0.

    Args:
        argv: the arguments, without the program's name.
        flag_values: `absl.flags.FlagValues` with the command's flags.
        usage: the command's docstring.

    Returns:
        The arguments that are no flags.

    Raises:
        UserError: an unknown flag or a value of the wrong kind.
    """
    flags.DEFINE_bool("help", False, "show this", flag_values=flag_values)
    try:
        _, *rest = flag_values(["command", *argv])
    except flags.UnrecognizedFlagError as error:
        raise UserError(
            f"--{error.flagname}: no such flag, {did_you_mean(error.flagname, list(flag_values))}"
        ) from None
    except flags.Error as error:
        raise UserError(str(error).splitlines()[0]) from None
    if flag_values.help:
        print(_help(usage, flag_values))
        sys.exit(0)
    return rest


def no_positionals(words):
    """Refuses what is no flag.

    Raises:
        UserError: names the first of `words`.
    """
    if words:
        raise UserError(f"{words[0]}: not a flag; write --name=value")


def _help(usage, flag_values):
    lines = [textwrap.dedent(usage).strip(), "", "Flags:"]
    for name in flag_values:
        flag = flag_values[name]
        silent = flag.default is None or flag.default is False or flag.default == ""
        default = "" if silent else f" [{flag.default}]"
        lines.append(f"  --{name}{default}")
        lines += textwrap.wrap(flag.help, 92, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)


@contextlib.contextmanager
def hushed(*descriptors):
    """Hides what libraries write to file descriptors (1, 2) from C++; shows it if an exception passes."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    kept = {descriptor: os.dup(descriptor) for descriptor in descriptors}
    with tempfile.TemporaryFile() as said:
        for descriptor in descriptors:
            os.dup2(said.fileno(), descriptor)
        try:
            yield
        except BaseException:
            said.seek(0)
            os.write(kept[descriptors[-1]], said.read())
            raise
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            for descriptor, copy in kept.items():
                os.dup2(copy, descriptor)
                os.close(copy)


def import_tensorflow():
    """Imports TensorFlow and Keras without their start-up messages; the first thing a command does."""
    # TensorFlow writes some lines before it reads its log level, hence both.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with hushed(2):
        import keras  # noqa: F401
        import tensorflow as tf
    tf.get_logger().setLevel("ERROR")
    return tf

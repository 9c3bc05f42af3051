"""`python -m recycle_tf COMMAND …`, installed as `recycle-tf COMMAND …`."""

import importlib
import importlib.metadata
import pkgutil
import sys

import recycle_tf
from recycle_tf import cli, commands
from recycle_tf.errors import UserError, did_you_mean

USAGE = """usage: recycle-tf COMMAND [--flags]

Commands: {}

`recycle-tf COMMAND --help` tells more of each; `recycle-tf --version` prints the version."""


@cli.command
def main(argv):
    """Hands the rest of the line to a command."""
    found = _commands()
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(USAGE.format(", ".join(sorted(found))))
        return
    if argv[0] == "--version":
        print(f"recycle-tf {recycle_tf.__version__}")
        return
    name, *rest = argv
    if name not in found:
        raise UserError(f"{name}: no such command, {did_you_mean(name, found)}")
    sys.exit(importlib.import_module(found[name]).main(rest))


def _commands():
    """`{command: module}`: those of this package, and those that installed packages enter."""
    own = {m.name: f"{commands.__name__}.{m.name}" for m in pkgutil.iter_modules(commands.__path__)}
    entered = importlib.metadata.entry_points(group="recycle_tf.commands")
    return own | {entry.name: entry.value for entry in entered}


if __name__ == "__main__":
    sys.exit(main())

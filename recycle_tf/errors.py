"""Errors that tell a user what to change."""

import difflib


class UserError(Exception):
    """A mistake that the user can correct. The message says what is wrong, where, and what would be right.

    A parameter is written in backquotes, alone or with its value: `` `run_dir` ``, `` `weights=lite.h5` ``.
    Nothing else in a message is. Commands print the message as one line on standard error, with parameters
    as flags (`--weights=lite.h5`), and exit with status 2, without a traceback.
    """


def did_you_mean(word, choices, most=3):
    """Ends an error message with the closest valid names, or with all of them if none is close.

    Args:
        word: what the user wrote.
        choices: the valid names.
        most: maximum number of close names to show.

    Returns:
        `"did you mean resnet50, resnet18?"` or `"choose from a, b, c"`.
    """
    choices = sorted(map(str, choices))
    near = difflib.get_close_matches(str(word), choices, n=most, cutoff=0.6)
    if near:
        return f"did you mean {', '.join(near)}?"
    return f"choose from {', '.join(choices)}"

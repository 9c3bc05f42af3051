"""What a user did that cannot work, said in one line."""

import difflib


class UserError(Exception):
    """A mistake the user can mend: the message says what is wrong, where, and what would be right.

    Commands print it on standard error as one line and exit with status 2, without a traceback.
    """


def did_you_mean(word, choices, most=3):
    """Ends an error message with the nearest of the valid names, or with all of them if none is near.

    Args:
        word: what the user wrote.
        choices: the valid names.
        most: how many near names to show.

    Returns:
        `"did you mean resnet50, resnet18?"` or `"choose from a, b, c"`.
    """
    choices = sorted(choices)
    near = difflib.get_close_matches(word, choices, n=most, cutoff=0.6)
    if near:
        return f"did you mean {', '.join(near)}?"
    return f"choose from {', '.join(choices)}"

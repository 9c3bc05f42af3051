"""Maps the class names of a dataset to other names, or leaves classes out: `--label_map=FILE`."""

import difflib
import re

import yaml

from recycle_tf import paths
from recycle_tf.errors import UserError, did_you_mean

LEFT_OUT = "-"
"""What a class that is left out is mapped to."""

_DASH = re.compile(r"(:[ \t]+)-[ \t]*(#.*)?$", re.MULTILINE)
"""A dash as a value, which YAML would take for the start of a list."""


class LabelMap:
    """A mapping of class names; names that it does not mention remain.

    Args:
        targets: `{class: other name, or LEFT_OUT}`.
        path: the file it comes from, for messages.
    """

    def __init__(self, targets=None, path=None):
        self.targets = targets or {}
        self.path = path
        self._met = set()

    def rows(self, rows):
        """Maps examples.

        Args:
            rows: `{example: (label, split)}`.

        Returns:
            The same with other labels, without examples of classes that are left out.
        """
        self._met |= {label for label, _ in rows.values()}
        mapped = {name: (self.targets.get(label, label), split) for name, (label, split) in rows.items()}
        return {name: row for name, row in mapped.items() if row[0] != LEFT_OUT}

    def require_known(self, labels, known, place, first):
        """Checks that a source has only classes that the first one has, or that the mapping introduces.

        Args:
            labels: names of the classes of a source, mapped.
            known: those of the first source.
            place: name of the source, for the message.
            first: name of the first source.

        Raises:
            UserError: names the first unknown class and the nearest known one.
        """
        known = [*known, *(target for target in self.targets.values() if target != LEFT_OUT)]
        for label in labels:
            if label not in known:
                near = difflib.get_close_matches(label, known, n=1, cutoff=0) or known
                raise UserError(
                    f"{place}: the class {label!r} is none of {first}'s ({', '.join(known)}), the nearest is "
                    f"{near[0]}; give a `label_map` with a line such as {label}: {near[0]}, or {label}: - to "
                    f"leave it out, or {label}: {label} to add the class"
                )

    def require_met(self):
        """Checks that every class of the mapping was in one of the sources.

        Raises:
            UserError: names the first that was not.
        """
        for label in self.targets:
            if label not in self._met:
                raise UserError(
                    f"`label_map={self.path}`: there is no class {label!r}, {did_you_mean(label, self._met)}"
                )


class _Loader(yaml.BaseLoader):
    """Reads texts only; a class that occurs twice is an error."""

    def construct_mapping(self, node, deep=False):
        """A dict of a YAML mapping."""
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"{key} occurs twice")
        return super().construct_mapping(node, deep)


def read(path):
    """Reads a mapping from a YAML file with one line `class: other name` or `class: -` per class.

    Args:
        path: of the file.

    Returns:
        A `LabelMap`.

    Raises:
        UserError: the file cannot be read or has something else in it.
    """
    place = f"`label_map={paths.printable(path)}`"
    try:
        text = paths.from_user(path, "label_map").read_text(encoding="utf-8-sig")
        # Every scalar is text: a class may be called `no` or `1`.
        content = yaml.load(_DASH.sub(r"\1'-'", text), Loader=_Loader)  # noqa: S506  (safe: texts only)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{place}: cannot be read ({getattr(error, 'strerror', 'not UTF-8')})") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{place}: not valid YAML: {' '.join(str(error).split())[:120]}") from error
    pairs = content.items() if isinstance(content, dict) else [(None, None)]
    if not all(isinstance(text, str) and text for pair in pairs for text in pair):
        raise UserError(
            f"{place}: expected lines such as Carton: cardboard, or Carton: - to leave a class out"
        )
    return LabelMap(content, path)

"""Korean names of the classes, for the app to show."""

import pathlib

from recycle_tf.errors import UserError

NAMES = {
    "glass": "유리",
    "paper": "종이",
    "cardboard": "골판지",
    "plastic": "플라스틱",
    "metal": "금속",
    "trash": "일반 쓰레기",
}
"""The classes of TrashNet and recyclables_synth, English to Korean."""


def translate(labels, file=None):
    """Korean names of classes, in their order.

    Args:
        labels: the classes.
        file: with one name a line, in the order of the classes; without one, the names are known or not.

    Returns:
        A list of names, or None if not all of them are known.

    Raises:
        UserError: the file cannot be read, or does not have as many names as there are classes.
    """
    if file is None:
        return [NAMES[label] for label in labels] if set(labels) <= set(NAMES) else None
    try:
        names = pathlib.Path(file).expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--labels_ko={file}: not a text file in UTF-8 that can be read") from error
    names = [name.strip() for name in names]
    if len(names) != len(labels) or not all(names):
        raise UserError(
            f"--labels_ko={file}: has {len([name for name in names if name])} names on {len(names)} lines, "
            f"expected one a line for each of {', '.join(labels)}"
        )
    return names

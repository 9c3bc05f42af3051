"""Translated class names, which an app can display."""

from recycle_tf.errors import UserError
from recycle_tf.paths import from_user

NAMES = {
    "ko": {
        "glass": "유리",
        "paper": "종이",
        "cardboard": "골판지",
        "plastic": "플라스틱",
        "metal": "금속",
        "trash": "일반 쓰레기",
    }
}
"""Locale -> English name -> name, for the classes of TrashNet and recyclables_synth."""


def locale_of(labels):
    """`"en"` if all labels are known English names, else None."""
    return "en" if any(set(labels) <= set(names) for names in NAMES.values()) else None


def translate(labels, files=None):
    """Translates class names.

    Args:
        labels: the class names.
        files: `{locale: path}` of UTF-8 files with one name per line, in the order of the classes. Locales
            without a file are included if the built-in names cover all classes.

    Returns:
        `{locale: [names]}`.

    Raises:
        UserError: a file cannot be read, or its number of names differs from the number of classes.
    """
    built_in = {
        locale: [names[label] for label in labels]
        for locale, names in NAMES.items()
        if set(labels) <= set(names)
    }
    given = {locale: _read(locale, file, labels) for locale, file in (files or {}).items()}
    return built_in | given


def _read(locale, file, labels):
    try:
        names = from_user(file, "translations").read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"`translations={locale}:{file}`: not a readable UTF-8 text file") from error
    names = [name.strip() for name in names]
    if len(names) != len(labels) or not all(names):
        raise UserError(
            f"`translations={locale}:{file}`: has {sum(map(bool, names))} names on {len(names)} lines, "
            f"expected one per line for each of {', '.join(labels)}"
        )
    return names

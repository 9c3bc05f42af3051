"""What a notebook shows: figures, without pyplot, whose state belongs to the user; tables and links."""

import html
import io
import pathlib
import sys
import urllib.parse

_waiting = []
"""Figures of the running cell that were not drawn yet."""


def show(figure):
    """Draws a figure in a notebook: as the value of its cell, or else at the end of the cell.

    Outside IPython nothing is drawn; `figure.savefig(path)` writes a file.

    Args:
        figure: a matplotlib `Figure`.

    Returns:
        The same figure.
    """
    # IPython asks the value of a cell for this method.
    figure._repr_png_ = lambda: _draw(figure)
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell:
        if not _waiting:
            shell.events.register("post_execute", _draw_waiting)
        _waiting.append(figure)
    return figure


def _draw(figure):
    """The PNG of a figure, which waits no longer."""
    _waiting[:] = [other for other in _waiting if other is not figure]
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _draw_waiting():
    from IPython import display, get_ipython

    get_ipython().events.unregister("post_execute", _draw_waiting)
    for figure in list(_waiting):
        display.display(display.Image(_draw(figure)))


def table(columns, rows, note=""):
    """A table as HTML; numbers stand to the right.

    Args:
        columns: names of the columns.
        rows: lists of cells, which are escaped.
        note: HTML below the table.
    """
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    note = f"<p>{note}</p>" if note else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"


def _cell(value):
    number = isinstance(value, int | float) and not isinstance(value, bool)
    text = f"{value:,}" if number and isinstance(value, int) else str(value)
    return f'<td style="text-align:{"right" if number else "left"}">{html.escape(text)}</td>'


def link(path):
    """A link to a file, as HTML; relative to the notebook where possible, because Jupyter opens only such."""
    path = path.resolve()
    here = pathlib.Path.cwd()
    inside = path.is_relative_to(here)
    address = urllib.parse.quote(path.relative_to(here).as_posix()) if inside else path.as_uri()
    return f'<a href="{html.escape(address)}">{html.escape(path.name)}</a>'

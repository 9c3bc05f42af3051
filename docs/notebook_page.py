"""Runs a notebook, and writes it with its results as a page of the site."""

import base64
import json
import pathlib
import re

from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output


def cells(path):
    """`(kind, text)` of each cell of a notebook: `markdown` or `code`."""
    notebook = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    return [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]


def run(cells):
    """Runs the code of a notebook in this process and in the current folder.

    Args:
        cells: as returned by `cells`.

    Returns:
        For each cell what it printed, and a list of what it displayed, its value last: `{MIME type: data}`.
        A cell of text has `""` and `[]`.

    Raises:
        Exception: what a cell raises.
    """
    shell = InteractiveShell.instance()
    shell.display_pub = CapturingDisplayPublisher(shell=shell)
    try:
        return [_run_cell(shell, text) if kind == "code" else ("", []) for kind, text in cells]
    finally:
        InteractiveShell.clear_instance()


def _run_cell(shell, text):
    shell.display_pub.outputs.clear()
    with capture_output(display=False) as captured:
        result = shell.run_cell(text)
    result.raise_error()
    shown = [output["data"] for output in shell.display_pub.outputs]
    if result.result is not None:
        shown.append(shell.display_formatter.format(result.result)[0])
    # IPython also prints the value of a cell.
    printed = re.sub(r"^Out\[\d+\]: .*", "", captured.stdout, flags=re.DOTALL | re.MULTILINE)
    return printed.strip(), shown


def as_markdown(path):
    """Runs a notebook; returns it with its results as Markdown."""
    parts = []
    sources = cells(path)
    for (kind, text), (printed, shown) in zip(sources, run(sources), strict=True):
        parts.append(text if kind == "markdown" else f"```python\n{text}\n```")
        if printed:
            parts.append(f"```text\n{printed}\n```")
        parts += map(_output, shown)
    return "\n\n".join(parts) + "\n"


def _output(data):
    if "image/png" in data:
        content = data["image/png"]
        content = content if isinstance(content, str) else base64.b64encode(content).decode()
        return f'<img alt="figure" src="data:image/png;base64,{content.strip()}">'
    return data.get("text/html") or f"```text\n{data['text/plain']}\n```"

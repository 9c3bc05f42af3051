"""MkDocs hook of `make docs`: files outside docs/, the tutorial with its results, and the table of settings.

The pages are written to be read in the repository too, so they link to README.md and to source files by
relative paths. Here those files become pages of the site, and the links are rewritten to them.
"""

import contextlib
import dataclasses
import functools
import os
import pathlib
import re
import tempfile

import notebook_page
from mkdocs.structure.files import File

from recycle_tf.config import TrainConfig

ROOT = pathlib.Path(__file__).resolve().parents[1]

PAGES = {
    "README.md": "index.md",
    "README.ko.md": "ko.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "docs/README.md": "documentation.md",
    "docs/tutorial.ipynb": "tutorial.md",
}
"""Paths in the repository of the pages that have another path in the site."""

SETTINGS = "<!-- settings -->"
"""Stands on a page where the table of the settings goes."""

LINK = re.compile(r"(?<=\]\()(?!\w+:)([^)#\s]+)")
"""Target of a relative Markdown link, without its anchor."""


def on_files(files, config):
    """Adds the pages of the repository's root and every source file that a page links to."""
    files.remove(files.get_file_from_path("README.md"))
    found = {_path(file): file for file in files.documentation_pages()}
    files.remove(files.get_file_from_path("tutorial.ipynb"))
    for path, page in PAGES.items():
        if path.endswith(".ipynb"):
            found[path] = File.generated(config, page, content=_executed(path))
        else:
            found[path] = File.generated(config, page, abs_src_path=str(ROOT / path))
        files.append(found[path])
    linked = {target for path, file in found.items() for target in _targets(path, file.content_string)}
    for path in sorted(linked - set(found)):
        if (ROOT / path).is_file() and not path.startswith("docs/"):
            files.append(File.generated(config, _page(path), content=_listing(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Rewrites relative links from paths in the repository to paths in the site."""
    path = _path(page.file)
    folder = os.path.dirname(page.file.src_uri)

    def rewritten(link):
        target = _resolve(path, link[0])
        return os.path.relpath(_page(target), folder or ".") if (ROOT / target).is_file() else link[0]

    markdown = LINK.sub(rewritten, markdown)
    return markdown.replace(SETTINGS, _settings()) if SETTINGS in markdown else markdown


def _path(file):
    """Path in the repository of a page."""
    of_page = {page: path for path, page in PAGES.items()}
    return of_page.get(file.src_uri, f"docs/{file.src_uri}")


def _page(path):
    """Path in the site of a file of the repository."""
    if path in PAGES or path.startswith("docs/"):
        return PAGES.get(path, path.removeprefix("docs/"))
    return f"source/{path}.md"


def _targets(path, markdown):
    return {_resolve(path, target) for target in LINK.findall(markdown)}


def _resolve(path, target):
    return os.path.normpath(os.path.join(os.path.dirname(path), target))


@functools.cache
def _executed(path):
    """A notebook with its results; `mkdocs serve` runs it once."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        return notebook_page.as_markdown(ROOT / path)


def _listing(path):
    """A source file as a page."""
    language = {".py": "python", ".json": "json", ".js": "javascript"}.get(pathlib.Path(path).suffix, "text")
    return f"# {path}\n\n````{language}\n{(ROOT / path).read_text(encoding='utf-8')}\n````\n"


def _settings():
    rows = ["| setting | default | meaning |", "| --- | --- | --- |"]
    for field in dataclasses.fields(TrainConfig):
        default = "" if field.default is None else field.default
        rows.append(f"| {field.name} | {default} | {field.metadata['help']} |")
    return "\n".join(rows)

"""The documentation agrees with the code: links, flags, names, commands and the tree of files."""

import ast
import re
import subprocess
import sys

import pytest

from recycle_tf.cli import RENAMED_FLAGS
from recycle_tf.config import TrainConfig
from recycle_tf.models import pretrained
from tests.conftest import ROOT

PAGES = sorted(path for place in (ROOT, ROOT / "docs", ROOT / "docs" / "api") for path in place.glob("*.md"))
COMMANDS = sorted(path.stem for path in (ROOT / "recycle_tf" / "commands").glob("[!_]*.py"))
OTHER_PROGRAMS = {
    "data": "curl",
    "editable": "pip",
    "host": "uvicorn",
    "logdir": "tensorboard",
    "rm": "docker",
    "xla_force_host_platform_device_count": "XLA",
}
"""Flags of programs that are not ours."""


def text(*place):
    return ROOT.joinpath(*place).read_text(encoding="utf-8")


def name(page):
    return page.relative_to(ROOT).as_posix()


every_page = pytest.mark.parametrize("page", PAGES, ids=name)


def test_the_lines_of_the_model_page_stand_in_the_code():
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "recycle_tf").rglob("*.py"))
    blocks = re.findall(r"```python\n(.*?)```", text("docs", "models.md"), re.DOTALL)
    assert len(blocks) == 8
    for block in blocks:
        assert block in code, block


@pytest.mark.parametrize("page", ["claims.md", "claims.ko.md"])
def test_the_lines_of_the_claims_stand_in_the_code(page):
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "recycle_tf").rglob("*.py"))
    blocks = re.findall(r"```python\n(.*?)```", text("docs", page), re.DOTALL)
    assert len(blocks) >= 6
    for block in blocks:
        assert block in code, block


def test_both_pages_of_the_claims_have_the_same_code_and_figures():
    pages = [text("docs", page) for page in ("claims.md", "claims.ko.md")]
    for pattern in (r"```\w+\n(.*?)```", r"!\[[^]]*\]\((.*?)\)", r"\d+\.\d+"):
        english, korean = (sorted(re.findall(pattern, page, re.DOTALL)) for page in pages)
        assert english == korean, pattern


def test_the_model_page_has_every_source():
    page = text("docs", "models.md")
    for arch, source in (pretrained.KERAS | pretrained.TORCH).items():
        if not re.fullmatch(r"efficientnet_b[1-6]", arch):
            assert f"`{arch}`" in page, arch
        if source.repository and not re.search(r"resnet(34|50|101)\.tv", source.repository):
            assert f"`{source.repository}`" in page, source.repository


# ---- links


@every_page
def test_relative_links_exist(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page)):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path) if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


def test_tests_that_are_named_exist():
    """After the link to a file stand names of tests in it."""
    found = 0
    for page in PAGES:
        for line in page.read_text(encoding="utf-8").splitlines():
            file = None
            for link, test in re.findall(r"\]\(\.\./(tests/[\w/]+\.py)\)|`(test_\w+)`", line):
                file = ROOT / link if link else file
                if test and file:
                    assert f"def {test}(" in file.read_text(encoding="utf-8"), f"{page.name}: {test}"
                    found += 1
    assert found > 30


def without_code(page):
    """A page without its code blocks, which may hold brackets."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page):
    """The anchors of a page's headings, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.+)$", without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_anchors(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One, two\n## `--three` and\n```\n# not a heading\n```\n")
    assert anchors(page) == {"one-two", "--three-and"}


def test_the_index_and_the_site_have_every_page():
    index, site = text("docs", "README.md"), text("mkdocs.yml")
    for page in (ROOT / "docs").glob("*.md"):
        if page.name != "README.md":
            assert f"]({page.name})" in index, page.name
            assert f": {page.name}" in site, page.name


# ---- flags


@pytest.fixture(scope="module")
def flags():
    """`{command: names of its flags}`, as `--help` prints them; of benchmarks, as their source has them."""
    lines = {
        "python train.py": ["train.py"],
        "python -m export": ["-m", "export"],
        "python -m export serve": ["-m", "export", "serve"],
        "python -m export benchmark": ["-m", "export", "benchmark"],
        **{f"python -m recycle_tf {command}": ["-m", "recycle_tf", command] for command in COMMANDS},
    }
    processes = {
        command: subprocess.Popen(
            [sys.executable, *line, "--help"], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for command, line in lines.items()
    }
    found = {
        command: set(re.findall(r"^  --(\w+)", process.communicate()[0], re.MULTILINE))
        for command, process in processes.items()
    }
    for path in (ROOT / "benchmarks").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        if "import experiment" in source:
            source += text("benchmarks", "claims", "experiment.py")
        place = path.relative_to(ROOT).as_posix()
        found[f"python {place}"] = set(re.findall(r"\"--(\w+)\"", source))
    return found


def test_help_lists_the_flags(flags):
    assert flags["python train.py"] == {*TrainConfig.__dataclass_fields__, "help"}
    assert {"run", "formats", "help"} <= flags["python -m export"]
    assert "run" in flags["python -m recycle_tf evaluate"]
    assert "manual_dir" in flags["python benchmarks/input_pipeline.py"]


@every_page
def test_flags_exist(page, flags):
    # --version is a flag of recycle-tf itself.
    known = set().union(*flags.values(), OTHER_PROGRAMS, RENAMED_FLAGS, {"version"})
    for flag in re.findall(r"(?<![\w-])--(\w+)", page.read_text(encoding="utf-8")):
        assert flag in known, f"--{flag}"


@every_page
def test_commands_have_their_flags(page, flags):
    for line in page.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        line = (
            line.strip().removeprefix("$ ").replace("recycle-tf ", "python -m recycle_tf ").partition(" #")[0]
        )
        command = max(
            (command for command in flags if f"{line} ".startswith(f"{command} ")), key=len, default=""
        )
        for flag in re.findall(r"--(\w+)", line) if command else ():
            assert flag in flags[command], line


# ---- names in the code


def test_the_tree_on_the_architecture_page_is_that_of_the_files():
    (tree,) = re.findall(
        r"^## Files\n\n```\n(.*?)```", text("docs", "architecture.md"), re.DOTALL | re.MULTILINE
    )
    found, folders = set(), []
    for line in tree.splitlines():
        entry = line.split()[0]
        folders = folders[: (len(line) - len(line.lstrip())) // 2]
        if entry.endswith("/"):
            folders.append(entry)
            assert (ROOT / "".join(folders)).is_dir(), line
        else:
            found.add("".join([*folders, entry]))
    there = {
        path.relative_to(ROOT).as_posix()
        for place in ("recycle_tf", "export")
        for path in (ROOT / place).rglob("*.py")
    }
    assert found == there | {"train.py"}


def test_functions_on_the_architecture_page_exist():
    links = re.findall(r"\[`(\w+)\.(?!py`)(\w+)`\]\(\.\./([\w/]+\.py)\)", text("docs", "architecture.md"))
    assert len(links) > 20
    for module, member, path in links:
        assert path.endswith(f"/{module}.py"), path
        assert member in members(path), f"{module}.{member}"


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "api").glob("*.md")), ids=name)
def test_names_of_the_api_reference_exist(page):
    names = re.findall(r"^::: ([\w.]+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert names
    for full_name in names:
        path = full_name.replace(".", "/") + ".py"
        if not (ROOT / path).is_file():
            module, _, member = full_name.rpartition(".")
            assert member in members(module.replace(".", "/") + ".py"), full_name


def members(path):
    """Names of the functions, classes and constants of a file."""
    found = set()
    for node in ast.parse(text(path)).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return found


def test_files_on_the_page_of_decisions_exist():
    paths = re.findall(r"`((?:\w+/)+\w+\.py)`", text("docs", "decisions.md"))
    assert len(paths) > 5
    for path in paths:
        assert (ROOT / path).exists() or (ROOT / "recycle_tf" / path).exists(), path


# ---- both languages, dependencies


def test_both_readmes_have_the_same_commands_and_links():
    english, korean = text("README.md"), text("README.ko.md")
    assert commands(english) == commands(korean)
    targets = [set(re.findall(r"\]\(([^)]+)\)", page)) for page in (english, korean)]
    korean_pages = {"docs/claims.md": "docs/claims.ko.md", "README.ko.md": "README.md"}
    assert {korean_pages.get(target, target) for target in targets[0]} == targets[1]


def commands(page):
    """What can be copied from a page, without comments."""
    blocks = re.findall(r"^```\w+\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    return [line.partition("#")[0].rstrip() for block in blocks for line in block.splitlines()]


def test_every_dependency_has_its_reason():
    tree = ast.parse(text("setup.py"))
    wanted = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword)
        and node.arg in ("install_requires", "extras_require")
        or isinstance(node, ast.Assign)
        and node.targets[0].id in ("MEDIAPIPE", "ONNX")
    ]
    listed = {node.value for part in wanted for node in ast.walk(part) if isinstance(node, ast.Constant)}
    packages = {re.split(r"[\[<>=!]", requirement)[0] for requirement in listed}
    assert {"tensorflow", "mediapipe", "tf2onnx", "mkdocs-material"} <= packages
    page = text("CONTRIBUTING.md")
    for package in packages:
        assert re.search(rf"^\|.*\b{re.escape(package)}\b.* \|", page, re.MULTILINE), package

"""What the pages say is so."""

import re

import pytest

from recycle_tf.config import TrainConfig
from recycle_tf.models import pretrained
from tests.conftest import ROOT

PAGES = sorted(path for place in (ROOT, ROOT / "docs") for path in place.glob("*.md"))


def test_the_lines_of_the_model_page_stand_in_the_code():
    code = "".join(path.read_text() for path in (ROOT / "recycle_tf").rglob("*.py"))
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "models.md").read_text(), re.DOTALL)
    assert len(blocks) == 8
    for block in blocks:
        assert block in code, block


def test_the_model_page_has_every_source():
    page = (ROOT / "docs" / "models.md").read_text()
    for arch, source in (pretrained.KERAS | pretrained.TORCH).items():
        if not re.fullmatch(r"efficientnet_b[1-6]", arch):
            assert f"`{arch}`" in page, arch
        if source.repository and not re.search(r"resnet(34|50|101)\.tv", source.repository):
            assert f"`{source.repository}`" in page, source.repository


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_exist(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_flags_of_train_exist(page):
    known = set(TrainConfig.__dataclass_fields__) | {"help"}
    for command in re.findall(r"^python train\.py (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        for flag in re.findall(r"--(\w+)", command):
            assert flag in known, command

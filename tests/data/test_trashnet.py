"""TrashNet itself, where there is a copy: `RECYCLE_TF_MANUAL_DIR` with `dataset-resized.zip`."""

import os
import pathlib
import zipfile

import pytest

from recycle_tf.data import audit, sources

ARCHIVE = pathlib.Path(os.environ.get("RECYCLE_TF_MANUAL_DIR", ""), "dataset-resized.zip")


@pytest.mark.slow
@pytest.mark.skipif(not ARCHIVE.is_file(), reason="RECYCLE_TF_MANUAL_DIR holds no dataset-resized.zip")
def test_the_three_files_under_two_labels_are_found(tmp_path):
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    root = next(tmp_path.rglob("glass")).parent
    found = audit.audit(sources.open_source(str(root), on_bad_image=sources.REPORT))
    assert {finding.files for finding in found.of("two_labels")} == {
        ("glass/glass115.jpg", "metal/metal91.jpg"),
        ("glass/glass176.jpg", "plastic/plastic152.jpg"),
        ("glass/glass389.jpg", "plastic/plastic332.jpg"),
    }

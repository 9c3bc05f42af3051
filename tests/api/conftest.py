"""A folder to work in: drawn photographs, others, new ones, and a run of a tiny network on them."""

import sys

import pytest

import recycle_tf as rt
from tests.conftest import ROOT

# As TensorFlow Datasets finds the builders.
sys.path.append(str(ROOT / "datasets"))
from recyclables_synth.drawing import LABELS, draw  # noqa: E402

TINY = {
    "arch": "test_resnet_a",
    "overrides": "blocks_per_stage=(1,)",
    "image_size": 32,
    "batch_size": 8,
    "warmup": 0,
    "augment": "none",
    "mix": "none",
}
"""Settings of a training run of seconds."""


@pytest.fixture(scope="session")
def studio(tmp_path_factory):
    """A folder with `photos`, `other_photos` and `new`."""
    place = tmp_path_factory.mktemp("studio")
    for label in LABELS:
        for seed in range(14):
            folder = place / ("photos" if seed < 12 else "other_photos") / label
            folder.mkdir(parents=True, exist_ok=True)
            draw(label, seed).save(folder / f"{label}{seed}.jpg")
    (place / "new").mkdir()
    for number, label in enumerate(LABELS, 1):
        draw(label, 100).save(place / "new" / f"{number}.jpg")
    return place


@pytest.fixture
def here(studio, monkeypatch):
    """The studio, as the current folder."""
    monkeypatch.chdir(studio)
    return studio


@pytest.fixture(scope="session")
def data(studio):
    """The photographs, opened."""
    return rt.open_dataset(studio / "photos")


@pytest.fixture(scope="session")
def run(studio, data):
    """A run on them, trained by the API."""
    return rt.train(data, **TINY, epochs=6, run_dir=studio / "runs" / "tiny")

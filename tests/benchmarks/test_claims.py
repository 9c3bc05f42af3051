"""The experiments on the papers' claims: what they compute, in a tiny form."""

import importlib
import io
import json
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from recycle_tf import create_model
from tests.conftest import ROOT, run_python, write_photos

CLAIMS = ROOT / "benchmarks" / "claims"

TRAIN = """
import json, sys
import training
from recycle_tf import create_model

images, labels = training.load_images(sys.argv[1], "train", 12)
data = (images, labels, *training.load_images(sys.argv[1], "test", 4))
make = lambda: create_model("test_resnet", 3, image_size=20, blocks_per_stage=(1,))
settings = {"epochs": 6, "batch_size": 9, "learning_rate": 0.05}
runs = [training.train(make, data, seed=seed, **settings)[1] for seed in (0, 0, 1)]
for run in runs:
    for row in run:
        del row["seconds"]
print(json.dumps(runs))
"""


@pytest.fixture
def pictures(tmp_path):
    """An archive as of CIFAR-10: three classes, 12 images for training and 4 for testing."""
    write_photos(tmp_path / "train", count=12)
    write_photos(tmp_path / "test", count=4, seed=1)
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        for path in sorted(tmp_path.rglob("*.png")):
            content = io.BytesIO()
            Image.open(path).resize((20, 20)).save(content, "PNG")
            archive.writestr(path.relative_to(tmp_path).as_posix(), content.getvalue())
    return tmp_path / "pictures.zip"


def test_training_learns_and_repeats(pictures):
    result = run_python("-c", TRAIN, pictures, env={"PYTHONPATH": f"{CLAIMS}:{ROOT}", "KERAS_BACKEND": "jax"})
    assert result.returncode == 0, result.stderr
    first, again, other = json.loads(result.stdout)
    assert first == again
    assert first != other
    assert first[-1]["loss"] < 0.7 * first[0]["loss"]
    assert first[-1]["train_error"] < 0.35
    assert [row["epoch"] for row in first] == [1, 2, 3, 4, 5, 6]


@pytest.fixture
def experiment(monkeypatch):
    monkeypatch.syspath_prepend(CLAIMS)
    import experiment

    yield experiment
    sys.modules.pop("experiment")


def test_a_part_is_computed_once(experiment, tmp_path):
    path, calls = tmp_path / "rows.jsonl", []

    def compute():
        calls.append(1)
        return {"error": 0.5}

    for _ in range(2):
        rows = experiment.Rows(path)
        assert rows.once(["resnet20", 3], compute) == {"error": 0.5}
        assert rows.once(["resnet20", 4], compute) == {"error": 0.5}
    assert len(calls) == 2


def test_a_table(experiment, capsys):
    experiment.table(["a", "b"], [[1, "x"]])
    assert capsys.readouterr().out.splitlines() == ["| a | b |", "| --- | --- |", "| 1 | x |"]


def test_images_of_an_archive(pictures, monkeypatch):
    code = (
        "import sys, training; images, labels = training.load_images(sys.argv[1], 'train', 5); "
        "print(images.shape, labels.tolist())"
    )
    result = run_python("-c", code, pictures, env={"PYTHONPATH": f"{CLAIMS}:{ROOT}", "KERAS_BACKEND": "jax"})
    assert result.stdout.strip() == f"(15, 20, 20, 3) {np.repeat([0, 1, 2], 5).tolist()}"


@pytest.mark.slow
def test_variants_are_trained_once_and_compared(photos, tmp_path):
    command = (
        "benchmarks/claims/variants.py",
        "--quick",
        "--group=class_balance",
        f"--dataset={photos}",
        "--arch=test_resnet_a",
        "--batch_size=8",
        f"--out={tmp_path / 'out'}",
    )
    first, again = (run_python(*command, env={"PYTHONPATH": str(ROOT)}) for _ in range(2))
    assert first.returncode == 0, first.stderr
    rows = [line for line in first.stdout.splitlines() if line.startswith("| ")]
    assert [row.split("|")[1].strip() for row in rows[2:]] == ["none", "weights", "sampler"]
    assert again.stdout.count("is complete") == 3
    assert [line for line in again.stdout.splitlines() if line.startswith("| ")] == rows
    assert (tmp_path / "out" / "variants_class_balance.png").stat().st_size > 5000


@pytest.fixture
def program(monkeypatch):
    """Imports a program of this folder, one that leaves Keras' backend alone."""
    monkeypatch.syspath_prepend(CLAIMS)
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(CLAIMS)):
            del sys.modules[name]


def test_the_formulas_count_what_the_layers_do(program):
    savings = program("savings")
    for part in savings.parts():
        _, counted = savings.build(part)
        assert counted == [part.plain_macs, part.lean_macs], part.name
        assert part.lean_macs < part.plain_macs


def test_the_control_has_no_norms(program):
    gradients = program("gradients")
    model = create_model("test_plain", 3)
    control = gradients.without_norms(model)
    kinds = [{type(layer).__name__ for layer in one.layers} for one in (model, control)]
    assert "BatchNormalization" in kinds[0] - kinds[1]
    kernels = [[v.shape for v in one.trainable_variables if len(v.shape) == 4] for one in (model, control)]
    assert kernels[0] == kernels[1]


def test_gates_lie_apart_where_classes_differ(program):
    gates = program("gates")
    assert gates.apart(np.array([[0.5, 0.5], [0.5, 0.5]])) == 0
    assert gates.apart(np.array([[0.0, 0.5], [1.0, 0.5]])) == 0.25


def test_dilation_is_that_of_the_offsets(program, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "datasets")
    sampling = program("sampling")
    model = create_model("test_deformable", 6, image_size=64, deformed_stages=(3,))
    shown = [sampling.laid(model, "glass", seed, 0.8, 30) for seed in (1, 2)]
    np.testing.assert_allclose(sampling.dilations(model, shown), 1, rtol=1e-4)

    (offsets,) = (layer for layer in model.layers if layer.name.endswith("_offset"))
    spread = 0.5 * np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1], indexing="ij"), axis=-1)
    offsets.bias.assign(spread.reshape(-1))
    np.testing.assert_allclose(sampling.dilations(model, shown), 1.5, rtol=1e-4)


def test_an_object_is_laid_smaller(program, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "datasets")
    sampling = program("sampling")
    model = create_model("test_deformable", 6, image_size=64)
    (_, whole), (image, half) = (sampling.laid(model, "metal", 1, scale, 0) for scale in (1, 0.5))
    assert 0.15 < half.sum() / whole.sum() < 0.4
    assert image.shape == (64, 64, 3)
    assert np.ptp(image[~half].astype(int), axis=0).max() < 60  # a floor of one color, but for the edge

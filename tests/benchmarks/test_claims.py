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


@pytest.fixture
def pictures(tmp_path):
    """An archive as of CIFAR-10: three classes, 20 images for training and 6 for testing."""
    write_photos(tmp_path / "train", count=20)
    write_photos(tmp_path / "test", count=6, seed=1)
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        for path in sorted(tmp_path.rglob("*.png")):
            content = io.BytesIO()
            Image.open(path).resize((32, 32)).save(content, "PNG")
            archive.writestr(path.relative_to(tmp_path).as_posix(), content.getvalue())
    return tmp_path / "pictures.zip"


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
    """Imports a program of this folder."""
    monkeypatch.syspath_prepend(CLAIMS)
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(CLAIMS)):
            del sys.modules[name]


def test_the_first_images_of_each_class_are_copied_once(program, pictures, tmp_path):
    training, folder = program("training"), tmp_path / "chosen"
    training.choose_images(pictures, 4, folder)
    counts = {split: len(list((folder / split).glob("*/*"))) for split in ("train", "test")}
    assert counts == {"train": 12, "test": 6}
    first = folder / "train" / "jar" / "jar0.png"
    first.unlink()
    training.choose_images(pictures, 4, folder)
    assert not first.exists()


def test_a_folder_of_another_kind_is_rejected(program, tmp_path):
    (tmp_path / "photos" / "glass").mkdir(parents=True)
    with pytest.raises(SystemExit, match="photos: no train/"):
        program("training").choose_images(tmp_path / "photos", 4, tmp_path / "chosen")


def test_the_batch_has_the_labels_of_its_folders(program, pictures, tmp_path):
    training, names = program("training"), ["jar", "can", "tube"]
    training.choose_images(pictures, 20, tmp_path / "chosen")
    images, labels = training.batch(tmp_path / "chosen", names, 60)
    # The brightest channel tells the class; see `write_photos`.
    colors = {"can": 0, "jar": 1, "tube": 2}
    assert images.mean(axis=(1, 2)).argmax(axis=1).tolist() == [colors[names[label]] for label in labels]
    np.testing.assert_array_equal(images, training.batch(tmp_path / "chosen", names, 60)[0])


@pytest.mark.slow
def test_degradation_measures_a_run(program, pictures, tmp_path, capfd):
    training, degradation = program("training"), program("degradation")
    training.choose_images(pictures, 20, tmp_path / "chosen")
    case = (tmp_path / "chosen", tmp_path / "out", "test_resnet_a", 2, 0)
    result, again = degradation.run(*case), degradation.run(*case)
    assert result == again
    assert "is complete" in capfd.readouterr().out
    assert len(result["history"]) == 2
    assert 0 <= result["test_error"] <= 1
    convolutions = sum(len(v.shape) == 4 for v in create_model("test_resnet_a", 3).trainable_variables)
    assert len(result["gradients"]) == convolutions
    assert min(result["responses"]) > 0

    degradation.report({"plain20": [result], "resnet20": [result, result]}, tmp_path)
    row = next(line for line in capfd.readouterr().out.splitlines() if line.startswith("| resnet20"))
    error = f"{100 * result['test_error']:.1f}"
    assert f"{error} ({error} to {error})" in row
    assert (tmp_path / "degradation.png").stat().st_size > 5000


@pytest.mark.slow
def test_the_textbooks_table_trains_for_a_time(tmp_path):
    photos = write_photos(tmp_path / "photos", count=20)
    command = (
        "benchmarks/claims/textbook.py",
        f"--dataset={photos}",
        "--archs=test_resnet,test_se",
        "--minutes=0.02",
        f"--out={tmp_path}",
    )
    first, again = (run_python(*command, env={"PYTHONPATH": str(ROOT)}) for _ in range(2))
    assert first.returncode == 0, first.stderr
    rows = [line for line in first.stdout.splitlines() if line.startswith("| ")]
    assert [row.split("|")[1].strip() for row in rows[2:]] == ["`test_resnet`", "`test_se`"]
    assert [line for line in again.stdout.splitlines() if line.startswith("| ")] == rows
    assert "Epoch" not in again.stdout
    kept = [json.loads(line) for line in (tmp_path / "textbook.jsonl").read_text("utf-8").splitlines()]
    (speed, images), result = (row["result"] for row in kept[:2])
    assert result["epochs"] == max(1, round(1.2 * speed / images))

    gates = run_python(
        "benchmarks/claims/gates.py", tmp_path / "textbook" / "photos" / "test_se_0.02_0", f"--out={tmp_path}"
    )
    assert gates.returncode == 0, gates.stderr
    assert "| stage1_block1_se |" in gates.stdout
    assert (tmp_path / "gates.png").stat().st_size > 5000


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

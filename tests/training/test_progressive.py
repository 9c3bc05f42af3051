"""A training that begins with small pictures."""

import numpy as np
import pytest

from recycle_tf import create_model, list_models, runs
from recycle_tf.config import TrainConfig
from recycle_tf.data import pipeline, sources
from recycle_tf.errors import UserError
from recycle_tf.models import registry
from tests.conftest import run_python, tiny_training, write_photos
from tests.test_train import check_refused


def test_each_size_comes_for_its_part_of_the_steps(photos):
    split = sources.open_source(photos).splits["train"]
    build = pipeline.training_batches(
        split, 3, 48, 8, augment="basic", mix="both", epochs=3, smaller=(32, 40)
    )
    whole = list(build(0).as_numpy_iterator())
    assert [images.shape[1] for images, _ in whole] == [32] * 3 + [40] * 3 + [48] * 3
    for step in (4, 6, 8):
        begun = build(step)
        assert begun.element_spec == build(0).element_spec
        for (images, labels), (expected, expected_labels) in zip(begun, whole[step:], strict=True):
            np.testing.assert_array_equal(images, expected)
            np.testing.assert_array_equal(labels, expected_labels)


@pytest.mark.parametrize("arch", list_models("test_*"))
def test_a_network_takes_any_size_or_says_what_keeps_it(arch):
    model = create_model(arch, 3)
    if any(name in arch for name in ("lenet", "alexnet", "vgg", "deformable")):
        with pytest.raises(
            UserError, match=f"--progressive: {arch} takes pictures of one size, as its layer "
        ):
            registry.training_model(model, 3, any_size=True)
        return
    opened, weights = registry.training_model(model, 3, any_size=True)
    assert weights == [1.0]
    assert [v.path for v in opened.variables] == [v.path for v in model.variables]
    rng = np.random.default_rng(0)
    own, larger = (
        rng.uniform(0, 255, (2, size, size, 3)).astype(np.float32)
        for size in (model.input_shape[1], model.input_shape[1] + 16)
    )
    np.testing.assert_allclose(opened(own), model(own), rtol=1e-5, atol=1e-5)
    assert np.isfinite(opened(larger)).all()
    assert not np.allclose(opened(larger), opened(own))


def test_a_training_grows_and_leaves_a_network_of_one_size(tmp_path):
    photos = write_photos(tmp_path / "photos", count=20)
    flags = [flag for flag in tiny_training(photos) if not flag.startswith(("--image_size", "--augment"))]
    run = runs.Run(tmp_path / "run")
    growing = ("--image_size=64", "--progressive=32,48", "--augment=basic", "--epochs=6")
    result = run_python("train.py", *flags, *growing, f"--run_dir={run.path}")
    assert result.returncode == 0, result.stderr
    assert run.load_model().input_shape == (None, 64, 64, 3)
    rows = run.history_rows()
    assert len(rows) == 6
    assert max(row["val_accuracy"] for row in rows) > 0.6


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--arch=test_lenet", "--progressive=32"], "--progressive: test_lenet takes pictures of one size"),
        (["--progressive=64", "--augment=basic"], "--progressive=64: not smaller than the 32 px at the end"),
        (["--progressive=32"], "--progressive: crops of other sizes come from an augmentation"),
    ],
)
def test_what_cannot_grow(photos, tmp_path, flags, message):
    run = tmp_path / "run"
    check_refused(run_python("train.py", *tiny_training(photos), *flags, f"--run_dir={run}"), message)
    assert not run.exists()


@pytest.mark.parametrize("sizes", ["128,96", "8", "a", "96,", "96.5"])
def test_sizes_that_mean_nothing(sizes):
    with pytest.raises(UserError, match=f"--progressive={sizes}: expected rising sizes, such as 96,128"):
        TrainConfig(progressive=sizes)


def test_no_recomputation_of_maps_that_grow():
    with pytest.raises(UserError, match="--progressive: --remat recomputes maps of one size"):
        TrainConfig(progressive="96", remat=True)

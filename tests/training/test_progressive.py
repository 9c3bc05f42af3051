"""Progressive training: small images first."""

import numpy as np
import pytest

import train
from recycle_tf import create_model, list_models
from recycle_tf.config import TrainConfig
from recycle_tf.data import pipeline, sources
from recycle_tf.errors import UserError
from recycle_tf.models import registry
from tests.conftest import check_refused, run_main, tiny_settings, tiny_training, write_photos


def test_each_size_has_its_part_of_the_steps(photos):
    split = sources.open_source(photos).splits["train"]
    build = pipeline.training_batches(
        split, 3, 48, 8, augment="basic", mix="both", epochs=3, smaller=(32, 40)
    )
    whole = list(build(0).as_numpy_iterator())
    assert [images.shape[1] for images, _ in whole] == [32] * 3 + [40] * 3 + [48] * 3
    for step in (4, 6, 8):
        resumed = build(step)
        assert resumed.element_spec == build(0).element_spec
        for (images, labels), (expected, expected_labels) in zip(resumed, whole[step:], strict=True):
            np.testing.assert_array_equal(images, expected)
            np.testing.assert_array_equal(labels, expected_labels)


@pytest.mark.parametrize("arch", list_models("test_*"))
def test_a_network_accepts_any_size_or_is_rejected(arch):
    model = create_model(arch, 3)
    if any(name in arch for name in ("lenet", "alexnet", "vgg", "deformable")):
        with pytest.raises(UserError) as caught:
            registry.training_model(model, 3, any_size=True)
        assert "progressive" in str(caught.value)
        assert arch in str(caught.value)
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


def test_training_with_growing_images_saves_a_network_of_one_size(tmp_path):
    settings = {
        **tiny_settings(write_photos(tmp_path / "photos", count=20)),
        "image_size": 64,
        "progressive": "32,48",
        "augment": "basic",
        "epochs": "6",
    }
    run = train.train(TrainConfig(**settings, run_dir=str(tmp_path / "run")))
    assert run.load_model().input_shape == (None, 64, 64, 3)
    rows = run.history_rows()
    assert len(rows) == 6
    assert max(row["val_accuracy"] for row in rows) > 0.6


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (["--arch=test_lenet", "--progressive=32"], ["--progressive", "test_lenet"]),
        (["--progressive=64", "--augment=basic"], ["--progressive=64", "32 px"]),
        (["--progressive=32"], ["--progressive", "--augment"]),
    ],
)
def test_impossible_combinations_are_rejected(photos, tmp_path, flags, names):
    run = tmp_path / "run"
    check_refused(run_main(train.main, *tiny_training(photos), *flags, f"--run_dir={run}"), *names)
    assert not run.exists()


@pytest.mark.parametrize("sizes", ["128,96", "8", "a", "96,", "96.5"])
def test_invalid_sizes_are_rejected(sizes):
    with pytest.raises(UserError, match=f"`progressive={sizes}`"):
        TrainConfig(progressive=sizes)


def test_no_recomputation_with_growing_images():
    with pytest.raises(UserError, match=r"`progressive`.*`remat`"):
        TrainConfig(progressive="96", remat=True)


def test_a_run_that_ends_within_an_epoch_ends_with_the_final_size(photos):
    split = sources.open_source(photos).splits["train"]
    build = pipeline.training_batches(split, 3, 48, 8, augment="basic", epochs=2, last_step=4, smaller=(40,))
    sizes = [images.shape[1] for images, _ in build(0).as_numpy_iterator()]
    assert sizes == [40] * 2 + [48] * 4

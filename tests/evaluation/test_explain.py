"""Explanations: of networks whose reasons are known, and of every family."""

import keras
import numpy as np
import pytest

from recycle_tf import create_model, list_models, runs
from recycle_tf.data import cache
from recycle_tf.evaluation import datasets, explain
from recycle_tf.layers import DeformableConv2D
from tests.conftest import write_photos


@pytest.fixture
def color_model():
    """Red speaks for the first class, blue for the second."""
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Identity(name="features")(keras.layers.AveragePooling2D(4)(inputs))
    x = keras.layers.Dense(2, name="logits")(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, x)
    model.get_layer("logits").set_weights([np.float32([[1, 0], [0, 0], [0, 1]]), np.zeros(2, np.float32)])
    return model


@pytest.fixture
def image():
    """Red above on the left, blue below on the right."""
    pixels = np.zeros((1, 32, 32, 3), np.uint8)
    pixels[0, :8, :8, 0] = 255
    pixels[0, 24:, 24:, 2] = 255
    return pixels


@pytest.mark.parametrize("frozen", [False, True])
def test_the_heat_is_where_the_reason_is(color_model, image, frozen):
    color_model.trainable = not frozen
    red, blue = (explain.grad_cam(color_model, image, np.array([c]))[0] for c in (0, 1))
    assert red[:8, :8].mean() > 0.85
    assert blue[24:, 24:].mean() > 0.85
    assert red[12:].max() == blue[:20].max() == 0
    assert red.shape == (32, 32)


def test_nothing_speaks_for_the_class(color_model):
    assert explain.grad_cam(color_model, np.zeros((1, 32, 32, 3), np.uint8), np.array([0])).max() == 0


@pytest.mark.parametrize("arch", list_models("test_*"))
def test_every_family_has_heat(arch):
    model = create_model(arch, 3)
    size = model.input_shape[1]
    images = np.random.default_rng(0).integers(0, 256, (2, *model.input_shape[1:]), np.uint8)
    heat = explain.grad_cam(model, images, np.array([0, 2]))
    assert heat.shape == (2, size, size)
    assert np.isfinite(heat).all()
    assert heat.min() >= 0
    assert set(heat.max(axis=(1, 2)).round(6)) <= {0.0, 1.0}
    assert explain.features(model, images).shape == (2, model.get_layer("features").output.shape[-1])


def test_nearest_by_direction():
    known = np.float32([[0, 1], [10, 1], [1, 1], [-1, 0]])
    assert explain.nearest(np.float32([[1, 0], [0, 2]]), known, 2).tolist() == [[1, 2], [0, 2]]


def test_sampling_points_start_as_a_regular_grid():
    (arch,) = list_models("test_deformable*")[:1]
    model = create_model(arch, 3, image_size=64)
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    points = explain.sampling_points(model, images)[0]
    rows, _, taps, _ = points.shape
    assert taps == 9
    layer = [layer for layer in model.layers if isinstance(layer, DeformableConv2D)][-1]
    side = layer.input[0].shape[1]
    # The tap in the middle is the position itself.
    expected = (layer.strides * np.arange(rows) + 0.5) / side
    np.testing.assert_allclose(points[:, 0, 4, 0], expected, atol=1e-6)
    np.testing.assert_allclose(points[0, :, 4, 1], expected, atol=1e-6)
    np.testing.assert_allclose(points[1, 1, :3, 0], expected[1] - 1 / side, atol=1e-6)
    assert explain.sampling_points(create_model("test_resnet", 3), images) is None


def test_gates_are_means_by_class():
    (arch,) = list_models("test_se*")[:1]
    model = create_model(arch, 3)
    size = model.input_shape[1]
    images = np.random.default_rng(0).integers(0, 256, (5, size, size, 3), np.uint8)
    found = explain.gates(model, images, np.array([0, 0, 2, 2, 2]), 3)
    block, gate = next(iter(found.items()))
    layer = model.get_layer(f"{block}_excite")
    expected = keras.Model(model.inputs, layer.input[1]).predict(images[2:], verbose=0).mean(axis=(0, 1, 2))
    np.testing.assert_allclose(gate[2], expected, rtol=1e-5)
    assert np.isnan(gate[1]).all()
    assert explain.gates(create_model("test_resnet", 3), images, np.zeros(5, int), 3) == {}


def test_a_figure_of_some_photographs(finished_run, tmp_path):
    run = runs.open_run(finished_run)
    photos = write_photos(tmp_path / "new", count=1)
    neighbors = datasets.open_source(run).splits["train"]
    figure = explain.explain(run, photos, neighbors, 2)
    assert len(figure.axes) == 3 * 5
    model = run.load_model()
    pixels = cache.decode_all(neighbors, 32, run.config["resize"])[:5]
    same = explain.nearest(explain.features(model, pixels), explain.features(model, pixels), 1)
    assert same[:, 0].tolist() == [0, 1, 2, 3, 4]

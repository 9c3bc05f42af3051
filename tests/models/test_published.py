"""Ours and keras.applications', with the same weights and the same picture, give the same logits."""

import keras
import numpy as np
import pytest

from recycle_tf import create_model
from recycle_tf.errors import UserError
from recycle_tf.models import published

QUICK = ("vgg16", "resnet50_v1", "densenet121", "efficientnet_b0")
SLOW = [arch for arch in published.SOURCES if arch not in QUICK]


def randomise(model, seed=0):
    """Random weights, statistics of the batch norms too, in a range that keeps the logits apart."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        values = []
        for value in layer.weights:
            kind, shape = value.name, value.shape
            if kind in ("moving_variance", "variance"):
                new = rng.uniform(0.5, 1.5, shape)
            elif kind == "gamma":
                new = rng.uniform(0.8, 1.2, shape)
            elif kind == "kernel":
                new = rng.normal(0, np.sqrt(2 / max(1, np.prod(shape[:-1]))), shape)
            else:
                new = rng.normal(0, 0.1, shape)
            values.append(new.astype(np.float32))
        if values and not isinstance(layer, keras.layers.Normalization):
            layer.set_weights(values)


def reference(arch, image_size, classes):
    builder = getattr(keras.applications, published.SOURCES[arch].builder)
    theirs = builder(
        weights=None, input_shape=(image_size, image_size, 3), classes=classes, classifier_activation=None
    )
    randomise(theirs)
    return theirs


def their_pixels(arch, pictures):
    """What their functions `preprocess_input` do, which EfficientNet keeps in its graph."""
    if arch.startswith("efficientnet"):
        # Without published weights theirs has no normalisation but the division by 255.
        mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
        return (pictures / 255 - mean) / std * 255
    mode = "torch" if arch.startswith("densenet") else "caffe"
    return keras.applications.imagenet_utils.preprocess_input(pictures.copy(), mode=mode)


def compare(arch):
    size = 64
    theirs = reference(arch, size, classes=7)
    ours = create_model(arch, 7, image_size=size)
    assert published.copy(ours, theirs, published.SOURCES[arch]) == []
    pictures = np.random.default_rng(1).uniform(0, 255, (2, size, size, 3)).astype(np.float32)
    expected, found = np.array(theirs(their_pixels(arch, pictures))), np.array(ours(pictures))
    assert np.std(expected) > 1e-3
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("arch", QUICK)
def test_same_logits(arch):
    compare(arch)


@pytest.mark.slow
@pytest.mark.parametrize("arch", SLOW)
def test_same_logits_of_the_other_rows(arch):
    compare(arch)


def test_another_head_stays_fresh():
    theirs = reference("resnet50_v1", 32, classes=9)
    assert published.copy(create_model("resnet50_v1", 4, 32), theirs, published.SOURCES["resnet50_v1"]) == [
        "logits"
    ]


def test_a_row_without_published_weights_lists_those_that_have_them():
    with pytest.raises(
        UserError, match="none are published for densenet264; there are some for vgg16, .*densenet121"
    ):
        create_model("densenet264", 6, weights="imagenet")


def test_no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise Exception("URL fetch failure on https://example.org: None -- unreachable")

    monkeypatch.setattr(keras.applications, "VGG16", refuse)
    with pytest.raises(UserError, match="VGG16 could not be downloaded; put its file into"):
        create_model("vgg16", 6, 32, weights="imagenet")

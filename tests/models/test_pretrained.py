"""Ours and keras.applications', with the same weights and the same picture, give the same logits."""

import h5py
import huggingface_hub
import keras
import numpy as np
import pytest
from huggingface_hub import errors

from recycle_tf import create_model
from recycle_tf.errors import UserError
from recycle_tf.models import pretrained, tensors
from tests.models import torch_reference
from tests.models.test_torch_weights import state_dict, write

QUICK = ("vgg16", "resnet50_v1", "densenet121", "efficientnet_b0")
SLOW = [arch for arch in pretrained.KERAS if arch not in QUICK]


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


def reference(arch, image_size, classes, **options):
    builder = getattr(keras.applications, pretrained.KERAS[arch].builder)
    theirs = builder(
        weights=None,
        input_shape=(image_size, image_size, 3),
        classes=classes,
        classifier_activation=None,
        **options,
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


def copy(ours, theirs):
    return pretrained.copy(ours, tensors.from_model(theirs), pretrained.KERAS[ours.name], "imagenet")


def compare(arch):
    size = 64
    theirs = reference(arch, size, classes=7)
    ours = create_model(arch, 7, image_size=size)
    assert copy(ours, theirs).fresh == {}
    assert_same_logits(ours, theirs, size)


def assert_same_logits(ours, theirs, size):
    arch = ours.name
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
    loaded = copy(create_model("resnet50_v1", 4, 32), reference("resnet50_v1", 32, classes=9))
    assert loaded.fresh == {"logits": "(2048, 9) there, (2048, 4) here"}
    assert (loaded.layers, loaded.skipped) == (106, ())


def test_an_h5_file(tmp_path, caplog):
    theirs = reference("efficientnet_b0", 64, classes=7)
    theirs.save(tmp_path / "theirs.h5")
    ours = create_model("efficientnet_b0", 7, 64, weights=tmp_path / "theirs.h5")
    assert_same_logits(ours, theirs, 64)
    assert "there are no such layers here: normalization" in caplog.text


def test_an_h5_file_without_a_head(tmp_path, caplog):
    theirs = reference("resnet50_v1", 32, classes=7, include_top=False)
    theirs.save(tmp_path / "theirs_notop.h5")
    ours = create_model("resnet50_v1", 7, 32, weights=tmp_path / "theirs_notop.h5")
    assert "106 layers loaded; logits left fresh (not there)" in caplog.text
    np.testing.assert_array_equal(
        ours.get_layer("stem_conv").kernel, theirs.get_layer("conv1_conv").kernel[:, :, ::-1]
    )


def test_an_h5_file_of_an_earlier_keras(tmp_path):
    theirs = reference("densenet121", 32, classes=7)
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        names = {layer.name: layer.name.replace("_conv", "/conv") for layer in tensors.with_weights(theirs)}
        names["predictions"] = "fc1000"
        file.attrs["layer_names"] = [name.encode() for name in names.values()]
        for today, then in names.items():
            weights = theirs.get_layer(today).weights
            group = file.create_group(then)
            group.attrs["weight_names"] = [f"{then}/{weight.name}:0".encode() for weight in weights]
            for weight in weights:
                group[f"{then}/{weight.name}:0"] = np.array(weight)
    ours = create_model("densenet121", 7, 32, weights=tmp_path / "theirs.h5")
    assert_same_logits(ours, theirs, 32)


def test_a_row_without_published_weights_lists_those_that_have_them():
    with pytest.raises(
        UserError, match="none are published for densenet264; there are some for vgg16, .*densenet161"
    ):
        create_model("densenet264", 6, weights="imagenet")


def test_no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise Exception("URL fetch failure on https://example.org: None -- unreachable")

    monkeypatch.setattr(keras.applications, "VGG16", refuse)
    with pytest.raises(UserError, match="VGG16 could not be downloaded; put its file into"):
        create_model("vgg16", 6, 32, weights="imagenet")


def test_from_the_hub(monkeypatch, tmp_path, caplog):
    path = write(tmp_path / "model.safetensors", state_dict("efficientnet_lite0"))
    asked = []
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *what: asked.append(what) or path)
    model = create_model("efficientnet_lite0", 6, 96, weights="imagenet")
    assert asked == [("timm/tf_efficientnet_lite0.in1k", "model.safetensors")]
    assert "weights imagenet: 98 layers loaded; logits left fresh ((1280, 1000) there, (1280, 6) here)" in (
        caplog.text
    )
    np.testing.assert_array_equal(
        model.get_layer("head_conv_norm").beta, torch_reference.tensor("bn2.bias", (1280,))
    )


@pytest.mark.parametrize(
    "error",
    [
        errors.LocalEntryNotFoundError("An error happened while trying to locate the file"),
        errors.OfflineModeIsEnabled("offline"),
        TimeoutError(),
    ],
)
def test_no_network_to_the_hub(monkeypatch, error):
    def refuse(*what):
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(
        UserError, match=r"model\.safetensors of timm/resnet18\.tv_in1k could not be downl.*FILE"
    ):
        create_model("resnet18", 6, 32, weights="imagenet")


@pytest.mark.parametrize("arch", ["googlenet_bn_3x3", "alexnet_one_tower"])
def test_pickles_only(arch):
    with pytest.raises(
        UserError, match=rf"{arch} is published as a pickle .*give --weights=FILE\.safetensors"
    ):
        create_model(arch, 6, weights="imagenet")


def test_every_source_of_a_row_is_one():
    from_hub = {arch for arch, source in pretrained.TORCH.items() if source.repository}
    assert not from_hub & set(pretrained.KERAS)
    assert all(source.builder for source in pretrained.KERAS.values())

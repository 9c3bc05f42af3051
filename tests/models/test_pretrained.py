"""Weights of keras.applications and of the hub: the same weights and image give the same logits."""

import importlib.util
import os
import pathlib

import h5py
import huggingface_hub
import keras
import numpy as np
import pytest
from huggingface_hub import errors
from matplotlib import cbook
from PIL import Image

from recycle_tf.errors import UserError
from recycle_tf.layers import IMAGENET_MEAN, IMAGENET_STD
from recycle_tf.models import create_model, pretrained, tensors
from tests.models import torch_reference
from tests.models.test_torch_weights import state_dict, write

QUICK = ("vgg16", "resnet50_v1", "densenet121", "efficientnet_b0")
SLOW = [arch for arch in pretrained.KERAS if arch not in QUICK]


def images(size, count=8):
    """Random images of different colors."""
    rng = np.random.default_rng(1)
    colors = rng.uniform(0, 255, (count, 1, 1, 3))
    return (colors * rng.uniform(0, 1, (count, size, size, 3))).astype(np.float32)


def preprocess(model, pixels):
    """What the functions `preprocess_input` of keras.applications do; EfficientNets contain it."""
    if model.name.startswith("efficientnet"):
        return pixels
    mode = "torch" if model.name.startswith("densenet") else "caffe"
    return keras.applications.imagenet_utils.preprocess_input(pixels.copy(), mode=mode)


def randomize(model, normalization=None, pixels=None):
    """Sets random weights, and the moving statistics of random images.

    Without these statistics, activations would vanish or grow from layer to layer, and the logits would
    hardly depend on the image.

    Args:
        model: a network of keras.applications.
        normalization: mean and variance of an EfficientNet's Normalization layer; default: random.
        pixels: input for the moving statistics; default: `images`.
    """
    rng = np.random.default_rng(0)
    random = {
        "gamma": lambda shape: rng.uniform(0.8, 1.2, shape),
        "kernel": lambda shape: rng.normal(0, np.sqrt(2 / max(1, np.prod(shape[:-1]))), shape),
        "variance": lambda shape: rng.uniform(0.5, 1.5, shape),
    }
    norms = []
    for layer in model.layers:
        default = random["kernel"] if "dwconv" in layer.name else lambda shape: rng.normal(0, 0.1, shape)
        values = [random.get(weight.name, default)(weight.shape) for weight in layer.weights]
        if isinstance(layer, keras.layers.Normalization):
            # Like `adapt`; `set_weights` would not take effect.
            mean, variance = normalization or values[:2]
            layer.load_own_variables({"0": np.float32(mean), "1": np.float32(variance), "2": np.int64(0)})
        elif isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
        elif values:
            layer.set_weights(values)
        if isinstance(layer, keras.layers.BatchNormalization):
            norms.append(layer)
            layer.momentum = 0.0
    model(preprocess(model, images(model.input_shape[1]) if pixels is None else pixels), training=True)
    for layer in norms:
        layer.momentum = 0.99


def reference(arch, image_size, classes, normalization=None, **options):
    """The network of keras.applications, with random weights."""
    builder = getattr(keras.applications, pretrained.KERAS[arch].builder)
    theirs = builder(
        weights=None,
        input_shape=(image_size, image_size, 3),
        classes=classes,
        classifier_activation=None,
        **options,
    )
    randomize(theirs, normalization)
    return theirs


def copy(ours, theirs):
    return pretrained.copy_from_keras(ours, *tensors.from_application(theirs), "imagenet")


def assert_same_logits(ours, theirs, size, tolerance=2e-4):
    pixels = images(size)
    expected, result = np.array(theirs(preprocess(theirs, pixels))), np.array(ours(pixels))
    assert np.abs(expected[0] - expected[1]).max() > 0.1 * np.abs(expected).max()
    assert np.abs(result - expected).max() <= tolerance * np.abs(expected).max()


def compare(arch, tolerance=2e-4):
    size = 64
    theirs = reference(arch, size, classes=7)
    ours = create_model(arch, 7, image_size=size)
    loaded = copy(ours, theirs)
    assert loaded.not_loaded == {}
    assert loaded.skipped == ()
    assert_same_logits(ours, theirs, size, tolerance)


@pytest.mark.parametrize("arch", QUICK)
def test_same_logits(arch):
    compare(arch)


@pytest.mark.slow
@pytest.mark.parametrize("arch", SLOW)
def test_same_logits_of_the_other_rows(arch):
    # A hundred layers with random weights amplify rounding errors.
    compare(arch, tolerance=2e-3)


def test_a_head_of_another_width_is_not_loaded():
    loaded = copy(create_model("resnet50_v1", 4, 32), reference("resnet50_v1", 32, classes=9))
    assert list(loaded.not_loaded) == ["logits"]
    assert "(2048, 9)" in loaded.not_loaded["logits"]
    assert "(2048, 4)" in loaded.not_loaded["logits"]
    assert (loaded.layers, loaded.skipped) == (106, ())


def weights_only(source, path):
    """Writes the weights of a model's .h5 file without its configuration, as the published files are."""
    with h5py.File(source) as whole, h5py.File(path, "w") as file:
        group = whole["model_weights"]
        for name, value in group.attrs.items():
            file.attrs[name] = value
        for name in group:
            group.copy(name, file)
    return path


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("mean", "variance"),
    [
        ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),  # Never adapted.
        ((0.3, 0.6, 0.5), (0.02, 0.4, 0.09)),
    ],
)
def test_an_h5_file_normalizes_with_its_own_statistics(tmp_path, caplog, whole, mean, variance):
    theirs = reference("efficientnet_b0", 64, classes=7, normalization=(mean, variance))
    path = tmp_path / "theirs.h5"
    theirs.save(path)
    if not whole:
        path = weights_only(path, tmp_path / "weights.h5")
    ours = create_model("efficientnet_b0", 7, 64, weights=path)
    assert_same_logits(ours, theirs, 64, tolerance=1e-4)
    assert "skipped" not in caplog.text


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A stand-in for the published file of EfficientNetB0, which keras.applications then "downloads".

    Its Normalization has ImageNet's standard deviation for its variance; the network that keras.applications
    builds for it has a second Rescaling.
    """
    theirs = keras.applications.EfficientNetB0(weights=None)
    mean, std = np.float32(IMAGENET_MEAN) / 255, np.float32(IMAGENET_STD) / 255
    # As large as the second Rescaling will make the input.
    pixels = 255 * (mean + (images(224) / 255 - mean) / np.sqrt(std))
    randomize(theirs, (mean, std), pixels)
    theirs.save(tmp_path / "whole.h5")
    path = weights_only(tmp_path / "whole.h5", tmp_path / "efficientnetb0.h5")
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *args, **kwargs: path)
    return path


def test_the_published_normalization_of_an_efficientnet(published, tmp_path):
    theirs = keras.applications.EfficientNetB0(weights="imagenet", classifier_activation=None)
    assert sum(isinstance(layer, keras.layers.Rescaling) for layer in theirs.layers) == 2
    theirs.save(tmp_path / "theirs.h5")
    for weights in ("imagenet", published, tmp_path / "theirs.h5"):
        ours = create_model("efficientnet_b0", 1000, weights=weights)
        np.testing.assert_allclose(ours.get_layer("preprocess").scale, 1 / np.array(IMAGENET_STD), rtol=1e-5)
        assert_same_logits(ours, theirs, 224)


def test_the_published_normalization_in_a_network_without_the_second_rescaling(published, tmp_path):
    """Built with `weights=FILE`, the network of keras.applications has one Rescaling, and was trained so."""
    theirs = keras.applications.EfficientNetB0(weights=str(published), classifier_activation=None)
    theirs.save(tmp_path / "theirs.h5")
    assert_same_logits(create_model("efficientnet_b0", 1000, weights=tmp_path / "theirs.h5"), theirs, 224)


def test_an_efficientnet_without_its_normalization(tmp_path):
    theirs = reference("efficientnet_b0", 32, classes=7)
    theirs.save(tmp_path / "theirs.h5")
    with h5py.File(tmp_path / "theirs.h5", "r+") as file:
        group = file["model_weights"]
        names = [name for name in group.attrs["layer_names"] if not name.startswith("normalization")]
        group.attrs["layer_names"] = names
    with pytest.raises(UserError, match=r"`weights=.*theirs\.h5`: .*Normalization"):
        create_model("efficientnet_b0", 7, 32, weights=tmp_path / "theirs.h5")


def test_an_h5_file_without_a_head(tmp_path, caplog):
    theirs = reference("resnet50_v1", 32, classes=7, include_top=False)
    theirs.save(tmp_path / "theirs_notop.h5")
    ours = create_model("resnet50_v1", 7, 32, weights=tmp_path / "theirs_notop.h5")
    assert "106 layers loaded; logits not loaded" in caplog.text
    np.testing.assert_array_equal(
        ours.get_layer("stem_conv").kernel, theirs.get_layer("conv1_conv").kernel[:, :, ::-1]
    )


def test_an_h5_file_of_an_earlier_keras(tmp_path):
    theirs = reference("densenet121", 32, classes=7)
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        layers = tensors.layers_with_weights(theirs)
        names = {layer.name: layer.name.replace("_conv", "/conv") for layer in layers}
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


def test_an_architecture_without_published_weights_lists_those_that_have_them():
    with pytest.raises(UserError, match=r"`weights=imagenet`: .*densenet264, .*vgg16, .*densenet161"):
        create_model("densenet264", 6, weights="imagenet")


@pytest.mark.parametrize(
    "error",
    [
        Exception("URL fetch failure on https://example.org: None -- unreachable"),
        ConnectionResetError(104, "Connection reset by peer"),
    ],
)
def test_no_network(monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(keras.applications, "VGG16", fail)
    with pytest.raises(UserError, match=r"`weights=imagenet`: VGG16 .*~/\.keras/models"):
        create_model("vgg16", 6, 32, weights="imagenet")


def test_weights_from_the_hub(monkeypatch, tmp_path, caplog):
    path = write(tmp_path / "model.safetensors", state_dict("efficientnet_lite0"))
    downloads = []
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *args: downloads.append(args) or path)
    model = create_model("efficientnet_lite0", 6, 96, weights="imagenet")
    assert downloads == [("timm/tf_efficientnet_lite0.in1k", "model.safetensors")]
    assert "weights imagenet: 98 layers loaded; logits not loaded" in caplog.text
    assert "(1280, 1000)" in caplog.text
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
    def fail(*args):
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(UserError, match=r"model\.safetensors of timm/resnet18\.tv_in1k .*`weights=FILE"):
        create_model("resnet18", 6, 32, weights="imagenet")


@pytest.mark.parametrize("arch", ["googlenet_bn_3x3", "alexnet_one_tower"])
def test_weights_published_only_as_a_pickle(arch):
    with pytest.raises(
        UserError, match=rf"`weights=imagenet`: .*{arch} .*pickle.*`weights=FILE\.safetensors`"
    ):
        create_model(arch, 6, weights="imagenet")


def test_every_architecture_has_one_source():
    from_hub = {arch for arch, source in pretrained.TORCH.items() if source.repository}
    assert not from_hub & set(pretrained.KERAS)
    assert all(source.builder for source in pretrained.KERAS.values())


def photographs():
    """Photographs that other packages contain, with their ImageNet class."""
    hopper = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    yield hopper, 652  # military uniform
    if spec := importlib.util.find_spec("skimage"):
        data = pathlib.Path(spec.origin).parent / "data"
        yield data / "chelsea.png", 285  # Egyptian cat
        yield data / "coffee.png", 967  # espresso
        yield data / "camera.png", 872  # tripod


@pytest.mark.slow
@pytest.mark.skipif("RECYCLE_TF_WEIGHTS" not in os.environ, reason="RECYCLE_TF_WEIGHTS is not set")
@pytest.mark.parametrize(
    ("arch", "size"), [("efficientnet_lite0", 224), ("efficientnet_lite1", 240), ("efficientnet_lite2", 260)]
)
def test_published_weights_recognize_photographs(arch, size):
    """With files `ARCH.safetensors` in the folder `RECYCLE_TF_WEIGHTS`."""
    file = pathlib.Path(os.environ["RECYCLE_TF_WEIGHTS"]) / f"{arch}.safetensors"
    model = create_model(arch, 1000, weights=file)
    assert model.input_shape[1] == size
    for path, expected in photographs():
        image = Image.open(path).convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
        logits = np.array(model(np.asarray(image, np.float32)[None]))[0]
        assert logits.argmax() == expected, path

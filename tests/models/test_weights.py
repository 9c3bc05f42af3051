"""Loading weights from files that this package wrote, and from files it cannot load."""

import json
import zipfile
import zlib

import h5py
import keras
import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

from recycle_tf import runs
from recycle_tf.errors import UserError
from recycle_tf.models import create_model, weights

IMAGE = np.full((1, 32, 32, 3), 99.0, np.float32)


def save(model, path):
    """Saves a whole model or its weights, depending on the extension."""
    model.save_weights(path) if path.name.endswith(".weights.h5") else model.save(path)


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_saved_weights_give_the_same_logits(tmp_path, name):
    model = create_model("test_densenet", 4)
    save(model, tmp_path / name)
    loaded = create_model("test_densenet", 4, weights=tmp_path / name)
    np.testing.assert_array_equal(loaded(IMAGE), model(IMAGE))


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_a_head_of_another_width_is_not_loaded(tmp_path, caplog, name):
    model = create_model("test_densenet", 4)
    save(model, tmp_path / name)
    loaded = create_model("test_densenet", 7, weights=tmp_path / name)
    assert loaded.output.shape == (None, 7)
    assert "41 layers loaded; logits not loaded" in caplog.text
    assert "(16, 4)" in caplog.text
    assert "(16, 7)" in caplog.text
    np.testing.assert_array_equal(loaded.get_layer("stem_conv").kernel, model.get_layer("stem_conv").kernel)


def test_the_normalization_is_loaded_with_the_weights(tmp_path):
    model = create_model("test_resnet", 4)
    model.get_layer("preprocess").scale = [0.5, 0.5, 0.5]
    model.save(tmp_path / "m.keras")
    loaded = create_model("test_resnet", 4, weights=tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded(IMAGE), model(IMAGE))


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("gone.keras", None, "no such file"),
        ("photo.jpg", b"\xff\xd8", ".keras, .weights.h5, .h5 or .safetensors"),
        ("theirs.pth", b"\x80\x02", "pickle"),
        ("broken.keras", b"not a zip", "cannot be read"),
        ("broken.weights.h5", b"not hdf5", "cannot be read"),
    ],
)
def test_files_that_cannot_be_loaded(tmp_path, name, content, named):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        create_model("test_densenet", 4, weights=path)
    assert str(caught.value).startswith(f"`weights={path}`: ")
    assert named in str(caught.value)


def test_another_architecture_names_the_first_layer(tmp_path):
    save(create_model("test_resnet", 4), tmp_path / "m.weights.h5")
    with pytest.raises(UserError, match="stem_conv has shapes .* stem_conv of test_vgg"):
        create_model("test_vgg", 4, weights=tmp_path / "m.weights.h5")


def test_another_architecture_with_the_same_shapes(tmp_path):
    """ResNet-50 in its two versions differs only in the place of a stride."""
    shallow = {"filters": 4, "blocks_per_stage": (1, 1)}
    create_model("resnet50", 4, 32, **shallow).save(tmp_path / "m.keras")
    with pytest.raises(UserError, match="resnet50, not resnet50_v1"):
        create_model("resnet50_v1", 4, 32, weights=tmp_path / "m.keras", **shallow)


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_a_deeper_network(tmp_path, name):
    save(create_model("test_resnet", 4, blocks_per_stage=(1, 2, 1, 1)), tmp_path / name)
    with pytest.raises(UserError, match=r"test_resnet .*stage2_block2_conv\w+.* depth"):
        create_model("test_resnet", 4, weights=tmp_path / name)


@pytest.mark.parametrize("keep", [4, 3000, -100])
@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5", "m.h5"])
def test_a_truncated_file(tmp_path, name, keep):
    arch = "resnet50_v1" if name == "m.h5" else "test_resnet"
    path = tmp_path / name
    save(create_model("test_resnet", 4), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=f"`weights={path}`: [^\n]+$"):
        create_model(arch, 4, 32, weights=path)


def test_an_h5_file_of_another_layout_or_for_another_architecture(tmp_path):
    create_model("test_resnet", 4).save_weights(tmp_path / "m.weights.h5")
    path = (tmp_path / "m.weights.h5").rename(tmp_path / "m.h5")
    with pytest.raises(UserError, match="cannot be read"):
        create_model("vgg16", 4, 32, weights=path)
    with pytest.raises(UserError, match=r"keras\.applications .*vgg16, .*resnet18"):
        create_model("resnet18", 4, 32, weights=path)


@pytest.fixture(scope="module")
def model():
    return create_model("test_resnet", 4, 32, filters=4)


def check_named(function, *arguments, path):
    """Checks that a function ends with a `UserError` of one line about a file."""
    with pytest.raises(UserError) as caught:
        function(*arguments)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.InvalidArgumentError(None, None, "shape"),
        RuntimeError("encrypted"),
        zlib.error("invalid block"),
        NotImplementedError("compression"),
        MemoryError(),
        AssertionError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_keras_raises_is_the_fault_of_the_file(tmp_path, monkeypatch, model, error):
    """The same rule for `--weights` and for the model of a run."""

    def load_model(*_, **__):
        raise error

    (tmp_path / "model.keras").write_bytes(b"")
    monkeypatch.setattr(keras.saving, "load_model", load_model)
    path = tmp_path / "model.keras"
    check_named(weights.load, model, path, path=path)
    check_named(runs.Run(tmp_path).load_model, path=path)


def change_member(path, name, change):
    """Changes the bytes of one file in a zip archive, and moves it to the front."""
    with zipfile.ZipFile(path) as old:
        members = {info.filename: old.read(info) for info in old.infolist()}
    changed = change(members[name])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for member, content in ({name: changed} | members | {name: changed}).items():
            new.writestr(member, content)


def change_first_header(path, offset, value):
    """Overwrites a byte in both headers of the first file in a zip archive."""
    change_member(path, "config.json", bytes)
    content = bytearray(path.read_bytes())
    # The header in the central directory has two bytes more before the same fields.
    content[offset] = content[content.index(b"PK\x01\x02") + offset + 2] = value
    path.write_bytes(content)


def encrypted(path):
    change_first_header(path, 6, 1)


def unknown_compression(path):
    change_first_header(path, 8, 99)


def broken_deflate(path):
    change_member(path, "config.json", bytes)
    content = bytearray(path.read_bytes())
    start = 30 + len("config.json")
    content[start : start + 8] = b"\xff" * 8
    path.write_bytes(content)


def without_weights(path):
    change_member(path, "model.weights.h5", lambda _: b"")


def without_preprocess(path):
    change_member(path, "config.json", lambda text: text.replace(b'"preprocess"', b'"prepare"'))


def without_logits(path):
    change_member(path, "config.json", lambda text: text.replace(b'"logits"', b'"scores"'))


def a_foreign_class(path):
    change_member(path, "config.json", lambda text: text.replace(b'"Dense"', b'"Foreign"'))


def a_wrong_scale(path):
    def change(text):
        config = json.loads(text)
        (layer,) = [each for each in config["config"]["layers"] if each["name"] == "preprocess"]
        layer["config"]["scale"] = "large"
        return json.dumps(config)

    change_member(path, "config.json", change)


@pytest.mark.parametrize(
    "damage",
    [
        encrypted,
        broken_deflate,
        unknown_compression,
        without_weights,
        without_preprocess,
        without_logits,
        a_foreign_class,
        a_wrong_scale,
    ],
    ids=lambda damage: damage.__name__,
)
def test_a_damaged_keras_file(tmp_path, model, damage):
    path = tmp_path / "model.keras"
    model.save(path)
    damage(path)
    check_named(weights.load, model, path, path=path)
    check_named(runs.Run(tmp_path).load_model, path=path)


def test_weights_that_are_text(tmp_path, model):
    path = tmp_path / "m.weights.h5"
    model.save_weights(path)
    with h5py.File(path, "a") as file:
        layer = next(group["vars"] for group in file["layers"].values() if len(group["vars"]))
        shape = layer["0"].shape
        del layer["0"]
        layer["0"] = np.full(shape, b"text")
    check_named(weights.load, model, path, path=path)


def test_a_bias_of_another_shape(tmp_path):
    """It is added to the mean of the batch normalization behind it."""
    tensors = {"conv1.weight": np.zeros((64, 3, 7, 7), np.float32), "conv1.bias": np.zeros(7, np.float32)}
    tensors |= {
        f"bn1.{leaf}": np.ones(64, np.float32) for leaf in ("weight", "bias", "running_mean", "running_var")
    }
    path = tmp_path / "m.safetensors"
    path.write_bytes(safetensors.numpy.save(tensors))
    check_named(weights.load, create_model("resnet18", 4, 32), path, path=path)

"""Damaged weights: a model, or one line that names the file. Nothing in a file is executed."""

import functools
import io
import json
import struct
import zipfile

import h5py
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from recycle_tf import create_model
from recycle_tf.errors import UserError
from recycle_tf.models import tensors, weights
from tests.fuzz.mutations import (
    DEEP,
    answer_or_user_error,
    damaged,
    damaged_json,
    examples,
)

CLASSES = 3


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The bytes of a model and of its weights."""
    folder = tmp_path_factory.mktemp("weights")
    model = create_model("test_resnet", CLASSES, 32, filters=4)
    model.save(folder / "model.keras")
    model.save_weights(folder / "model.weights.h5")
    return {path.name.partition(".")[2]: path.read_bytes() for path in folder.iterdir()}


@functools.cache
def network(suffix):
    """A model that files of this kind can be loaded into; building one takes longer than damaging a file."""
    arch = {"h5": "efficientnet_b0", "safetensors": "resnet18"}.get(suffix)
    return create_model(arch, CLASSES, 32) if arch else create_model("test_resnet", CLASSES, 32, filters=4)


def load(path):
    """What was loaded from a file, or the `UserError`, which names the file."""
    found = answer_or_user_error(weights.load, network(path.name.partition(".")[2]), path)
    assert not isinstance(found, UserError) or path.name in str(found), found
    return found


def zipped(content, **replaced):
    """A `.keras` file in which some members have another content."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            new.writestr(name, replaced.get(name, old.read(name)))
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", ["keras", "weights.h5"])
def test_damaged_bytes(saved, tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"

    @examples(4)
    @given(content=damaged(saved[suffix]))
    def check(content):
        path.write_bytes(content)
        load(path)

    check()


def keras_config(saved):
    with zipfile.ZipFile(io.BytesIO(saved["keras"])) as file:
        return json.loads(file.read("config.json"))


def test_a_keras_file_of_another_structure(saved, tmp_path):
    path = tmp_path / "x.keras"

    @examples(6)
    @given(text=damaged_json(keras_config(saved)))
    def check(text):
        content = text.encode("utf-8", "surrogatepass")
        path.write_bytes(zipped(saved["keras"], **{"config.json": content}))
        load(path)

    check()


def rename(saved, name, new):
    text = json.dumps(keras_config(saved)).replace(f'"{name}"', f'"{new}"')
    return zipped(saved["keras"], **{"config.json": text.encode()})


def test_a_keras_file_whose_preprocess_layer_has_another_name(saved, tmp_path):
    path = tmp_path / "x.keras"
    path.write_bytes(rename(saved, "preprocess", "prepare"))
    assert isinstance(load(path), UserError)


def test_a_keras_file_of_another_class_of_model(saved, tmp_path):
    path = tmp_path / "x.keras"
    config = json.dumps({"module": "builtins", "class_name": "dict", "config": {}})
    path.write_bytes(zipped(saved["keras"], **{"config.json": config.encode()}))
    assert isinstance(load(path), UserError)


def test_a_keras_file_with_json_that_is_nested_too_deeply(saved, tmp_path):
    path = tmp_path / "x.keras"
    path.write_bytes(zipped(saved["keras"], **{"config.json": DEEP.encode()}))
    assert isinstance(load(path), UserError)


def safetensors_bytes(tensors, metadata=None):
    """A `.safetensors` file: `tensors` are `{name: (dtype's name, shape, bytes)}`."""
    header, data = {}, b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    if metadata:
        header["__metadata__"] = metadata
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    "dtype",
    [
        "F8_E4M3",
        "F8_E5M2",
        "F8_E8M0",
        "F4",
        "BOOL",
        "U16",
        "C64",
        "X9",
    ],
)
def test_a_safetensors_file_of_an_unusual_type(tmp_path, dtype):
    path = tmp_path / "x.safetensors"
    size = {"U16": 2, "C64": 8}.get(dtype, 1)
    shape = [64, 3, 7, 7]
    count = int(np.prod(shape)) * size // (2 if dtype == "F4" else 1)
    path.write_bytes(safetensors_bytes({"conv1.weight": (dtype, shape, bytes(count))}))
    assert isinstance(load(path), UserError)


def test_complex_weights_are_not_made_real(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors_bytes({"fc.bias": ("C64", [6], bytes(6 * 8))}))
    with pytest.raises(TypeError, match="complex64"):
        tensors.read_safetensors(path)


def test_a_safetensors_file_with_json_that_is_nested_too_deeply(tmp_path):
    path = tmp_path / "x.safetensors"
    text = ('{"__metadata__":' + DEEP).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    assert isinstance(load(path), UserError)


def test_a_damaged_safetensors_file(tmp_path):
    path = tmp_path / "x.safetensors"
    whole = safetensors.numpy.save(
        {"conv1.weight": np.zeros((2, 3, 1, 1), np.float32), "fc.bias": np.ones(3)}
    )

    @examples(5)
    @given(content=damaged(whole))
    def check(content):
        path.write_bytes(content)
        load(path)

    check()


def test_a_safetensors_file_of_unusual_shapes(tmp_path):
    path = tmp_path / "x.safetensors"
    names = st.sampled_from(
        ["conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean", "fc.weight", "", ".", "x."]
    )
    shapes = st.lists(st.integers(0, 3), max_size=6)

    @examples(5)
    @given(tensors=st.dictionaries(names, shapes, max_size=5))
    def check(tensors):
        arrays = {name: np.zeros(shape, np.float32) for name, shape in tensors.items()}
        path.write_bytes(safetensors.numpy.save(arrays))
        load(path)

    check()


def odd_h5(path, kind):
    """An HDF5 file that has what a weights file has, but of another kind."""
    with h5py.File(path, "w") as file:
        layer = file.create_group("stem_conv")
        file.attrs["layer_names"] = ["stem_conv"]
        layer.attrs["weight_names"] = ["kernel:0"]
        layer["kernel:0"] = np.zeros((3, 3, 3, 32))
        if kind == "names are numbers":
            file.attrs["layer_names"] = [1, 2]
        elif kind == "names are one number":
            file.attrs["layer_names"] = 7
        elif kind == "names are not UTF-8":
            file.attrs["layer_names"] = np.array([b"\xff\xfe"], dtype="S2")
        elif kind == "a weight is text":
            del layer["kernel:0"]
            layer["kernel:0"] = "text"
        elif kind == "a weight is a group":
            del layer["kernel:0"]
            layer.create_group("kernel:0")
        elif kind == "a layer is an array":
            del file["stem_conv"]
            file["stem_conv"] = np.zeros(3)
        elif kind == "no weight names":
            del layer.attrs["weight_names"]
        elif kind == "the weights are an array":
            file["model_weights"] = np.zeros(3)
        elif kind == "one number of weights":
            layer.attrs["weight_names"] = 3


@pytest.mark.parametrize(
    "kind",
    [
        "names are numbers",
        "names are one number",
        "names are not UTF-8",
        "a weight is text",
        "a weight is a group",
        "a layer is an array",
        "no weight names",
        "the weights are an array",
        "one number of weights",
    ],
)
def test_an_h5_file_of_another_structure(tmp_path, kind):
    path = tmp_path / "x.h5"
    odd_h5(path, kind)
    assert isinstance(load(path), UserError)


def odd_weights_h5(path, kind):
    """A file of `save_weights` with another structure."""
    with h5py.File(path, "a") as file:
        layer = next(file["layers"][name] for name in file["layers"] if len(file["layers"][name]["vars"]))
        if kind == "a variable is not numbered":
            layer["vars"]["x"] = layer["vars"]["0"]
        elif kind == "a name is a number":
            layer["vars"].attrs["name"] = 5
        elif kind == "a variable is text":
            del layer["vars"]["0"]
            layer["vars"]["0"] = "text"
        elif kind == "a layer is an array":
            file["layers"]["odd"] = np.zeros(3)
        elif kind == "variables are an array":
            file["layers"].create_group("odd")["vars"] = np.zeros(3)
        elif kind == "layers are an array":
            del file["layers"]
            file["layers"] = np.zeros(3)


@pytest.mark.parametrize(
    "kind",
    [
        "a variable is not numbered",
        "a name is a number",
        "a variable is text",
        "a layer is an array",
        "variables are an array",
        "layers are an array",
    ],
)
def test_a_weights_file_of_another_structure(saved, tmp_path, kind):
    path = tmp_path / "x.weights.h5"
    path.write_bytes(saved["weights.h5"])
    odd_weights_h5(path, kind)
    assert isinstance(load(path), UserError)


def test_a_pickle_is_not_read(tmp_path):
    for name in ("x.pth", "x.pt", "x.bin", "x.ckpt", "x.pkl"):
        path = tmp_path / name
        path.write_bytes(f"cos\nsystem\n(S'touch {tmp_path / 'executed'}'\ntR.".encode())
        found = answer_or_user_error(weights.load, network("keras"), path)
        assert isinstance(found, UserError)
        assert "pickle" in str(found)
    assert not (tmp_path / "executed").exists()

"""Ours and torchvision's or timm's, with the same weights and the same picture, give the same logits.

Theirs were asked by `make_torch_golden.py`. Weights and picture are made anew by the same functions, and
come to us as a `.safetensors` file.
"""

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from recycle_tf import create_model
from recycle_tf.errors import UserError
from recycle_tf.models import pretrained
from tests.models import torch_reference

GOLDEN = torch_reference.read()
SLOW = ("resnet101", "resnet152", "densenet169", "densenet201")


def state_dict(arch):
    return {name: torch_reference.tensor(name, shape) for name, shape in GOLDEN[arch]["tensors"].items()}


def write(path, tensors):
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, path)
    return path


@pytest.fixture
def resnet18():
    return state_dict("resnet18")


@pytest.mark.parametrize(
    "arch", [pytest.param(arch, marks=pytest.mark.slow if arch in SLOW else ()) for arch in pretrained.TORCH]
)
def test_same_logits(arch, tmp_path):
    size, expected = torch_reference.SIZES[arch], GOLDEN[arch]
    path = write(tmp_path / "theirs.safetensors", state_dict(arch))
    ours = np.array(create_model(arch, 1000, size, weights=path)(torch_reference.picture(size)))[0]
    path.unlink()
    logits = np.array(expected["logits"])
    gap = np.abs(ours[: len(logits)] - logits).max() / np.abs(logits).max()
    print(f"{arch} {gap:.1e}")
    assert gap <= 1e-4
    assert np.linalg.norm(ours) == pytest.approx(expected["norm"], rel=1e-4)


def test_another_head_and_the_auxiliary_classifiers(tmp_path, caplog):
    path = write(tmp_path / "theirs.safetensors", state_dict("googlenet_bn_3x3"))
    create_model("googlenet_bn_3x3", 6, 64, weights=path)
    assert (
        f"weights {path}: 114 layers loaded; logits left fresh ((1024, 1000) there, (1024, 6) here); "
        "skipped, as there are no such layers here: aux1.conv.bn, aux1.conv.conv, aux1.fc1, "
        "aux1.fc2, aux2.conv.bn, aux2.conv.conv, aux2.fc1, aux2.fc2" in caplog.text
    )


def test_another_picture_leaves_the_dense_layer_behind_it_fresh(tmp_path, caplog):
    path = write(tmp_path / "theirs.safetensors", state_dict("alexnet_one_tower"))
    create_model("alexnet_one_tower", 1000, 256, weights=path)
    assert "head_dense1 left fresh ((9216, 4096) there, (12544, 4096) here)" in caplog.text


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_becomes_float32(kind, tmp_path, resnet18):
    halved = {name: value.astype(kind) for name, value in resnet18.items()}
    model = create_model("resnet18", 1000, 32, weights=write(tmp_path / "half.safetensors", halved))
    bias = model.get_layer("logits").bias
    assert bias.dtype == "float32"
    np.testing.assert_array_equal(bias, halved["fc.bias"].astype(np.float32))


def test_no_head_and_something_else_in_the_file(tmp_path, resnet18, caplog):
    changed = {name: value for name, value in resnet18.items() if not name.startswith("fc.")}
    changed["position"] = np.zeros(3, np.float32)
    create_model("resnet18", 1000, 32, weights=write(tmp_path / "theirs.safetensors", changed))
    assert (
        "40 layers loaded; logits left fresh (not there); skipped, as there are no such layers here: position"
        in (caplog.text)
    )


def test_a_tensor_that_is_missing(tmp_path, resnet18):
    del resnet18["layer1.1.conv2.weight"]
    with pytest.raises(UserError, match="no layer1.1.conv2 in it, for stage1_block2_conv2 of resnet18"):
        create_model("resnet18", 6, 32, weights=write(tmp_path / "theirs.safetensors", resnet18))


def test_a_tensor_that_does_not_fit(tmp_path, resnet18):
    path = write(tmp_path / "theirs.safetensors", resnet18)
    with pytest.raises(
        UserError,
        match=r"theirs.safetensors: layer1.0.conv1 has shapes \[\(3, 3, 64, 64\)\], stage1_block1_conv1 of "
        r"resnet50 wants \[\(1, 1, 64, 64\)\]",
    ):
        create_model("resnet50", 6, 32, weights=path)


def test_statistics_that_are_missing(tmp_path, resnet18):
    del resnet18["bn1.running_var"]
    with pytest.raises(UserError, match="bn1 has shapes .* stem_conv_norm of resnet18 wants"):
        create_model("resnet18", 6, 32, weights=write(tmp_path / "theirs.safetensors", resnet18))


def test_a_bias_goes_into_the_norm_behind_it(tmp_path, resnet18):
    resnet18["conv1.bias"] = np.full(64, 0.5, np.float32)
    path = write(tmp_path / "theirs.safetensors", resnet18)
    norm = create_model("resnet18", 1000, 32, weights=path).get_layer("stem_conv_norm")
    np.testing.assert_allclose(norm.moving_mean, resnet18["bn1.running_mean"] - 0.5)


def test_a_bias_without_a_norm_behind_it(tmp_path):
    name = "features.denseblock1.denselayer1.conv2"
    tensors = {**state_dict("densenet121"), f"{name}.bias": np.ones(32, np.float32)}
    with pytest.raises(UserError, match=f"{name} has a bias, stage1_block1_conv2 of densenet121 has none"):
        create_model("densenet121", 6, 32, weights=write(tmp_path / "theirs.safetensors", tensors))


def test_a_deeper_network(tmp_path, resnet18):
    deeper = {**resnet18, "layer1.2.conv1.weight": resnet18["layer1.1.conv1.weight"]}
    with pytest.raises(UserError, match="layer1.2.conv1 has no place in resnet18: another depth"):
        create_model("resnet18", 6, 32, weights=write(tmp_path / "theirs.safetensors", deeper))


def test_an_architecture_that_torch_has_not(tmp_path):
    path = write(tmp_path / "theirs.safetensors", {"a.weight": np.zeros(3, np.float32)})
    with pytest.raises(UserError, match="are read for resnet18, .*, not for lenet5"):
        create_model("lenet5", 6, weights=path)


@pytest.mark.parametrize("keep", [0, 5, 3000, -10])
def test_a_truncated_file(keep, tmp_path, resnet18):
    path = write(tmp_path / "theirs.safetensors", resnet18)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="no weights can be read from it: [^\n]+$"):
        create_model("resnet18", 6, 32, weights=path)

"""Weights of torchvision and timm: the same weights and image give the same logits.

`make_torch_golden.py` computed their logits. The weights and the image are generated again by the same
functions and loaded from a `.safetensors` file.
"""

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from recycle_tf.errors import UserError
from recycle_tf.models import create_model, pretrained
from tests.models import torch_reference

GOLDEN = torch_reference.read()
SLOW = (
    *("resnet101", "resnet152", "densenet169", "densenet201"),
    *("efficientnet_lite2", "efficientnet_lite3", "efficientnet_lite4"),
)


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
    size, golden = torch_reference.SIZES[arch], GOLDEN[arch]
    path = write(tmp_path / "theirs.safetensors", state_dict(arch))
    ours = np.array(create_model(arch, 1000, size, weights=path)(torch_reference.image(size)))[0]
    path.unlink()
    logits = np.array(golden["logits"])
    assert np.abs(ours[: len(logits)] - logits).max() <= 1e-4 * np.abs(logits).max()
    assert np.linalg.norm(ours) == pytest.approx(golden["norm"], rel=1e-4)


def test_another_head_and_auxiliary_classifiers(tmp_path, caplog):
    path = write(tmp_path / "theirs.safetensors", state_dict("googlenet_bn_3x3"))
    create_model("googlenet_bn_3x3", 6, 64, weights=path)
    assert f"weights {path}: 114 layers loaded; logits not loaded" in caplog.text
    assert "(1024, 1000)" in caplog.text
    assert "(1024, 6)" in caplog.text
    assert (
        "skipped, not in this model: aux1.conv.bn, aux1.conv.conv, aux1.fc1, aux1.fc2, "
        "aux2.conv.bn, aux2.conv.conv, aux2.fc1, aux2.fc2" in caplog.text
    )


def test_another_image_size_leaves_the_first_dense_layer_unloaded(tmp_path, caplog):
    path = write(tmp_path / "theirs.safetensors", state_dict("alexnet_one_tower"))
    create_model("alexnet_one_tower", 1000, 256, weights=path)
    assert "head_dense1 not loaded" in caplog.text
    assert "(9216, 4096)" in caplog.text
    assert "(12544, 4096)" in caplog.text


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_becomes_float32(kind, tmp_path, resnet18):
    halved = {name: value.astype(kind) for name, value in resnet18.items()}
    model = create_model("resnet18", 1000, 32, weights=write(tmp_path / "half.safetensors", halved))
    bias = model.get_layer("logits").bias
    assert bias.dtype == "float32"
    np.testing.assert_array_equal(bias, halved["fc.bias"].astype(np.float32))


def test_a_file_without_a_head_and_with_an_unknown_tensor(tmp_path, resnet18, caplog):
    changed = {name: value for name, value in resnet18.items() if not name.startswith("fc.")}
    changed["position"] = np.zeros(3, np.float32)
    create_model("resnet18", 1000, 32, weights=write(tmp_path / "theirs.safetensors", changed))
    assert "40 layers loaded; logits not loaded" in caplog.text
    assert "skipped, not in this model: position" in caplog.text


def test_a_missing_tensor(tmp_path, resnet18):
    del resnet18["layer1.1.conv2.weight"]
    with pytest.raises(UserError, match=r"layer1\.1\.conv2 .*stage1_block2_conv2 of resnet18"):
        create_model("resnet18", 6, 32, weights=write(tmp_path / "theirs.safetensors", resnet18))


def test_a_tensor_of_another_shape(tmp_path, resnet18):
    path = write(tmp_path / "theirs.safetensors", resnet18)
    with pytest.raises(
        UserError,
        match=r"theirs\.safetensors`: layer1\.0\.conv1 .*\[\(3, 3, 64, 64\)\].* stage1_block1_conv1 of "
        r"resnet50 .*\[\(1, 1, 64, 64\)\]",
    ):
        create_model("resnet50", 6, 32, weights=path)


def test_missing_statistics(tmp_path, resnet18):
    del resnet18["bn1.running_var"]
    with pytest.raises(UserError, match="bn1 has shapes .* stem_conv_norm of resnet18"):
        create_model("resnet18", 6, 32, weights=write(tmp_path / "theirs.safetensors", resnet18))


def test_a_bias_is_merged_into_the_following_norm(tmp_path, resnet18):
    resnet18["conv1.bias"] = np.full(64, 0.5, np.float32)
    path = write(tmp_path / "theirs.safetensors", resnet18)
    norm = create_model("resnet18", 1000, 32, weights=path).get_layer("stem_conv_norm")
    np.testing.assert_allclose(norm.moving_mean, resnet18["bn1.running_mean"] - 0.5)


def test_a_bias_without_a_following_norm(tmp_path):
    name = "features.denseblock1.denselayer1.conv2"
    tensors = {**state_dict("densenet121"), f"{name}.bias": np.ones(32, np.float32)}
    with pytest.raises(UserError, match=f"{name} has a bias.* stage1_block1_conv2 of densenet121"):
        create_model("densenet121", 6, 32, weights=write(tmp_path / "theirs.safetensors", tensors))


def test_a_deeper_network(tmp_path, resnet18):
    deeper = {**resnet18, "layer1.2.conv1.weight": resnet18["layer1.1.conv1.weight"]}
    with pytest.raises(UserError, match=r"resnet18 .*layer1\.2\.conv1.* depth"):
        create_model("resnet18", 6, 32, weights=write(tmp_path / "theirs.safetensors", deeper))


def test_an_architecture_without_torch_names(tmp_path):
    path = write(tmp_path / "theirs.safetensors", {"a.weight": np.zeros(3, np.float32)})
    with pytest.raises(UserError, match="torchvision and timm .*resnet18, .*lenet5"):
        create_model("lenet5", 6, weights=path)


@pytest.mark.parametrize("keep", [0, 5, 3000, -10])
def test_a_truncated_file(keep, tmp_path, resnet18):
    path = write(tmp_path / "theirs.safetensors", resnet18)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=f"`weights={path}`: cannot be read, [^\n]+$"):
        create_model("resnet18", 6, 32, weights=path)

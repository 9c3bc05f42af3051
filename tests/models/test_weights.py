"""Weights from files."""

import numpy as np
import pytest

from recycle_tf import create_model
from recycle_tf.errors import UserError

PICTURE = np.full((1, 32, 32, 3), 99.0, np.float32)


def test_whole_model_and_weights_only(tmp_path):
    model = create_model("test_densenet", 4)
    for name in ("m.keras", "m.weights.h5"):
        path = tmp_path / name
        model.save(path) if name.endswith(".keras") else model.save_weights(path)
        again = create_model("test_densenet", 4, weights=path)
        np.testing.assert_array_equal(again(PICTURE), model(PICTURE))


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_a_head_of_another_width_stays_fresh(tmp_path, caplog, name):
    model = create_model("test_densenet", 4)
    model.save(tmp_path / name) if name.endswith(".keras") else model.save_weights(tmp_path / name)
    again = create_model("test_densenet", 7, weights=tmp_path / name)
    assert again.output.shape == (None, 7)
    assert "41 layers loaded; logits left fresh ((16, 4) there, (16, 7) here)" in caplog.text
    np.testing.assert_array_equal(again.get_layer("stem_conv").kernel, model.get_layer("stem_conv").kernel)


def test_the_normalisation_comes_with_the_weights(tmp_path):
    model = create_model("test_resnet", 4)
    model.get_layer("preprocess").scale = [0.5, 0.5, 0.5]
    model.save(tmp_path / "m.keras")
    again = create_model("test_resnet", 4, weights=tmp_path / "m.keras")
    np.testing.assert_array_equal(again(PICTURE), model(PICTURE))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.keras", None, "no such file"),
        ("photo.jpg", b"\xff\xd8", "expected a file ending in .keras, .weights.h5, .h5 or .safetensors"),
        ("theirs.pth", b"\x80\x02", "a pickle can run code and is not loaded; convert it to .safetensors"),
        ("broken.keras", b"not a zip", "no model can be read from it: it is no zip file"),
        ("broken.weights.h5", b"not hdf5", "no weights can be read from it"),
    ],
)
def test_files_that_do_not_fit(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        create_model("test_densenet", 4, weights=tmp_path / name)


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_another_architecture_names_the_first_layer(tmp_path, name):
    other = create_model("test_resnet", 4)
    other.save(tmp_path / name) if name.endswith(".keras") else other.save_weights(tmp_path / name)
    with pytest.raises(UserError, match="stem_conv has shapes .* stem_conv of test_vgg wants"):
        create_model("test_vgg", 4, weights=tmp_path / name)


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_a_deeper_network(tmp_path, name):
    deeper = create_model("test_resnet", 4, blocks_per_stage=(1, 2, 1, 1))
    deeper.save(tmp_path / name) if name.endswith(".keras") else deeper.save_weights(tmp_path / name)
    with pytest.raises(UserError, match=r"stage2_block2_conv\w+ has no place in test_resnet: another depth"):
        create_model("test_resnet", 4, weights=tmp_path / name)


@pytest.mark.parametrize("keep", [4, 3000, -100])
@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5", "m.h5"])
def test_a_truncated_file(tmp_path, name, keep):
    arch = "resnet50_v1" if name == "m.h5" else "test_resnet"
    model = create_model("test_resnet", 4)
    path = tmp_path / name
    model.save_weights(path) if name == "m.weights.h5" else model.save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=f"--weights={path}: [^\n]+$"):
        create_model(arch, 4, 32, weights=path)


def test_an_h5_file_of_anything_else(tmp_path):
    create_model("test_resnet", 4).save_weights(tmp_path / "m.weights.h5")
    path = (tmp_path / "m.weights.h5").rename(tmp_path / "m.h5")
    with pytest.raises(UserError, match="no weights can be read from it"):
        create_model("vgg16", 4, 32, weights=path)
    with pytest.raises(UserError, match=r"keras\.applications are read for vgg16, .*, not for resnet18"):
        create_model("resnet18", 4, 32, weights=path)

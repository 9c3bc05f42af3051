"""Loading weights from files that this package wrote, and from files it cannot load."""

import numpy as np
import pytest

from recycle_tf.errors import UserError
from recycle_tf.models import create_model

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


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_another_architecture_names_the_first_layer(tmp_path, name):
    save(create_model("test_resnet", 4), tmp_path / name)
    with pytest.raises(UserError, match="stem_conv has shapes .* stem_conv of test_vgg"):
        create_model("test_vgg", 4, weights=tmp_path / name)


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

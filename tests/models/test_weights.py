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


def test_a_head_of_another_width_stays_fresh(tmp_path, caplog):
    model = create_model("test_densenet", 4)
    model.save(tmp_path / "m.keras")
    again = create_model("test_densenet", 7, weights=tmp_path / "m.keras")
    assert again.output.shape == (None, 7)
    assert "logits left fresh" in caplog.text
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
        ("photo.jpg", b"\xff\xd8", "expected a file ending in .keras or .weights.h5"),
        ("broken.keras", b"not a zip", "does not fit test_densenet"),
        ("broken.weights.h5", b"not hdf5", "does not fit test_densenet"),
    ],
)
def test_files_that_do_not_fit(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        create_model("test_densenet", 4, weights=tmp_path / name)


def test_another_architecture_names_the_first_layer(tmp_path):
    create_model("test_resnet", 4).save(tmp_path / "m.keras")
    with pytest.raises(UserError, match="layer 'stage1_block1_in_norm'|no layer"):
        create_model("test_densenet", 4, weights=tmp_path / "m.keras")

"""What holds for every architecture."""

import json
import pathlib

import keras
import numpy as np
import pytest

from recycle_tf import create_model, describe, list_models
from recycle_tf.errors import UserError
from recycle_tf.models import efficientnet
from recycle_tf.models.registry import find

# Published counts with a head of 1,000 classes: keras.io's table of applications, torchvision's and timm's
# metadata, and the papers' tables. GMACs to the digits given there.
GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden.json").read_text())
TINY = list_models("test_*")


def pictures(arch, count=2, scale=1.0):
    size = int(scale * find(arch).config.image_size)
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3)).astype(np.float32)


def test_every_row_has_golden_numbers():
    assert set(list_models()) == set(GOLDEN)


@pytest.mark.parametrize("arch", list_models())
def test_golden_numbers(arch):
    expected = GOLDEN[arch]
    found = describe(arch, expected.get("num_classes", 1000))
    assert (found.trainable, found.non_trainable) == (expected["trainable"], expected["non_trainable"])
    digits = len(str(expected["gmacs"]).partition(".")[2])
    assert abs(found.macs / 1e9 - expected["gmacs"]) <= 0.6 * 10**-digits


@pytest.mark.parametrize("arch", TINY)
def test_contract_of_the_layers(arch):
    model = create_model(arch, 5)
    names = [layer.name for layer in model.layers]
    stem = next(i for i, name in enumerate(names) if name.startswith("stem"))
    stage = next(i for i, name in enumerate(names) if name.startswith("stage1"))
    assert names.index("preprocess") < stem < stage < names.index("features") < names.index("logits")
    assert names[-1] == "logits"
    assert model.get_layer("preprocess").__class__ is keras.layers.Rescaling
    assert len(model.get_layer("features").output.shape) == 4
    assert model.output.shape == (None, 5)


@pytest.mark.parametrize("arch", ["resnet18", "resnet50", "densenet121", "efficientnet_b0"])
def test_stages_halve_the_map(arch):
    model = create_model(arch, 6)
    sizes = {}
    for layer in model.layers:
        if layer.name.startswith("stage") and "_se_" not in layer.name and "transition" not in layer.name:
            sizes[layer.name.split("_")[0]] = layer.output.shape[1]
    strides = {"efficientnet_b0": [2, 4, 8, 16, 16, 32, 32]}.get(arch, [4, 8, 16, 32])
    assert [sizes[stage] for stage in sorted(sizes)] == [224 // s for s in strides]


@pytest.mark.parametrize("arch", TINY)
def test_every_parameter_gets_a_gradient(arch):
    import tensorflow as tf

    # Stochastic depth would leave a dropped branch without one.
    config = find(arch).config
    keras.utils.set_random_seed(1)
    model = create_model(arch, 5, **({"drop_path_rate": 0.0} if hasattr(config, "drop_path_rate") else {}))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(pictures(arch, 8), training=True) ** 2)
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.abs(gradient).max() > 0, variable.path


@pytest.mark.parametrize("arch", TINY)
def test_save_and_load(arch, tmp_path):
    model = create_model(arch, 5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(again(pictures(arch)), model(pictures(arch)), atol=1e-6)


@pytest.mark.parametrize("arch", TINY)
def test_uint8_is_the_same_as_float(arch):
    model = create_model(arch, 5)
    np.testing.assert_array_equal(model(pictures(arch).astype(np.uint8)), model(pictures(arch)))


@pytest.mark.parametrize("arch", TINY)
def test_another_image_size_and_two_classes(arch):
    larger = pictures(arch, 1, scale=1.5)
    assert create_model(arch, 2, image_size=larger.shape[1])(larger).shape == (1, 2)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("arch", TINY)
def test_logits_are_float32_and_finite_in_mixed_precision(arch, policy):
    keras.config.set_dtype_policy(policy)
    try:
        logits = create_model(arch, 5)(pictures(arch))
    finally:
        keras.config.set_dtype_policy("float32")
    assert logits.dtype == "float32"
    assert np.isfinite(logits).all()


def test_unknown_arch_names_the_nearest():
    with pytest.raises(UserError, match="--arch=resnet51: no such architecture, did you mean .*resnet50"):
        create_model("resnet51", 6)


def test_unknown_override_names_what_there_is():
    with pytest.raises(UserError, match="resnet18 has no setting 'filter', did you mean filters"):
        create_model("resnet18", 6, filter=32)


def test_override_of_the_wrong_type():
    with pytest.raises(UserError, match="resnet18: filters='wide' should be of type int, like 64"):
        create_model("resnet18", 6, filters="wide")


def test_compound_scaling_is_the_papers_equation():
    one = efficientnet.compound_scaling(1)
    assert one == {"depth": 1.2, "width": 1.1, "image_size": 258}
    assert pytest.approx(2, rel=0.05) == 1.2 * 1.1**2 * 1.15**2
    # The paper's B2 is phi = 1: a width of 1.1, a depth of 1.2, 260 pixels.
    scaled = create_model("efficientnet_b0", 6, **{**one, "image_size": 64})
    assert len(scaled.layers) == len(create_model("efficientnet_b2", 6, 64).layers)


def test_scaled_filters_lose_at_most_a_tenth():
    assert [efficientnet.scale_filters(32, w) for w in (1.0, 1.1, 1.4, 2.0)] == [32, 32, 48, 64]
    for width in np.linspace(0.3, 3, 28):
        assert efficientnet.scale_filters(24, width) % 8 == 0
        assert efficientnet.scale_filters(24, width) >= 0.9 * 24 * width


def test_drop_path_grows_over_the_scaled_depth():
    model = create_model("efficientnet_b3", 6, image_size=64)
    rates = [layer.rate for layer in model.layers if layer.name.endswith("drop_path")]
    assert rates == sorted(rates)
    assert 0.18 < rates[-1] <= 0.2


def test_listing_hides_the_tiny_rows():
    assert "test_resnet" not in list_models()
    assert list_models("resnet1*") == [
        "resnet18",
        "resnet101",
        "resnet152",
        "resnet101_v1",
        "resnet152_v1",
        "resnet110",
    ]

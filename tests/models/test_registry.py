"""Properties that every architecture has."""

import keras
import numpy as np
import pytest

from recycle_tf.errors import UserError
from recycle_tf.models import create_model, efficientnet, list_models, registry
from recycle_tf.models.registry import find, override
from tests.conftest import run_python

TINY = list_models("test_*")


def images(arch, count=2, scale=1.0):
    size = int(scale * find(arch).config.image_size)
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3)).astype(np.float32)


@pytest.mark.parametrize("arch", TINY)
def test_order_and_names_of_layers(arch):
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
def test_stages_halve_the_feature_map(arch):
    model = create_model(arch, 6)
    sizes = {}
    for layer in model.layers:
        if layer.name.startswith("stage") and "_se_" not in layer.name and "transition" not in layer.name:
            sizes[layer.name.split("_")[0]] = layer.output.shape[1]
    strides = {"efficientnet_b0": [2, 4, 8, 16, 16, 32, 32]}.get(arch, [4, 8, 16, 32])
    assert [sizes[stage] for stage in sorted(sizes)] == [224 // s for s in strides]


@pytest.mark.parametrize("arch", TINY)
def test_every_parameter_has_a_gradient(arch):
    import tensorflow as tf

    # A residual branch that drop-path drops would have none.
    config = find(arch).config
    keras.utils.set_random_seed(1)
    model = create_model(arch, 5, **({"drop_path_rate": 0.0} if hasattr(config, "drop_path_rate") else {}))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(images(arch, 8), training=True) ** 2)
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.abs(gradient).max() > 0, variable.path


@pytest.mark.parametrize("arch", TINY)
def test_save_and_load(arch, tmp_path):
    model = create_model(arch, 5)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(loaded(images(arch)), model(images(arch)), atol=1e-6)


LOAD = """
import pathlib, sys
import recycle_tf.models
import keras, numpy as np

for path in sorted(pathlib.Path(sys.argv[1]).glob("*.keras")):
    model = keras.models.load_model(path)
    pixels = np.load(path.with_suffix(".pixels.npy"))
    np.testing.assert_allclose(model(pixels), np.load(path.with_suffix(".logits.npy")), atol=1e-6)
    print("loaded", path.stem)
"""


def test_importing_the_models_is_enough_to_load_saved_ones(tmp_path):
    """In a new process that has not built any model."""
    for arch in TINY:
        model = create_model(arch, 5)
        keras.Model(model.inputs, model.outputs).save(tmp_path / f"{arch}.keras")
        np.save(tmp_path / f"{arch}.pixels.npy", images(arch))
        np.save(tmp_path / f"{arch}.logits.npy", model(images(arch)))
    result = run_python("-c", LOAD, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [word for arch in sorted(TINY) for word in ("loaded", arch)]


@pytest.mark.parametrize("arch", TINY)
def test_uint8_gives_the_same_logits_as_float32(arch):
    model = create_model(arch, 5)
    np.testing.assert_array_equal(model(images(arch).astype(np.uint8)), model(images(arch)))


@pytest.mark.parametrize("arch", TINY)
def test_another_image_size_and_two_classes(arch):
    larger = images(arch, 1, scale=1.5)
    assert create_model(arch, 2, image_size=larger.shape[1])(larger).shape == (1, 2)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("arch", TINY)
def test_logits_are_float32_and_finite_in_mixed_precision(arch, policy):
    keras.config.set_dtype_policy(policy)
    try:
        logits = create_model(arch, 5)(images(arch))
    finally:
        keras.config.set_dtype_policy("float32")
    assert logits.dtype == "float32"
    assert np.isfinite(logits).all()


@pytest.mark.parametrize(
    ("arch", "overrides", "named"),
    [
        ("resnt50", {}, ["`arch=resnt50`", "resnet50"]),
        ("resnet18", {"filter": 32}, ["`overrides`", "resnet18", "'filter'", "filters"]),
        ("resnet18", {"filters": "wide"}, ["`overrides`", "filters='wide'", "int"]),
        ("resnet18", {"shortcut": "identiy"}, ["`overrides`", "shortcut=identiy", "identity"]),
        ("resnet50", {"conv": "deformable"}, ["`overrides`", "conv=deformable", "deformed_stages"]),
        (
            "resnet18",
            {"conv": "deformable", "deformed_stages": (4,)},
            ["`overrides`", "conv=deformable", "block=bottleneck"],
        ),
        ("googlenet", {"pool_padding": "same"}, ["`overrides`", "pool_padding=same", "symmetric", "ceil"]),
        ("densenet121", {"stem": "cifar10"}, ["`overrides`", "stem=cifar10", "cifar"]),
        ("resnet18", {"filters": -1}, ["`overrides`", "filters=-1"]),
        ("alexnet", {"units": -1}, ["alexnet", "227 px", "units=-1"]),
        ("resnet18", {"blocks_per_stage": (2, 0)}, ["`overrides`", "blocks_per_stage=(2, 0)"]),
        ("resnet18", {"blocks_per_stage": (2, None)}, ["`overrides`", "blocks_per_stage=(2, None)"]),
        ("fractalnet20", {"filters": ("a", 8)}, ["`overrides`", "filters=('a', 8)"]),
        ("resnet18", {"blocks_per_stage": ()}, ["`overrides`", "blocks_per_stage=()"]),
        ("resnet18", {"stride_first": True}, ["`overrides`", "stride_first", "block=bottleneck"]),
        ("plain18", {"drop_path_rate": 0.1}, ["`overrides`", "drop_path_rate", "shortcut=none"]),
        ("deformable_resnet50", {"deformed_stages": (4, 5)}, ["deformed_stages=(4, 5)", "1 to 4"]),
        ("fractalnet20", {"columns": 0}, ["`overrides`", "columns=0"]),
        ("test_fractalnet", {"drop_path_rate": 1.0}, ["test_fractalnet", "drop_path_rate=1.0"]),
        ("highway20", {"layers_per_stage": 0}, ["`overrides`", "layers_per_stage=0"]),
        ("lenet5", {"channels": 4}, ["`overrides`", "channels=4", "3"]),
        ("efficientnet_lite0", {"depth": -1}, ["`overrides`", "depth=-1"]),
        ("efficientnet_b0", {"phi": 5000}, ["`overrides`", "phi=5000"]),
        ("efficientnet_b0", {"phi": 1, "width": 2.0}, ["`overrides`", "phi=1", "'width': 2.0"]),
        ("efficientnet_b4", {"phi": 1}, ["`overrides`", "phi=1", "efficientnet_b0"]),
        ("resnet18", {"drop_path_rate": 1.0}, ["resnet18", "drop_path_rate=1"]),
        ("densenet121", {"blocks_per_stage": ()}, ["densenet121", "blocks_per_stage=()"]),
        ("efficientnet_b0", {"stages": ((1, 3, 1, 8, 1),)}, ["efficientnet_b0", "stages="]),
        ("alexnet", {"image_size": 32}, ["alexnet", "32 px", "227 px"]),
        ("vgg11", {"remat": True, "image_size": 32}, ["`remat`", "vgg11"]),
        ("resnet18", {"weights": "gone.keras", "image_size": 32}, ["`weights=gone.keras`"]),
    ],
)
def test_errors_name_the_parameter(arch, overrides, named):
    with pytest.raises(UserError) as caught:
        create_model(arch, 6, **overrides)
    message = str(caught.value)
    for part in named:
        assert part in message
    assert "--" not in message
    assert "\n" not in message


def test_phi_scales_all_three():
    scaled = override("efficientnet_b0", find("efficientnet_b0").config, {"phi": 1})
    expected = efficientnet.compound_scaling(1)
    assert {name: getattr(scaled, name) for name in expected} == expected
    model = create_model("efficientnet_b0", 2, phi=-2)
    assert model.input_shape[1] == round(224 * efficientnet.GAMMA**-2)


def test_compound_scaling_is_equation_3():
    one = efficientnet.compound_scaling(1)
    assert one == {"depth": 1.2, "width": 1.1, "image_size": 258}
    assert pytest.approx(2, rel=0.05) == 1.2 * 1.1**2 * 1.15**2
    # B2 has the width (1.1) and the depth (1.2) of phi = 1, and 260 pixels.
    scaled = create_model("efficientnet_b0", 6, **{**one, "image_size": 64})
    assert len(scaled.layers) == len(create_model("efficientnet_b2", 6, 64).layers)


def test_scaled_filters_are_multiples_of_8_and_at_least_90_percent():
    assert [efficientnet.scale_filters(32, w) for w in (1.0, 1.1, 1.4, 2.0)] == [32, 32, 48, 64]
    for width in np.linspace(0.3, 3, 28):
        assert efficientnet.scale_filters(24, width) % 8 == 0
        assert efficientnet.scale_filters(24, width) >= 0.9 * 24 * width


def test_drop_path_rate_increases_over_the_scaled_depth():
    model = create_model("efficientnet_b3", 6, image_size=64)
    rates = [layer.rate for layer in model.layers if layer.name.endswith("drop_path")]
    assert rates == sorted(rates)
    assert 0.18 < rates[-1] <= 0.2


def test_list_models_hides_the_models_for_tests():
    assert "test_resnet" not in list_models()
    assert list_models("resnet1*") == [
        "resnet18",
        "resnet101",
        "resnet152",
        "resnet101_v1",
        "resnet152_v1",
        "resnet110",
    ]


@pytest.mark.parametrize(
    ("arch", "overrides", "norms", "place"),
    [
        ("googlenet", {}, 0, "stage2_block1_concat"),
        ("googlenet", {"batch_norm": True}, 2, "stage2_block1_concat"),
        ("se_googlenet_bn", {"squeeze_excite": False}, 2, "stage2_block1_concat"),
        ("se_googlenet_bn", {}, 2, "stage2_block1_se_excite"),
    ],
)
def test_auxiliary_classifiers_are_built_as_the_network_is(arch, overrides, norms, place):
    model = create_model(arch, 3, 64, **overrides)
    training, weights = registry.training_model(model, 3, **overrides)
    added = [layer for layer in training.layers if layer.name.startswith("auxiliary")]
    assert len(weights) == 3
    assert sum(isinstance(layer, keras.layers.BatchNormalization) for layer in added) == norms
    pool = training.get_layer("auxiliary1_pool")
    assert pool.input is model.get_layer(place).output

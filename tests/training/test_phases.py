"""Phases of a training run: which layers are trained, and at what fraction of the learning rate."""

import keras
import numpy as np
import pytest

from recycle_tf import create_model
from recycle_tf.config import TrainConfig
from recycle_tf.errors import UserError
from recycle_tf.models import registry
from recycle_tf.training import phases
from recycle_tf.training.optimizers import make_optimizer


def planned(arch="test_resnet", steps_per_epoch=10, **settings):
    model, _ = registry.training_model(create_model(arch, 3), 3)
    return model, phases.plan(TrainConfig(**settings), model, steps_per_epoch)


def factors(model, phase):
    """Factor on the learning rate of each variable, measured; 0 for those that are not trained."""
    multipliers = phases.set_lr_multipliers(model, phase.lr_multipliers)
    optimizer = make_optimizer("sgd", 1.0, 0.0, lr_multipliers=multipliers)
    before = [np.array(v) for v in model.variables]
    if model.trainable_variables:
        optimizer.apply(
            [keras.ops.ones_like(v) for v in model.trainable_variables], model.trainable_variables
        )
    # The first step of Nesterov momentum 0.9 is 1.9 times the gradient.
    return {
        v.path: round(float(np.mean(b - np.array(v))) / 1.9, 4)
        for v, b in zip(model.variables, before, strict=True)
        if "seed" not in v.path and "moving" not in v.path
    }


def test_by_default_one_phase_trains_all_layers():
    model, found = planned(epochs="25steps")
    assert [(p.first_epoch, p.end_epoch, p.steps) for p in found] == [(0, 3, 25)]
    assert set(factors(model, found[0]).values()) == {1}


def test_as_many_head_epochs_as_epochs_are_a_linear_probe():
    model, found = planned(epochs="3", head_epochs=3)
    assert [(p.first_epoch, p.end_epoch, p.steps) for p in found] == [(0, 3, 30)]
    assert {path for path, factor in factors(model, found[0]).items() if factor} == {
        "logits/kernel",
        "logits/bias",
    }


@pytest.mark.parametrize(
    ("arch", "head"),
    [
        ("test_resnet", {"logits"}),
        ("test_vgg", {"head_dense1", "head_dense2", "logits"}),
        ("test_efficientnet", {"logits"}),
        (
            "test_googlenet",
            {"logits", *(f"auxiliary{n}_{part}" for n in (1, 2) for part in ("conv", "dense", "logits"))},
        ),
        ("test_densenet", {"logits"}),
    ],
)
def test_head_epochs_train_the_head_alone_first(arch, head):
    model, found = planned(arch, epochs="55steps", head_epochs=2)
    assert [(p.first_epoch, p.end_epoch, p.steps) for p in found] == [(0, 2, 20), (2, 6, 35)]
    trained = {path.split("/")[0] for path, factor in factors(model, found[0]).items() if factor}
    assert trained == head
    assert set(factors(model, found[1]).values()) == {1}


def test_a_deep_dense_block_is_planned_at_once():
    """It has 2^40 paths from the image to its features."""
    model = create_model("test_densenet", 3, blocks_per_stage=(40,), growth_rate=1)
    (phase,) = phases.plan(TrainConfig(layer_decay=0.5), model, 1)
    assert dict(phase.lr_multipliers)["stem_"] == 0.25


def test_layer_decay_slows_each_stage_relative_to_the_next():
    model, found = planned(epochs="10", layer_decay=0.5)
    measured = factors(model, found[0])
    assert measured["logits/kernel"] == 1
    for name, factor in (("stage4_block1", 0.5), ("stage3", 0.25), ("stage1", 0.0625), ("stem", 0.0312)):
        assert {f for path, f in measured.items() if path.startswith(name)} == {factor}


def test_freeze_and_lr_multipliers_are_one_list():
    model, found = planned(
        "test_deformable",
        epochs="10",
        freeze="stem,stage1",
        lr_multipliers="stage4=0.5,stage[23]_.*conv1=2",
        freeze_norms=True,
    )
    measured = factors(model, found[0])
    for path, factor in measured.items():
        expected = 0 if path.startswith(("stem", "stage1")) or "_norm/" in path else 1
        expected *= 0.5 if path.startswith("stage4") else 1
        expected *= 2 if path.startswith(("stage2", "stage3")) and "conv1" in path else 1
        # Offsets always have a tenth of the learning rate.
        expected *= 0.1 if "_offset/" in path else 1
        assert factor == pytest.approx(expected, abs=1e-3), path
    assert any("_offset/" in path for path in measured)


def test_a_frozen_batch_norm_retains_its_statistics():
    model, found = planned(freeze="stage1,stage2_block1_conv1_norm")
    phases.set_lr_multipliers(model, found[0].lr_multipliers)
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    before = {v.path: np.array(v) for v in model.variables}
    images = np.random.default_rng(0).uniform(0, 255, (8, 32, 32, 3)).astype(np.float32)
    model.train_on_batch(images, np.eye(3, dtype=np.float32)[np.arange(8) % 3])
    for variable in model.variables:
        frozen = variable.path.startswith(("stage1_", "stage2_block1_conv1_norm"))
        if "moving" in variable.path or frozen and "seed" not in variable.path:
            assert np.array_equal(variable, before[variable.path]) == frozen, variable.path


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"freeze": "stage9"}, ["`freeze`", "`lr_multipliers`", "'stage9'", "preprocess, stem, stage1"]),
        ({"freeze": ".*"}, ["`freeze=.*`"]),
        ({"lr_multipliers": ".*=0"}, ["`lr_multipliers=.*=0`"]),
        ({"freeze": "logits", "head_epochs": 2}, ["`freeze=logits`", "`head_epochs=2`"]),
        ({"head_epochs": 11, "epochs": "10"}, ["`head_epochs=11`", "`epochs=10`"]),
    ],
)
def test_impossible_plans_are_rejected(settings, names):
    with pytest.raises(UserError) as caught:
        planned(**settings)
    assert all(name in str(caught.value) for name in names)


@pytest.mark.parametrize(
    ("settings", "pair"),
    [
        ({"freeze": "stem,("}, "(=0"),
        ({"lr_multipliers": "stem"}, "stem"),
        ({"lr_multipliers": "=0.1"}, "=0.1"),
        ({"lr_multipliers": "stem=-1"}, "stem=-1"),
    ],
)
def test_invalid_multipliers_are_rejected(settings, pair):
    with pytest.raises(UserError) as caught:
        TrainConfig(**settings)
    assert all(name in str(caught.value) for name in ("`freeze`", "`lr_multipliers`", repr(pair)))

"""Which layers learn in which part of a training, and how fast; fine-tuning."""

import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from recycle_tf import create_model, runs
from recycle_tf.config import TrainConfig
from recycle_tf.errors import UserError
from recycle_tf.models import registry
from recycle_tf.training import callbacks, loop, phases
from tests.conftest import run_python, tiny_training, write_photos
from tests.test_train import check_refused
from tests.training.test_survival import numbers


def planned(arch="test_resnet", steps_per_epoch=10, **settings):
    model, _ = registry.training_model(create_model(arch, 3), 3)
    return model, phases.plan(TrainConfig(**settings), model, steps_per_epoch)


def rates_of(model, phase):
    """What the rate of each variable is multiplied with; 0 for those that do not learn."""
    multipliers = phases.set_rates(model, phase.rates)
    optimizer = loop.make_optimizer("sgd", 1.0, 0.0, rate_multipliers=multipliers)
    before = [np.array(v) for v in model.variables]
    if model.trainable_variables:
        optimizer.apply(
            [keras.ops.ones_like(v) for v in model.trainable_variables], model.trainable_variables
        )
    # The first step of momentum 0.9 after Nesterov is 1.9 times the gradient.
    return {
        v.path: round(float(np.mean(b - np.array(v))) / 1.9, 4)
        for v, b in zip(model.variables, before, strict=True)
        if "seed" not in v.path and "moving" not in v.path
    }


def test_one_phase_in_which_all_learn():
    model, found = planned(epochs="25steps")
    assert [(p.first_epoch, p.end_epoch, p.steps) for p in found] == [(0, 3, 25)]
    assert set(rates_of(model, found[0]).values()) == {1}


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
def test_the_head_alone_and_then_all(arch, head):
    model, found = planned(arch, epochs="55steps", head_epochs=2)
    assert [(p.first_epoch, p.end_epoch, p.steps) for p in found] == [(0, 2, 20), (2, 6, 35)]
    learning = {path.split("/")[0] for path, rate in rates_of(model, found[0]).items() if rate}
    assert learning == head
    assert set(rates_of(model, found[1]).values()) == {1}


def test_each_stage_learns_more_slowly_than_the_next():
    model, found = planned(epochs="10", layer_decay=0.5)
    rates = rates_of(model, found[0])
    assert rates["logits/kernel"] == 1
    for name, rate in (("stage4_block1", 0.5), ("stage3", 0.25), ("stage1", 0.0625), ("stem", 0.0312)):
        assert {r for path, r in rates.items() if path.startswith(name)} == {rate}


def test_freezing_and_rates_are_one_list():
    model, found = planned(
        "test_deformable",
        epochs="10",
        freeze="stem,stage1",
        lr_multipliers="stage4=0.5,stage[23]_.*conv1=2",
        freeze_norms=True,
    )
    rates = rates_of(model, found[0])
    for path, rate in rates.items():
        expected = 0 if path.startswith(("stem", "stage1")) or "_norm/" in path else 1
        expected *= 0.5 if path.startswith("stage4") else 1
        expected *= 2 if path.startswith(("stage2", "stage3")) and "conv1" in path else 1
        # In every training a tenth.
        expected *= 0.1 if "_offset/" in path else 1
        assert rate == pytest.approx(expected, abs=1e-3), path
    assert any("_offset/" in path for path in rates)


def test_a_frozen_norm_keeps_its_statistics():
    model, found = planned(freeze="stage1,stage2_block1_conv1_norm")
    phases.set_rates(model, found[0].rates)
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    before = {v.path: np.array(v) for v in model.variables}
    pictures = np.random.default_rng(0).uniform(0, 255, (8, 32, 32, 3)).astype(np.float32)
    model.train_on_batch(pictures, np.eye(3, dtype=np.float32)[np.arange(8) % 3])
    for variable in model.variables:
        kept = variable.path.startswith(("stage1_", "stage2_block1_conv1_norm"))
        if "moving" in variable.path or kept and "seed" not in variable.path:
            assert np.array_equal(variable, before[variable.path]) == kept, variable.path


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"freeze": "stage9"},
            "--freeze or --rates: no layer begins with 'stage9'; there are image, preprocess, stem, ",
        ),
        ({"freeze": ".*"}, "--freeze=.*: no layer is left that learns"),
        ({"head_epochs": 10, "epochs": "10"}, "--head_epochs=10: nothing is left of --epochs=10"),
    ],
)
def test_what_cannot_be_planned(settings, message):
    with pytest.raises(UserError) as caught:
        planned(**settings)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("settings", "pair"),
    [
        ({"freeze": "stem,("}, "(=0"),
        ({"rates": "stem"}, "stem"),
        ({"rates": "=0.1"}, "=0.1"),
        ({"rates": "stem=-1"}, "stem=-1"),
    ],
)
def test_what_is_no_rate(settings, pair):
    with pytest.raises(UserError) as caught:
        TrainConfig(**settings)
    assert (
        str(caught.value)
        == f"--freeze or --rates: {pair!r} is no pattern and multiplier, such as stage[12]=0.3"
    )


def test_fine_tuning_needs_weights():
    check_refused(
        run_python("train.py", "--recipe=finetune"),
        "--recipe=finetune: nothing to start from; add --weights=imagenet, or a file of the same",
    )


def test_at_the_border_of_phases_the_optimizer_begins_anew(tmp_path):
    model, found = planned(epochs="4", head_epochs=2)

    def compile_for(phase):
        phases.set_rates(model, phase.rates)
        model.compile(keras.optimizers.AdamW(1e-2), keras.losses.CategoricalCrossentropy(from_logits=True))

    def trained_and_saved(epoch, step):
        for old in tmp_path.iterdir():
            old.unlink()
        compile_for(phases.at(found, max(0, epoch - (step == 0))))
        model.optimizer.build(model.trainable_variables)
        model.optimizer.iterations.assign(7)
        checkpoint = callbacks.Checkpoint(tmp_path, callbacks.Progress(10, epoch, step), "1h")
        checkpoint.set_model(model)
        checkpoint.write()
        kept = [np.array(v) for v in model.variables]
        for variable in model.variables:
            variable.assign(keras.ops.zeros_like(variable))
        progress = loop.begin(model, tmp_path, 10, found, compile_for)
        assert (progress.epoch, progress.step) == (epoch, step)
        assert all(np.array_equal(a, b) for a, b in zip(kept, model.variables, strict=True))
        return int(model.optimizer.iterations.numpy()), len(model.trainable_variables)

    everything = len(create_model("test_resnet", 3).trainable_variables)
    assert trained_and_saved(1, 0) == (7, 2)
    assert trained_and_saved(1, 5) == (7, 2)
    assert trained_and_saved(2, 0) == (0, everything)
    assert trained_and_saved(2, 5) == (7, everything)
    assert trained_and_saved(3, 0) == (7, everything)
    assert trained_and_saved(4, 0) == (7, everything)


KILLED_AT = (
    "import os, sys, train\n"
    "from recycle_tf.training import callbacks, loop\n"
    "loop.finish = lambda run: None\n"
    "write = callbacks.Checkpoint.write\n"
    "def write_and_die(self):\n"
    "    write(self)\n"
    "    if str(self.progress.steps) == os.environ['KILLED_AT']:\n"
    "        os.kill(os.getpid(), 9)\n"
    "callbacks.Checkpoint.write = write_and_die\n"
    "sys.exit(train.main(sys.argv[1:]))"
)
"""`train.py`, but for what kills it after the checkpoint of a step, and for the removal of its last one."""


def test_killed_in_each_phase_fine_tuning_ends_with_the_same_bits(tmp_path):
    weights = tmp_path / "trained.weights.h5"
    keras.utils.set_random_seed(3)
    create_model("test_resnet", 3).save_weights(weights)
    command = [
        "-c",
        KILLED_AT,
        *tiny_training(write_photos(tmp_path / "photos", count=20)),
        "--recipe=finetune",
        f"--weights={weights}",
        "--epochs=4",
        "--head_epochs=2",
        "--overrides=drop_rate=0.2,drop_path_rate=0.1",
        "--augment=basic",
        "--mix=both",
        "--checkpoint_every=1steps",
        "--deterministic",
    ]
    whole, killed = runs.Run(tmp_path / "whole"), runs.Run(tmp_path / "killed")
    result = run_python(*command, f"--run_dir={whole.path}", env={"KILLED_AT": "never"})
    assert result.returncode == 0, result.stderr
    # Five steps an epoch: within the first phase, and within the second.
    for step in (7, 13):
        result = run_python(*command, f"--run_dir={killed.path}", env={"KILLED_AT": str(step)})
        assert result.returncode == -9, result.stderr
    result = run_python(*command, f"--run_dir={killed.path}", env={"KILLED_AT": "never"})
    assert result.returncode == 0, result.stderr
    assert "going on after epoch 3, step 3 of 5" in result.stdout

    assert numbers(killed) == numbers(whole)
    with (
        np.load(whole.checkpoints / "epoch0004.npz") as a,
        np.load(killed.checkpoints / "epoch0004.npz") as b,
    ):
        assert set(a) == set(b)
        for key in set(a) - {"seconds"}:
            np.testing.assert_array_equal(a[key], b[key])


def test_the_head_alone_takes_less_time():
    """Without the backward pass of what is frozen a step should take about a third."""
    model = create_model("resnet18", 3, image_size=64, filters=32)
    found = phases.plan(TrainConfig(head_epochs=2), model, 10)
    pictures = np.zeros((16, 64, 64, 3), np.float32)
    data = tf.data.Dataset.from_tensors((pictures, np.eye(3, dtype=np.float32)[np.arange(16) % 3])).repeat()
    seconds = []
    for phase in found:
        loop.compile_model(model, [1.0], TrainConfig(), 10, [1, 1, 1], phase)
        model.fit(data, steps_per_epoch=1, shuffle=False, verbose=0)
        begin = time.process_time()
        model.fit(data, steps_per_epoch=5, shuffle=False, verbose=0)
        seconds.append(time.process_time() - begin)
    assert seconds[0] < 0.6 * seconds[1], seconds

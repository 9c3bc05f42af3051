"""One device, several, and several processes: the same weights, whoever dies on the way."""

import json
import os
import re
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmarks import distribution
from recycle_tf import create_model, runs
from recycle_tf.config import TrainConfig
from recycle_tf.data import pipeline, sources
from recycle_tf.errors import UserError
from recycle_tf.training import callbacks, ema, loop, multi_worker
from recycle_tf.training.strategy import synchronise
from tests.conftest import ROOT, run_python, tiny_training, write_photos
from tests.test_train import check_refused


def test_devices_and_workers_end_with_the_weights_of_one_device():
    """Clipping, accumulation and averaging; with synchronised batch norm and without any."""
    result = run_python("benchmarks/distribution.py")
    assert result.returncode == 0, result.stderr
    rows = [line.rsplit(maxsplit=3) for line in result.stdout.splitlines()[1:]]
    assert [row[0].strip() for row in rows] == [", ".join(case) for case in distribution.CASES]
    for case, moved, mirrored, workers in rows:
        assert float(moved) > 5e-3, case
        assert max(float(mirrored), float(workers)) < 1e-5, case


TRAINING = (
    "--arch=test_resnet_a",
    "--overrides=blocks_per_stage=(1,)",
    "--optimizer=sgd",
    "--learning_rate=0.05",
    "--epochs=30",
)


def start_worker(index, ports, *arguments):
    cluster = {"worker": [f"localhost:{port}" for port in ports]}
    config = {"cluster": cluster, "task": {"type": "worker", "index": index}}
    return subprocess.Popen(
        [sys.executable, "train.py", "--strategy=multi_worker", *arguments],
        cwd=ROOT,
        env={**os.environ, "TF_CONFIG": json.dumps(config)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_worker_that_dies_and_comes_back_goes_on_with_the_others(tmp_path):
    """Killed are first a worker, then the chief; the worker has a folder of its own and writes nothing."""
    photos = write_photos(tmp_path / "photos", count=20)
    flags = [*tiny_training(photos), *TRAINING]
    whole, killed = runs.Run(tmp_path / "whole"), runs.Run(tmp_path / "killed")
    result = run_python("train.py", *flags, f"--run_dir={whole.path}")
    assert result.returncode == 0, result.stderr

    ports = [distribution.free_port() for _ in range(2)]
    flags += ["--checkpoint_every=2steps"]
    folders = [f"--run_dir={killed.path}", f"--run_dir={tmp_path / 'elsewhere'}"]
    workers = [start_worker(index, ports, *flags, folders[index]) for index in range(2)]
    for victim in (1, 0):
        before = set(killed.checkpoints.glob("epoch*"))
        deadline = time.time() + 300
        while not {p for p in killed.checkpoints.glob("epoch*_step*") if p not in before}:
            assert all(worker.poll() is None for worker in workers), workers[0].communicate()
            assert time.time() < deadline
            time.sleep(0.01)
        workers[victim].kill()
        workers[victim].communicate()
        workers[victim] = start_worker(victim, ports, *flags, folders[victim])
    said = [worker.communicate(timeout=400) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    assert "another worker is gone; waiting for its command to be run again" in said[1][1]
    assert re.search(r"going on after epoch \d+, step \d of 5", said[0][0])
    assert "run       is written by the chief" in said[1][0]
    assert not (tmp_path / "elsewhere").exists()

    assert killed.complete
    for expected, found in zip(whole.history_rows(), killed.history_rows(), strict=True):
        for name in ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"):
            assert found[name] == pytest.approx(expected[name], rel=1e-3), (name, expected["epoch"])
    for a, b in zip(whole.load_model().weights, killed.load_model().weights, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-4)


def test_several_workers_need_a_right_tf_config(monkeypatch, photos, tmp_path):
    for text in (
        "",
        "{",
        "[]",
        '{"cluster": {}}',
        distribution_config(index=2),
        distribution_config(kind="ps"),
    ):
        monkeypatch.setenv("TF_CONFIG", text)
        with pytest.raises(
            UserError, match="--strategy=multi_worker: TF_CONFIG is .*; expected something like"
        ):
            multi_worker.make_strategy()
    result = run_python("train.py", *tiny_training(photos), "--strategy=multi_worker", env={"TF_CONFIG": ""})
    check_refused(result, "--strategy=multi_worker: TF_CONFIG is not set; expected something like {")


def distribution_config(index=0, kind="worker"):
    return json.dumps({"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": kind, "index": index}})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"checkpoint_every": "5m"}, "--checkpoint_every=5m: the clocks of several workers differ"),
        ({"data_service": "grpc://a:1"}, "--data_service: with --strategy=multi_worker each host makes"),
        ({"logical_cpus": 2}, "--logical_cpus: with --strategy=multi_worker each host has one CPU"),
    ],
)
def test_what_several_workers_could_not_do_alike(settings, message):
    with pytest.raises(UserError, match=message):
        TrainConfig(strategy="multi_worker", **settings)
    TrainConfig(strategy="multi_worker", checkpoint_every="500steps")


def test_a_worker_with_other_pictures_is_refused(photos, monkeypatch):
    strategy, source = tf.distribute.get_strategy(), sources.open_source(photos)
    multi_worker.refuse_other_data(strategy, source)
    monkeypatch.setattr(multi_worker, "from_chief", lambda strategy, value: value + 1)
    with pytest.raises(UserError, match="photos: not the pictures that the chief has"):
        multi_worker.refuse_other_data(strategy, source)


def test_a_batch_has_to_be_divided(photos, tmp_path):
    result = run_python("train.py", *tiny_training(photos), "--accumulate=3", f"--run_dir={tmp_path / 'run'}")
    check_refused(result, "--batch_size=8: not a multiple of the 1 devices times --accumulate=3")


@pytest.mark.parametrize("mix", ["none", "both"])
def test_the_parts_of_workers_make_up_the_batch(photos, mix):
    split = sources.open_source(photos).splits["train"]

    def batches(**share):
        made = pipeline.build_training(split, 3, 32, 12, augment="trivial", mix=mix, epochs=2, **share)
        return list(made.as_numpy_iterator())

    parts = [batches(share=(number, 3)) for number in range(3)]
    for whole, *pieces in zip(batches(), *parts, strict=True):
        for number in (0, 1):
            found = np.concatenate([piece[number] for piece in pieces])
            np.testing.assert_allclose(found, whole[number], atol=1e-3)


def batch():
    rng = np.random.default_rng(0)
    labels = np.eye(3, dtype=np.float32)[np.arange(8) % 3]
    return rng.uniform(0, 255, (8, 32, 32, 3)).astype(np.float32), labels


def compiled(arch, **settings):
    keras.utils.set_random_seed(0)
    config = TrainConfig(arch=arch, optimizer="sgd", learning_rate=0.1, epochs="2", warmup="0", **settings)
    model = create_model(arch, 3, 32)
    return loop.prepare(model, config, tf.distribute.get_strategy(), [1, 1, 1], 1, None).model


@pytest.mark.parametrize("passes", [2, 4])
def test_a_gradient_in_several_passes_is_that_of_the_batch(passes):
    whole, parts = compiled("test_lenet"), compiled("test_lenet", accumulate=passes)
    expected, found = (model.train_on_batch(*batch(), return_dict=True) for model in (whole, parts))
    assert found == pytest.approx(expected, rel=1e-5)
    assert parts.optimizer.iterations == 1
    for a, b in zip(whole.trainable_variables, parts.trainable_variables, strict=True):
        np.testing.assert_allclose(b, a, atol=1e-6)


def test_passes_with_recomputation_and_several_classifiers():
    whole, parts = compiled("test_googlenet"), compiled("test_googlenet", accumulate=2, clip_norm=0.01)
    before = [np.array(v) for v in parts.trainable_variables]
    assert whole.output.shape == parts.output.shape == (None, 3, 3)
    parts.train_on_batch(*batch())
    moved = sum(
        np.square(np.array(v) - b).sum() for v, b in zip(parts.trainable_variables, before, strict=True)
    )
    # Nesterov's momentum makes of the clipped gradient a step 1.9 times as long.
    assert np.sqrt(moved) <= 0.1 * 0.01 * 1.9 + 0.1 * 0.05 * np.sqrt(sum((b**2).sum() for b in before))
    recomputed = compiled("test_plain", accumulate=2, remat=True)
    kept = compiled("test_plain", accumulate=2)
    for model in (recomputed, kept):
        model.train_on_batch(*batch())
    for a, b in zip(recomputed.variables, kept.variables, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)


def test_the_average_is_evaluated_and_saved_when_better(tmp_path):
    model = compiled("test_lenet", ema=0.9)
    model.fit(*batch(), epochs=3, verbose=0)
    images, labels = batch()
    validation = tf.data.Dataset.from_tensors((images, labels))
    weights = [np.array(v) for v in model.trainable_variables]
    averages = [np.array(v) for v in model.optimizer._model_variables_moving_average]
    raw = model.evaluate(validation, verbose=0, return_dict=True)

    best = callbacks.BestModel(model, tmp_path / "model.keras")
    averaged = ema.AveragedWeights(validation, best)
    for callback in (best, averaged):
        callback.set_model(model)
    for worst, saved in ((raw["loss"] + 1e6, averages), (-1e6, weights)):
        best.best, best.epochs_since = (-1.0, 0.0), 0
        logs = {"val_accuracy": raw["accuracy"] * (worst < 0), "val_loss": worst}
        for callback in (best, averaged):
            callback.on_epoch_end(0, logs)
        assert best.epochs_since == 0
        kept = keras.saving.load_model(tmp_path / "model.keras", compile=False)
        for a, b in zip(kept.trainable_variables, saved, strict=True):
            np.testing.assert_array_equal(a, b)
        for a, b in zip(model.trainable_variables, weights, strict=True):
            np.testing.assert_array_equal(a, b)
        assert logs["val_ema_loss"] != raw["loss"]
    # A run that goes on knows both.
    row = {"val_accuracy": 0.1, "val_loss": 1.0, "val_ema_accuracy": 0.7, "val_ema_loss": 2.0}
    again = callbacks.BestModel(model, tmp_path / "model.keras", [row, {**row, "val_ema_accuracy": 0.6}])
    assert again.best == (0.7, -2.0)
    assert again.epochs_since == 1


def test_synchronised_where_a_device_has_little_of_a_batch():
    class Two:
        num_replicas_in_sync = 2

    model = create_model("test_resnet", 3)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]

    def synchronised(strategy, wanted, share):
        synchronise(model, strategy, wanted, share)
        assert len({layer.synchronized for layer in norms}) == 1
        return norms[0].synchronized

    assert synchronised(Two, "auto", 31)
    assert not synchronised(Two, "auto", 32)
    assert synchronised(Two, "on", 256)
    assert not synchronised(Two, "off", 4)
    assert not synchronised(tf.distribute.get_strategy(), "on", 4)


SEPARATE_STATISTICS = """
import sys, train
from recycle_tf.training import callbacks
def write(self):
    moving = [v.value for v in self.model.non_trainable_variables if "moving" in v.path]
    difference = max(abs(v.values[0] - v.values[1]).numpy().max() for v in moving)
    print("within" if self.progress.step else "after", difference)
callbacks.Checkpoint.write = write
train.main(sys.argv[1:])
"""


def test_devices_that_normalise_alone_are_saved_with_the_mean(photos, tmp_path):
    flags = ("--epochs=2", "--strategy=mirrored", "--logical_cpus=2", "--sync_batch_norm=off")
    result = run_python(
        "-c",
        SEPARATE_STATISTICS,
        *tiny_training(photos),
        *flags,
        "--checkpoint_every=2steps",
        f"--run_dir={tmp_path / 'run'}",
    )
    assert result.returncode == 0, result.stderr
    differences = {when: re.findall(rf"{when} (\S+)", result.stdout) for when in ("within", "after")}
    assert min(map(float, differences["within"])) > 1e-3
    assert max(map(float, differences["after"])) == 0


OVERFLOW_ON_THE_SECOND_DEVICE = """
from recycle_tf import cli
tf = cli.import_tensorflow()
import keras
from recycle_tf.training.optimizers import make_optimizer
from recycle_tf.training.strategy import make_strategy
keras.config.set_dtype_policy("mixed_float16")
strategy = make_strategy("mirrored", 2)
with strategy.scope():
    variable = keras.Variable([1.0, 2.0])
    optimizer = make_optimizer("sgd", 0.1, 0.0)
    optimizer.build([variable])

def device():
    number = tf.distribute.get_replica_context().replica_id_in_sync_group
    optimizer.apply([tf.where(number == 1, float("inf"), 1.0) * tf.ones(2)], [variable])

tf.function(lambda: strategy.run(device))()
print(variable.numpy().tolist())
"""


def test_a_step_that_overflows_on_any_device_is_left_out():
    result = run_python("-c", OVERFLOW_ON_THE_SECOND_DEVICE)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().endswith("[1.0, 2.0]")

"""Several devices and several processes: the weights of one device, also when a process is killed."""

import json
import os
import re
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

import train
from benchmarks import distribution
from recycle_tf import runs
from recycle_tf.config import TrainConfig
from recycle_tf.data import pipeline, sources
from recycle_tf.errors import UserError
from recycle_tf.training import multi_worker
from tests.conftest import (
    ROOT,
    check_refused,
    run_main,
    run_python,
    tiny_settings,
    tiny_training,
    write_photos,
)


@pytest.mark.parametrize(
    ("cases", "expected"),
    [("^batch norm, all of them", 1), pytest.param("", len(distribution.CASES), marks=pytest.mark.slow)],
)
def test_devices_and_workers_end_with_the_weights_of_one_device(cases, expected):
    """Clipping, accumulation and moving average; with synchronized batch norm and without batch norm."""
    result = run_python("benchmarks/distribution.py", f"--cases={cases}")
    assert result.returncode == 0, result.stderr
    rows = [line.rsplit(maxsplit=3) for line in result.stdout.splitlines()[1:]]
    assert len(rows) == expected
    for case, moved, mirrored, workers in rows:
        assert float(moved) > 5e-3, case
        assert max(float(mirrored), float(workers)) < 1e-5, case


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


@pytest.mark.parametrize("victims", [(1,), pytest.param((1, 0), marks=pytest.mark.slow)])
def test_a_killed_worker_resumes_with_the_others(tmp_path, victims):
    """Also the chief, worker 0. The other worker has its own run folder and writes nothing into it."""
    photos = write_photos(tmp_path / "photos", count=20)
    settings = {**tiny_settings(photos), "optimizer": "sgd", "learning_rate": 0.05, "epochs": "12"}
    whole = train.train(TrainConfig(**settings, run_dir=str(tmp_path / "whole")))

    killed = runs.Run(tmp_path / "killed")
    ports = [distribution.free_port() for _ in range(2)]
    flags = [f"--{name}={value}" for name, value in settings.items()] + ["--checkpoint_every=2steps"]
    folders = [f"--run_dir={killed.path}", f"--run_dir={tmp_path / 'elsewhere'}"]
    workers = [start_worker(index, ports, *flags, folders[index]) for index in range(2)]
    for victim in victims:
        before = set(killed.checkpoints.glob("epoch*"))
        deadline = time.time() + 300
        while not {p for p in killed.checkpoints.glob("epoch*_step*") if p not in before}:
            assert all(worker.poll() is None for worker in workers), workers[0].communicate()
            assert time.time() < deadline
            time.sleep(0.01)
        workers[victim].kill()
        workers[victim].communicate()
        workers[victim] = start_worker(victim, ports, *flags, folders[victim])
    outputs = [worker.communicate(timeout=400) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outputs
    assert re.search(r"resuming after epoch \d+, step \d of 5", outputs[0][0])
    assert not (tmp_path / "elsewhere").exists()

    assert killed.complete
    for expected, found in zip(whole.history_rows(), killed.history_rows(), strict=True):
        for name in ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"):
            assert found[name] == pytest.approx(expected[name], rel=1e-3), (name, expected["epoch"])
    for a, b in zip(whole.load_model().weights, killed.load_model().weights, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-4)


def tf_config(index=0, kind="worker"):
    return json.dumps({"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": kind, "index": index}})


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cluster": {}}', tf_config(index=2), tf_config(kind="ps")])
def test_an_invalid_tf_config_is_rejected(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError) as caught:
        multi_worker.make_strategy()
    for name in ("`strategy=multi_worker`", "TF_CONFIG", text, multi_worker.EXAMPLE):
        assert name in str(caught.value)


def test_a_missing_tf_config_is_rejected(monkeypatch, photos):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    result = run_main(train.main, *tiny_training(photos), "--strategy=multi_worker")
    check_refused(result, "--strategy=multi_worker", "TF_CONFIG")


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"checkpoint_every": "5m"}, "`checkpoint_every=5m`"),
        ({"time_limit": "5m"}, "`time_limit=5m`"),
        ({"data_service": "grpc://a:1"}, "`data_service`"),
        ({"logical_cpus": 2}, "`logical_cpus`"),
    ],
)
def test_settings_that_workers_cannot_follow_in_step_are_rejected(settings, name):
    with pytest.raises(UserError, match=name):
        TrainConfig(strategy="multi_worker", **settings)
    TrainConfig(strategy="multi_worker", checkpoint_every="500steps")


def test_a_worker_with_other_images_is_rejected(photos, monkeypatch):
    strategy, source = tf.distribute.get_strategy(), sources.open_source(photos)
    multi_worker.check_same_data(strategy, source)
    monkeypatch.setattr(multi_worker, "from_chief", lambda strategy, value: value + 1)
    with pytest.raises(UserError, match="photos"):
        multi_worker.check_same_data(strategy, source)


@pytest.mark.parametrize("mix", ["none", "both"])
def test_the_parts_of_all_workers_are_the_whole_batch(photos, mix):
    split = sources.open_source(photos).splits["train"]

    def batches(**share):
        made = pipeline.build_training(split, 3, 32, 12, augment="trivial", mix=mix, epochs=2, **share)
        return list(made.as_numpy_iterator())

    parts = [batches(share=(number, 3)) for number in range(3)]
    for whole, *pieces in zip(batches(), *parts, strict=True):
        for number in (0, 1):
            found = np.concatenate([piece[number] for piece in pieces])
            np.testing.assert_allclose(found, whole[number], atol=1e-3)

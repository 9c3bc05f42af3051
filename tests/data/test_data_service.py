"""Batches of a `tf.data` service."""

import collections
import contextlib
import socket
import time

import pytest
import tensorflow as tf

from recycle_tf.data import data_service, pipeline, sources
from recycle_tf.errors import UserError
from tests.conftest import check_refused, run_python, tiny_training


def test_each_example_arrives_once_per_epoch(photos):
    split = sources.open_source(photos).splits["train"]
    dispatcher = tf.data.experimental.service.DispatchServer()
    workers = [start_worker(dispatcher) for _ in range(2)]
    arguments = {"augment": "none", "seed": 7, "epochs": 3}
    here = list(pipeline.build_training(split, 3, 16, 5, **arguments))
    there = list(pipeline.build_training(split, 3, 16, 5, **arguments, data_service=dispatcher.target))
    assert len(there) == len(here) == 12

    def contents(found):
        return collections.Counter(image.numpy().tobytes() for images, _ in found for image in images)

    assert contents(there) == contents(here)
    assert all(worker._server.num_tasks() > 0 for worker in workers)


def unused_port():
    with contextlib.closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_nobody_listens(photos, monkeypatch):
    """TensorFlow itself waits forever."""
    monkeypatch.setattr(data_service, "SECONDS", 0.6)
    split = sources.open_source(photos).splits["train"]
    address = f"grpc://127.0.0.1:{unused_port()}"
    start = time.monotonic()
    with pytest.raises(UserError, match=f"`data_service={address}`"):
        pipeline.training_batches(split, 3, 16, 5, data_service=address)
    assert time.monotonic() - start < 5


def start_worker(dispatcher):
    address = dispatcher.target.removeprefix("grpc://")
    return tf.data.experimental.service.WorkerServer(tf.data.experimental.service.WorkerConfig(address))


def test_a_dispatcher_and_a_worker_that_start_late_are_found(monkeypatch):
    """`require` keeps trying until its time is over."""
    port, started = unused_port(), []

    def start(_):
        config = tf.data.experimental.service.DispatcherConfig(port=port)
        started.append(tf.data.experimental.service.DispatchServer(config))
        started.append(start_worker(started[0]))

    monkeypatch.setattr(time, "sleep", start)
    data_service.require(f"grpc://127.0.0.1:{port}")
    assert len(started) == 2


TRAIN = """
import sys, train
from recycle_tf import cli
cli.import_tensorflow()
from recycle_tf.data import data_service
data_service.WORKER_SECONDS = 1
sys.exit(train.main(sys.argv[1:]))
"""


def test_a_dispatcher_without_workers(photos, monkeypatch):
    monkeypatch.setattr(data_service, "WORKER_SECONDS", 0.5)
    dispatcher = tf.data.experimental.service.DispatchServer()
    split = sources.open_source(photos).splits["train"]
    with pytest.raises(UserError, match=f"`data_service={dispatcher.target}`.*worker"):
        pipeline.training_batches(split, 3, 16, 5, data_service=dispatcher.target)


@pytest.mark.slow
def test_training_without_workers_ends(photos, tmp_path):
    """One line and an end, although a thread of TensorFlow waits forever; and no run folder."""
    dispatcher = tf.data.experimental.service.DispatchServer()
    address = dispatcher.target
    flags = [*tiny_training(photos), f"--data_service={address}", f"--run_dir={tmp_path / 'run'}"]
    result = run_python("-c", TRAIN, *flags, timeout=120)
    check_refused(result, f"--data_service={address}", "worker")
    assert not (tmp_path / "run").exists()


def test_something_that_is_no_dispatcher(monkeypatch):
    monkeypatch.setattr(data_service, "WORKER_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"grpc://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(UserError, match=f"`data_service={address}`.*worker"):
            data_service.require(address)


@pytest.mark.parametrize(
    "address", ["127.0.0.1:5050", "grpc://host", "grpc://:5050", "http://a:1", "grpc://a:x"]
)
def test_other_addresses_are_errors(address):
    with pytest.raises(UserError, match="`data_service=.*grpc://HOST:PORT"):
        data_service.require(address)

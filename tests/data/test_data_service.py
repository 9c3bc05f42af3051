"""Batches of a `tf.data` service."""

import collections
import contextlib
import socket
import time

import pytest
import tensorflow as tf

from recycle_tf.data import data_service, pipeline, sources
from recycle_tf.errors import UserError


def test_each_example_arrives_once_per_epoch(photos):
    split = sources.open_source(photos).splits["train"]
    dispatcher = tf.data.experimental.service.DispatchServer()
    workers = [
        tf.data.experimental.service.WorkerServer(
            tf.data.experimental.service.WorkerConfig(dispatcher.target.removeprefix("grpc://"))
        )
        for _ in range(2)
    ]
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


def test_a_dispatcher_that_starts_late_is_found(monkeypatch):
    """`require` keeps trying until its time is over."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    monkeypatch.setattr(time, "sleep", lambda _: listener.listen())
    with contextlib.closing(listener):
        data_service.require(f"grpc://127.0.0.1:{listener.getsockname()[1]}")


@pytest.mark.parametrize(
    "address", ["127.0.0.1:5050", "grpc://host", "grpc://:5050", "http://a:1", "grpc://a:x"]
)
def test_other_addresses_are_errors(address):
    with pytest.raises(UserError, match="`data_service=.*grpc://HOST:PORT"):
        data_service.require(address)

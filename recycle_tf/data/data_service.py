"""The `tf.data` service, whose workers on other machines prepare the batches."""

import socket
import time
import urllib.parse

import tensorflow as tf

from recycle_tf.errors import UserError

SECONDS = 10
"""How long `require` tries to connect: TensorFlow itself would wait forever."""


def require(address):
    """Waits until the dispatcher of a service accepts connections.

    Args:
        address: `grpc://HOST:PORT`.

    Raises:
        UserError: not such an address, or nothing accepts connections there within `SECONDS`.
    """
    try:
        parts = urllib.parse.urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not (host and port and parts.scheme == "grpc"):
        raise UserError(f"`data_service={address}`: expected grpc://HOST:PORT")
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            socket.create_connection((host, port), timeout=SECONDS).close()
            return
        except OSError as error:
            if time.monotonic() > deadline - 0.5:
                raise UserError(
                    f"`data_service={address}`: no connection within {SECONDS} seconds "
                    f"({error.strerror or error}); start the dispatcher there"
                ) from error
            time.sleep(0.5)


def distribute(dataset, address):
    """Leaves a dataset to the workers of a service, each element to the next free one.

    Args:
        dataset: a `tf.data.Dataset`.
        address: `grpc://HOST:PORT`.

    Returns:
        A `tf.data.Dataset` of the same elements, in no repeatable order.
    """
    dynamic = tf.data.experimental.service.ShardingPolicy.DYNAMIC
    return dataset.apply(tf.data.experimental.service.distribute(dynamic, address))

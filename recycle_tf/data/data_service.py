"""The `tf.data` service, whose workers on other machines prepare the batches."""

import socket
import threading
import time
import urllib.parse

import tensorflow as tf

from recycle_tf.errors import UserError

SECONDS = 10
"""How long `require` tries to connect: TensorFlow itself would wait forever."""

WORKER_SECONDS = 60
"""How long `require` then waits for a worker; one that has just been started takes some seconds."""


def require(address):
    """Waits until the dispatcher of a service accepts connections and one of its workers answers.

    Args:
        address: `grpc://HOST:PORT`.

    Raises:
        UserError: not such an address, or nothing accepts connections there within `SECONDS`, or no worker
            answers within `WORKER_SECONDS`.
    """
    _connect(address)
    outcome = []

    def ask():
        try:
            outcome.append(next(iter(distribute(tf.data.Dataset.range(1), address))))
        except tf.errors.OpError as error:
            outcome.append(error)

    # TensorFlow waits forever, and cannot be interrupted. A daemon thread does not keep the process alive.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(WORKER_SECONDS)
    if not outcome:
        raise UserError(
            f"`data_service={address}`: none of its workers answers within {WORKER_SECONDS} seconds; start "
            "workers of the dispatcher there"
        )
    if isinstance(outcome[0], tf.errors.OpError):
        reason = outcome[0].message.partition("\n")[0]
        raise UserError(f"`data_service={address}`: not a tf.data service of this version ({reason})")


def _connect(address):
    """Waits until something accepts connections at an address."""
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
        # A UnicodeError of a host name such as `a..b`.
        except (OSError, UnicodeError) as error:
            if time.monotonic() > deadline - 0.5:
                raise UserError(
                    f"`data_service={address}`: no connection within {SECONDS} seconds "
                    f"({getattr(error, 'strerror', None) or error}); start the dispatcher there"
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

"""Does the same for every item in threads: of Python with a progress bar, and of tf.data."""

import concurrent.futures
import os

import tensorflow as tf
from tqdm import tqdm

MAX_THREADS = 16
"""Maximum number of threads: each may hold a decoded image of a hundred megapixels."""

MAX_AT_ONCE = 64
"""Largest number of items that a thread takes at once: handing over one takes as long as checking a small
image."""


def each(function, items, description):
    """Calls `function` with each item, in threads.

    Threads run at the same time only while `function` releases Python's lock, as reading and decoding do.

    Args:
        function: function of one item.
        items: a sequence.
        description: text before the progress bar, which is shown on standard error if that is a terminal.

    Returns:
        The results, in the order of `items`.

    Raises:
        Exception: that of the first item, in their order, that raised one; calls that no thread has taken by
            then are cancelled.
    """
    threads = min(MAX_THREADS, os.cpu_count() or 1)
    # Of few items fewer at once, so that all threads are busy until the end.
    size = max(1, min(MAX_AT_ONCE, len(items) // (16 * threads)))
    parts = [items[start : start + size] for start in range(0, len(items), size)]
    results = []
    pool = concurrent.futures.ThreadPoolExecutor(threads)
    try:
        with tqdm(None, description, len(items), leave=False, disable=None, delay=0.5) as progress:
            for found in pool.map(lambda part: [function(item) for item in part], parts):
                results += found
                progress.update(len(found))
        return results
    finally:
        pool.shutdown(cancel_futures=True)


def without_autotune(dataset):
    """A dataset whose threads are as many as there are cores, at most 16, from its first to its last element.

    tf.data's autotuning looks for a better number in a thread of its own, after 10 ms, 20 ms, 40 ms and so
    on, up to every minute. TensorFlow 2.21 does not wake that thread when an iterator is deleted: the end of
    every `fit`, `evaluate` and loop over a dataset waits for it, up to as long as the iteration has taken and
    at most a minute (docs/performance.md).

    Args:
        dataset: a `tf.data.Dataset`, complete.

    Returns:
        A `tf.data.Dataset` of the same elements.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)

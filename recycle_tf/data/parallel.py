"""Calls a function for every item in threads, with a progress bar."""

import concurrent.futures
import os

from tqdm import tqdm

MAX_THREADS = 16
"""Maximum number of threads: each may hold a decoded image of a hundred megapixels."""


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
        Exception: that of the first item, in their order, that raised one; calls that have not started by
            then are cancelled.
    """
    pool = concurrent.futures.ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1))
    try:
        results = pool.map(function, items)
        return list(tqdm(results, description, len(items), leave=False, disable=None, delay=0.5))
    finally:
        pool.shutdown(cancel_futures=True)

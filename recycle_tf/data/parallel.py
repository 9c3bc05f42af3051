"""Calls a function for every item in threads, with a progress bar."""

import concurrent.futures
import os

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

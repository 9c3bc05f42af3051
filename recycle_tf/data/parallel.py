"""The same for every picture: in threads, with a progress bar."""

import concurrent.futures
import os

from tqdm import tqdm

MOST = 16
"""Threads: each may hold a picture of a hundred megapixels, decoded."""


def each(function, items, doing):
    """Calls `function` with each item; it should leave Python while it works, as reading and decoding do.

    Args:
        function: of one item.
        items: a sequence.
        doing: a word before the bar, which stands on standard error while that is a terminal.

    Returns:
        The results, in the order of `items`.

    Raises:
        Exception: what the first item in that order raised; what has not begun by then is given up.
    """
    pool = concurrent.futures.ThreadPoolExecutor(min(MOST, os.cpu_count() or 1))
    try:
        results = pool.map(function, items)
        return list(tqdm(results, doing, len(items), leave=False, disable=None, delay=0.5))
    finally:
        pool.shutdown(cancel_futures=True)

"""A review of a small folder, and what its server answers."""

import contextlib
import http.client
import json
import threading

import pytest
from PIL import Image

from recycle_tf.data import sources
from recycle_tf.review import decisions, images, server


@pytest.fixture
def inbox(tmp_path):
    """A folder of two new images and a note."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    for name, color in (("a.png", "olive"), ("b.png", "navy")):
        Image.new("RGB", (40, 30), color).save(folder / name)
    (folder / "note.txt").write_text("not an image")
    return folder


@contextlib.contextmanager
def reviewing(photos, **more):
    """A running server of a review of `photos` that writes `reviewed.csv` beside it."""
    out = photos.parent / "reviewed.csv"
    review = images.collect(sources.open_source(str(photos), on_bad_image=sources.REPORT), out, **more)
    with decisions.Decisions(review, out) as decided, server.Server(review, decided) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def ask(running, place, body=None, token=None, method=None, headers=None):
    """Sends one request; returns status, headers and bytes of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", running.server_port, timeout=30)
    headers = {"Host": f"127.0.0.1:{running.server_port}", **(headers or {})}
    if body is not None:
        headers.setdefault("Content-Type", "application/json")
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
    path = f"/{running.token if token is None else token}/{place}"
    connection.request(method or ("GET" if body is None else "POST"), path, body, headers)
    answer = connection.getresponse()
    found = answer.status, answer.headers, answer.read()
    connection.close()
    return found


def write_findings(path, *findings):
    """Writes an `audit.json` with `(kind, files, labels)` or further keys as a dict."""
    rows = [
        {"kind": kind, "files": files, "labels": labels, "splits": ["train"] * len(files), "detail": "why"}
        | (more[0] if more else {})
        for kind, files, labels, *more in findings
    ]
    path.write_text(json.dumps({"findings": rows}))
    return path


@pytest.fixture(scope="session")
def browser(start_browser):
    """One window for all tests."""
    with start_browser() as window:
        yield window

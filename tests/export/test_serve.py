"""The server of the web page: what it answers, and to whom."""

import http.client
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from export import serve
from export.__main__ import main
from recycle_tf.errors import UserError
from tests.conftest import ROOT
from tests.export.conftest import check_error, run_command, served


@pytest.fixture
def folder(tmp_path):
    """A folder of web files, beside a file that does not belong to it."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "web" / "runtime").mkdir(parents=True)
    for name in ("index.html", "page.js", "icon.svg", "runtime/network.wasm"):
        (tmp_path / "web" / name).write_text(name)
    return tmp_path / "web"


@pytest.fixture
def port(folder):
    with served(folder) as port:
        yield port


def get(port, path, method="GET", **headers):
    """The response to a request, and its body; without a Host header if that is None."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def test_types_and_caching(port):
    expected = {
        "/": "text/html",
        "/page.js": "text/javascript",
        "/icon.svg": "image/svg+xml",
        "/runtime/network.wasm": "application/wasm",
    }
    for path, kind in expected.items():
        response, body = get(port, path)
        assert response.status == 200
        assert body.decode() == (path[1:] or "index.html")
        assert response.headers.get_content_type() == kind
        assert response.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/%00", 400),
        ("/page.js%00.txt", 400),
        ("/none", 404),
        ("/runtime/", 404),
        ("/../secret", 404),
        ("/%2e%2e/secret", 404),
        ("/runtime/..%2f..%2fsecret", 404),
    ],
)
def test_paths_that_are_not_served(port, capfd, path, status, method):
    response, body = get(port, path, method)
    assert response.status == status
    assert b"secret" not in body
    assert capfd.readouterr() == ("", "")


def test_links_out_of_the_folder_are_not_served(folder, port):
    (folder / "link").symlink_to(folder.parent / "secret")
    (folder / "parent").symlink_to(folder.parent)
    (folder / "inside").symlink_to(folder / "page.js")
    assert get(port, "/link")[0].status == 404
    assert get(port, "/parent/secret")[0].status == 404
    assert get(port, "/inside")[0].status == 200


def test_a_folder_behind_a_link_is_served(folder):
    (folder.parent / "link").symlink_to(folder)
    with served(folder.parent / "link") as port:
        assert get(port, "/page.js")[0].status == 200


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:80", "[::1]:8000", "LOCALHOST"])
def test_hosts_that_are_answered(port, host):
    assert get(port, "/page.js", Host=host)[0].status == 200


@pytest.mark.parametrize(
    "host", [None, "", "example.com", "localhost.example.com", "example.com:8000", "127.0.0.1.example.com"]
)
def test_hosts_that_are_refused(port, host):
    response, body = get(port, "/page.js", Host=host)
    assert response.status == 403
    assert b"page.js" not in body


def test_a_client_that_sends_nothing_is_disconnected(folder, capfd, monkeypatch):
    assert 1 <= serve.Handler.timeout <= 60
    monkeypatch.setattr(serve.Handler, "timeout", 0.2)
    with served(folder) as port, socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"GET /page.js HTTP/1.1\r\n")
        assert connection.recv(1) == b""
    assert capfd.readouterr() == ("", "")


def test_clients_that_leave_or_stop_reading_are_no_error(folder, capfd, monkeypatch):
    monkeypatch.setattr(serve.Handler, "timeout", 0.5)
    (folder / "large").write_bytes(bytes(30_000_000))
    with served(folder) as port:
        for _ in range(3):
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request("GET", "/large")
            connection.getresponse()
            connection.close()
        with socket.create_connection(("127.0.0.1", port)) as idle:
            idle.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert len(get(port, "/large")[1]) == 30_000_000
            time.sleep(1)
    assert capfd.readouterr() == ("", "")


def test_the_command(copy):
    (copy / "export" / "web").mkdir(parents=True)
    (copy / "export" / "web" / "index.html").write_text("page")
    process = subprocess.Popen(
        [sys.executable, "-m", "export", "serve", f"--run={copy}", "--port=0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # As in a terminal; a process that a shell started in the background ignores Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    port = int(re.match(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())[1])
    assert get(port, "/")[1] == b"page"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")


def test_without_a_page(copy):
    result = run_command(main, "serve", f"--run={copy}")
    check_error(result, copy / "export" / "web", f"--run={copy}", "--formats=web")
    check_error(run_command(main, "serve"), "--run")


def test_a_port_that_is_in_use(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port={port}"):
            serve.open_server(folder, port)

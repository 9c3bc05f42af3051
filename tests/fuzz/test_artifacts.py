"""Damaged artifacts: answers, or one line that names the file; and a page that any request may reach."""

import io
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from recycle_tf.errors import UserError
from recycle_tf.evaluation.predictor import open_predictor
from tests.conftest import ROOT
from tests.fuzz.mutations import answer_or_user_error, damaged, damaged_json, examples

SPEC = {
    "arch": "test",
    "image_size": 4,
    "resize": "stretch",
    "labels": ["can", "jar"],
    "threshold": 0.5,
    "temperature": 1.0,
    "rules": {
        "name": {"en": "here"},
        "source": "a sign",
        "bins": {"blue": {"en": "Blue", "color": "#2d6fb3"}, "gray": {"ko": "회색"}},
        "classes": {
            "can": {"bin": "blue", "source": "a sign", "question": {"en": "Full?", "if_yes": "gray"}},
            "jar": {"bin": "blue", "source": "a sign", "advice": {"en": "Empty it."}},
        },
        "costs": {"default": 1, "gray": {"blue": 4}},
    },
}


@pytest.fixture(scope="module")
def network():
    """The bytes of a `.tflite` file without a spec: uint8 `[1, 4, 4, 3]` to two probabilities."""

    @tf.function(input_signature=[tf.TensorSpec([1, 4, 4, 3], tf.uint8)])
    def answer(pixels):
        mean = tf.reduce_mean(tf.cast(pixels, tf.float32), [1, 2])
        return tf.nn.softmax(mean @ tf.constant([[0.01, 0.02], [0.02, 0.01], [0.0, 0.1]]))

    converter = tf.lite.TFLiteConverter.from_concrete_functions([answer.get_concrete_function()])
    return converter.convert()


def with_spec(network, spec):
    """A `.tflite` file as `python -m export` writes it."""
    archive = io.BytesIO(network)
    with zipfile.ZipFile(archive, "a") as associated:
        associated.writestr("spec.json", spec)
    return archive.getvalue()


def predict(path):
    """The answer of a file for a black image, or the `UserError`."""
    found = answer_or_user_error(open_predictor, path)
    if isinstance(found, UserError):
        assert path.name in str(found)
        return found
    probabilities = found.probabilities(np.zeros((1, found.image_size, found.image_size, 3), np.uint8))
    assert probabilities.shape == (1, len(found.labels))
    return probabilities


def test_a_whole_file_answers(network, tmp_path):
    path = tmp_path / "x.tflite"
    path.write_bytes(with_spec(network, json.dumps(SPEC)))
    assert predict(path).sum() == pytest.approx(1)


def test_any_spec(network, tmp_path):
    path = tmp_path / "x.tflite"

    @examples(80)
    @given(text=damaged_json(SPEC))
    def check(text):
        path.write_bytes(with_spec(network, text.encode("utf-8", "surrogatepass")))
        predict(path)

    check()


def test_a_damaged_archive(network, tmp_path):
    path = tmp_path / "x.tflite"
    whole = with_spec(network, json.dumps(SPEC))

    @examples(60)
    @given(archive=damaged(whole[len(network) :]))
    def check(archive):
        path.write_bytes(network + archive)
        predict(path)

    check()


ASK = r"""
import os, pathlib, sys
from recycle_tf import cli
cli.import_tensorflow()
from tests.fuzz.test_artifacts import predict
import ai_edge_litert.interpreter
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    child = os.fork()
    if child == 0:
        predict(path)
        os._exit(0)
    print(path.name, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Asks each file of a folder in a process of its own: LiteRT does not check a file before it runs it."""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_damaged_network(network, tmp_path):
    """Of other ends than an answer or one line only a crash of LiteRT itself is left."""
    contents = []

    @examples(20)
    @given(content=damaged(network))
    def collect(content):
        contents.append(content)

    collect()
    (tmp_path / "files").mkdir()
    for number, content in enumerate(contents):
        (tmp_path / "files" / f"{number:05d}.tflite").write_bytes(with_spec(content, json.dumps(SPEC)))
    result = subprocess.run(
        [sys.executable, "-c", ASK, str(tmp_path / "files")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    ends = [int(line.split()[-1]) for line in result.stdout.splitlines()]
    assert len(ends) == len(contents)
    crashes = [
        end for end in ends if end in (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGFPE, -signal.SIGBUS)
    ]
    print(f"{len(ends)} damaged networks, {len(crashes)} crashed LiteRT")
    assert set(ends) - set(crashes) == {0}, result.stderr


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of `python -m export serve`, and the file that collects its messages."""
    place = tmp_path_factory.mktemp("serve")
    page = place / "run" / "export" / "web"
    page.mkdir(parents=True)
    (page / "index.html").write_text("<!doctype html>the page")
    (place / "run" / "config.json").write_text(
        '{"config": {}, "labels": ["a", "b"], "fingerprint": "SECRET"}'
    )
    with open(place / "messages.txt", "w") as messages:
        process = subprocess.Popen(
            [sys.executable, "-m", "export", "serve", f"--run={place / 'run'}", "--port=0"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=messages,
            text=True,
        )
    port = int(re.search(r":(\d+)", process.stdout.readline())[1])
    yield port, pathlib.Path(messages.name)
    process.terminate()
    process.wait()
    process.stdout.close()


def ask(port, request):
    """What the server answers to the bytes of a request, until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        parts = []
        try:
            while part := connection.recv(65536):
                parts.append(part)
        except ConnectionResetError:
            pass
        return b"".join(parts)


PATHS = st.sampled_from(
    [
        "/", "/index.html", "/../../config.json", "/%2e%2e/%2e%2e/config.json", "/..%2f..%2fconfig.json",
        "//etc/passwd",
        "/....//....//config.json", "/index.html/", "/" + "a" * 5000, "/%ff", "/?x", "/#x", "*", "", "http://x/",
    ]
) | st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=20)  # fmt: skip
REQUESTS = st.builds(
    lambda method, path, version, header: f"{method} {path} {version}\r\n{header}\r\n\r\n".encode(),
    st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "get", "", "X" * 70000]),
    PATHS,
    st.sampled_from(["HTTP/1.0", "HTTP/1.1", "HTTP/0.9", "HTTP/9.9", "HTTP/x", ""]),
    st.sampled_from(
        [
            "",
            "Host: x",
            "Host: localhost",
            "If-Modified-Since: nonsense",
            "Range: bytes=0-99",
            "Content-Length: -1",
            "A" * 70000,
        ]
    )
    | st.text(max_size=20),
) | st.binary(max_size=60)


def test_any_request(server):
    port, messages = server

    @examples(60)
    @given(request=REQUESTS)
    def check(request):
        answer = ask(port, request)
        assert b"SECRET" not in answer
        assert b"root:" not in answer

    check()
    assert b"the page" in ask(port, b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
    assert messages.read_text() == ""


@pytest.mark.parametrize("path", ["/%00", "/%00.html", "/index.html%00"])
def test_a_path_with_a_zero_byte(server, path):
    port, messages = server
    answer = ask(port, f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
    assert answer.startswith((b"HTTP/1.0 400", b"HTTP/1.0 404"))
    assert messages.read_text() == ""

"""The process that converts: it answers, its failures are one line, and it does not outlive its parent."""

import os
import pathlib
import signal
import time

import numpy as np
import pytest
import tensorflow as tf

from export import converter, flat_buffer, tflite
from recycle_tf.errors import UserError
from tests.conftest import ROOT, run_python

PIXELS = tf.TensorSpec([1, 8, 8, 3], tf.uint8, name="pixels")
BLUR = np.random.default_rng(0).normal(size=(3, 3, 3, 2)).astype(np.float32)


def blurred(pixels):
    return {"probabilities": tf.nn.conv2d(tf.cast(pixels, tf.float32), BLUR, 1, "SAME")}


@pytest.fixture(scope="module")
def saved():
    with tflite.saved_endpoint(blurred, PIXELS) as folder:
        yield folder


@pytest.fixture
def alone(monkeypatch):
    """A process of this test's own."""
    process = converter._Process()
    monkeypatch.setattr(converter, "_PROCESS", process)
    yield process
    process.close()


EXACT = converter.Conversion(optimize=False)


def test_it_converts_and_prints_nothing(saved, capfd):
    content = converter.convert(saved, EXACT)
    assert flat_buffer.operations(content)["CONV_2D"] == 1
    assert converter.convert(saved, EXACT) == content
    assert capfd.readouterr() == ("", "")


def test_settings_reach_the_converter(saved):
    images = np.random.default_rng(0).integers(0, 256, (4, 1, 8, 8, 3), np.uint8)
    found = {
        name: [tensor.type for tensor in flat_buffer.read(content).subgraphs[0].tensors]
        for name, content in {
            "float32": converter.convert(saved, EXACT),
            "float16": converter.convert(saved, converter.Conversion(types=("float16",))),
            "int8": converter.convert(saved, converter.Conversion(representative=True), images),
        }.items()
    }
    half, byte = 1, 9  # of the schema
    assert half in found["float16"]
    assert half not in found["float32"]
    assert byte in found["int8"]


@pytest.mark.parametrize("settings", [{"operations": ("NO_SUCH_SET",)}, {"types": ("float17",)}])
def test_a_failure_is_one_line_and_the_next_conversion_works(saved, settings):
    with pytest.raises(UserError, match="converter failed: .*(NO_SUCH_SET|float17)") as caught:
        converter.convert(saved, converter.Conversion(**settings))
    assert "\n" not in str(caught.value)
    assert converter.convert(saved, EXACT)


def test_a_crash_is_one_line_and_the_next_conversion_works(saved, alone):
    converter.convert(saved, EXACT)
    os.kill(alone.child.pid, signal.SIGSEGV)
    with pytest.raises(UserError, match="converter crashed: SIGSEGV") as caught:
        converter.convert(saved, EXACT)
    assert "\n" not in str(caught.value)
    assert converter.convert(saved, EXACT)


def test_the_process_is_replaced_before_its_memory_grows(saved, alone, monkeypatch):
    monkeypatch.setattr(converter, "CONVERSIONS", 2)
    processes = []
    for _ in range(3):
        converter.convert(saved, EXACT)
        processes.append(alone.child.pid)
    assert processes[0] == processes[1] != processes[2]


PARENT = """
import os, signal, sys
from export import converter
try:
    converter.convert("/no/such/folder", converter.Conversion())
except Exception as error:
    print(error)
print(converter._PROCESS.child.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_does_not_outlive_a_parent_that_is_killed():
    result = run_python("-c", PARENT, cwd=ROOT)
    assert result.returncode == -signal.SIGKILL
    assert "converter failed" in result.stdout
    child = int(result.stdout.split()[-1])
    deadline = time.monotonic() + 60
    while os.path.exists(f"/proc/{child}") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not os.path.exists(f"/proc/{child}")


def test_it_leaves_a_gpu_to_the_process_that_needs_it(saved, alone):
    converter.convert(saved, EXACT)
    environment = pathlib.Path(f"/proc/{alone.child.pid}/environ").read_bytes().split(b"\0")
    assert b"CUDA_VISIBLE_DEVICES=-1" in environment

"""Peak memory of a `.tflite`, measured in a separate process: `python export/peak.py FILE`."""

import pathlib
import subprocess
import sys

STATUS = pathlib.Path("/proc/self/status")


def measure(path):
    """Peak memory that loading a file and one inference add to that of the runtime, in bytes.

    This is resident memory of a fresh process with one thread: the pages of the file, the weights that LiteRT
    repacks, and activations.

    Args:
        path: path of the `.tflite`.

    Returns:
        Bytes, or None if it could not be measured: not every operating system reports it (Linux does).
    """
    if not STATUS.is_file() or "VmHWM:" not in STATUS.read_text():
        return None
    # -P: modules beside this file must not hide installed ones of the same name.
    command = [sys.executable, "-P", __file__, str(path)]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    # Not measured, if the process was ended for its memory.
    return int(result.stdout) if result.returncode == 0 else None


def _resident(field):
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    from ai_edge_litert.interpreter import Interpreter

    before = _resident("VmRSS")
    interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
    interpreter.allocate_tensors()
    interpreter.invoke()
    print(_resident("VmHWM") - before)

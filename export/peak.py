"""Peak memory of a `.tflite`, measured in a process of its own: `python export/peak.py FILE`."""

import pathlib
import subprocess
import sys

STATUS = pathlib.Path("/proc/self/status")


def measure(path):
    """Bytes that loading a file and asking it once take at most, beyond what the runtime alone takes.

    They are resident memory of a fresh process with one thread: the file's own pages, weights that LiteRT
    packs for itself, and activations.

    Args:
        path: of the `.tflite`.

    Returns:
        Bytes, or None where the system does not say (it does on Linux).
    """
    if not STATUS.is_file():
        return None
    # -P: what lies beside this file must not be taken for modules.
    command = [sys.executable, "-P", __file__, str(path)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


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

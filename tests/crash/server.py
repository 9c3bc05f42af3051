"""Runs commands in forked children of a process that has imported TensorFlow but computed nothing with it.

Importing takes seconds, a fork takes milliseconds. A child can record what a kill at each of its file
operations would leave on disk, or be killed at one of them. As a program this module answers JSON lines on
standard input; `ForkServer` is its client.

An audit hook (`sys.addaudithook`) sees the file operations of Python code before they happen. It does not see
those of C++ code: TensorBoard's event files, and files that LiteRT or HDF5 write. `states.torn` covers these.
"""

import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]

CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink"}
WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class ForkServer:
    """A process that runs commands in forked children; a context manager.

    Args:
        output: file that collects what the commands print.
    """

    def __init__(self, output):
        self.output = output

    def __enter__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.server"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def run(self, argv, watch=None, snapshots=None, kill_at=None, timeout=1800):
        """Runs a command.

        Args:
            argv: name of the command and its flags.
            watch: folder whose file operations count; needed by the arguments below.
            snapshots: empty folder that receives a copy of `watch` before each operation.
            kill_at: number of the operation, from 0, before which the child kills itself.
            timeout: seconds, after which it is killed.

        Returns:
            Its exit status, negative if a signal ended it.
        """
        request = {
            "argv": [str(argument) for argument in argv],
            "watch": watch and str(watch),
            "snapshots": snapshots and str(snapshots),
            "kill_at": kill_at,
            "timeout": timeout,
            "output": str(self.output),
        }
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    @property
    def last_lines(self):
        """The end of what the last command printed."""
        text = pathlib.Path(self.output).read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-15:])


class Recorder:
    """An audit hook that copies a folder, or kills this process, before each file operation in it.

    Args:
        watch: the folder.
        snapshots: where copies go; None for no copies.
        kill_at: number of the operation before which to kill; None for never.
    """

    def __init__(self, watch, snapshots, kill_at):
        self.watch = pathlib.Path(watch)
        self.snapshots = snapshots and pathlib.Path(snapshots)
        self.kill_at = kill_at
        self.count = 0
        self.busy = threading.local()
        self.lock = threading.Lock()

    def __call__(self, event, arguments):
        if getattr(self.busy, "value", False) or not self._is_change(event, arguments):
            return
        self.busy.value = True
        try:
            with self.lock:
                if self.count == self.kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                if self.snapshots:
                    copy(self.watch, self.snapshots / f"{self.count:05d}")
                self.count += 1
        finally:
            self.busy.value = False

    def _is_change(self, event, arguments):
        if event == "open":
            path, _, flags = arguments
            return flags & WRITE_FLAGS != 0 and self._inside(path)
        if event not in CHANGES:
            return False
        # With a file descriptor of the folder the path is relative.
        by_descriptor = event in ("os.remove", "os.rmdir", "os.mkdir") and arguments[-1] != -1
        return by_descriptor or any(self._inside(path) for path in arguments[:2])

    def _inside(self, path):
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        return pathlib.Path(os.path.abspath(os.fsdecode(path))).is_relative_to(self.watch)


def copy(source, target):
    """Copies a folder that other threads may be changing."""

    def copy_file(file, to):
        try:
            return shutil.copyfile(file, to)
        except FileNotFoundError:
            return to

    shutil.copytree(source, target, copy_function=copy_file)


def content(folder):
    """`{path: SHA-256, or None of a folder}` below a folder, without the random parts of temporary names."""
    return {
        re.sub(r"\.partial-[^-/]*", ".partial-", path.relative_to(folder).as_posix()): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        )
        for path in sorted(folder.rglob("*"))
    }


def _child(request):
    """Runs a command; returns its exit status."""
    # Appends, so that a child of the child cannot overwrite it.
    descriptor = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    # The requests of the parent are not the command's input.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if request["watch"]:
        sys.addaudithook(Recorder(request["watch"], request["snapshots"], request["kill_at"]))
    try:
        return _main(request["argv"])
    except SystemExit as exit:
        return exit.code or 0
    except BaseException:
        traceback.print_exc()
        return 1


def _main(argv):
    command, *rest = argv
    if command == "train":
        import train

        return train.main(rest)
    if command == "export":
        import export.__main__

        return export.__main__.main(rest)
    import recycle_tf.__main__

    return recycle_tf.__main__.main(argv)


def _serve():
    from recycle_tf import cli

    cli.import_tensorflow()
    import matplotlib.pyplot  # noqa: F401
    import tqdm  # noqa: F401

    import export.__main__  # noqa: F401
    import recycle_tf.data.audit
    import recycle_tf.evaluation.audit_report
    import recycle_tf.evaluation.evaluate
    import recycle_tf.evaluation.predictor
    import recycle_tf.training.loop
    import recycle_tf.training.tensorboard  # noqa: F401
    import train  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            os._exit(_child(request))
        print(json.dumps(_wait(child, request["timeout"])), flush=True)


def _wait(child, timeout):
    """The exit status of a child, which is killed after a time."""
    timer = threading.Timer(timeout, os.kill, (child, signal.SIGKILL))
    timer.start()
    _, status = os.waitpid(child, 0)
    timer.cancel()
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    _serve()

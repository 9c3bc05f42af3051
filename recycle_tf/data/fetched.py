"""Images of another machine, fetched once: when they are checked, they are kept in a temporary file."""

import shutil
import tempfile
import threading

import tensorflow as tf


class Fetched:
    """The files of a remote folder. What has been read once is read from this machine's disk from then on.

    At most half of the free disk space is taken; files beyond that are fetched again each time.

    Args:
        root: the `remote.RemotePath` that names are relative to.
    """

    def __init__(self, root):
        self._root = root
        # Unnamed, so that nothing is left when the process ends, however it ends.
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        self._room = shutil.disk_usage(tempfile.gettempdir()).free // 2
        self._places, self._end = {}, 0
        self._lock = threading.Lock()

    def read(self, name):
        """The bytes of a file.

        Raises:
            FileNotFoundError: there is no such file.
            UserError: the other machine does not answer.
        """
        with self._lock:
            place = self._places.get(name)
            if place:
                self._file.seek(place[0])
                return self._file.read(place[1])
        content = (self._root / name).read_bytes()
        with self._lock:
            if self._end + len(content) <= self._room:
                self._keep(name, content)
        return content

    def _keep(self, name, content):
        """Writes a file to the end of the temporary one; if the disk is full, nothing more is kept."""
        self._file.seek(self._end)
        try:
            complete = self._file.write(content) == len(content)
        except OSError:
            complete = False
        if not complete:
            self._room = 0
            return
        self._places[name] = self._end, len(content)
        self._end += len(content)

    def encoded(self, names):
        """Function from an index in `names`, an int64 tensor, to the bytes of that file, a string tensor."""

        def read(index):
            found = tf.numpy_function(lambda chosen: self.read(names[chosen]), [index], tf.string)
            return tf.ensure_shape(found, [])

        return read

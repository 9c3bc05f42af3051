"""Folders on other machines, such as `gs://BUCKET/photos`, read through the file systems of TensorFlow.

`gs://` is part of TensorFlow; `s3://` comes with a plugin. Both take credentials from where their own tools
put them.
"""

import contextlib
import dataclasses
import errno
import io
import os
import posixpath
import re

from recycle_tf.errors import UserError
from recycle_tf.quiet import import_tensorflow

_URL = re.compile(r"[a-z][a-z0-9]*://")


def is_remote(text):
    """Whether a text is an address with a scheme, such as `gs://BUCKET/photos`."""
    return bool(_URL.match(str(text)))


@dataclasses.dataclass(frozen=True)
class RemotePath:
    """A file or folder on another machine. It offers what a dataset needs of a `pathlib.Path`.

    All methods raise a `UserError` of one line if its scheme, its host or the credentials do not work, and
    `FileNotFoundError` if there is nothing.

    Attributes:
        url: the address, without a slash at its end.
    """

    url: str

    def __str__(self):
        return self.url

    def __truediv__(self, name):
        return RemotePath(f"{self.url}/{name}")

    @property
    def name(self):
        """The last part of the address."""
        return self.url.rpartition("/")[2]

    @property
    def suffix(self):
        """The suffix of its name, with the dot."""
        return os.path.splitext(self.name)[1]

    @property
    def stem(self):
        """Its name without suffix."""
        return os.path.splitext(self.name)[0]

    @property
    def parent(self):
        """The folder that it lies in."""
        return RemotePath(self.url.rpartition("/")[0])

    def resolve(self):
        """The same: there are no links."""
        return self

    def exists(self):
        """Whether there is a file or folder."""
        return self._stat() is not None

    def is_dir(self):
        """Whether it is a folder."""
        found = self._stat()
        return found is not None and found.is_directory

    def is_file(self):
        """Whether it is a file."""
        found = self._stat()
        return found is not None and not found.is_directory

    def size(self):
        """The size of a file in bytes."""
        return self._stat().length

    def read_bytes(self):
        """The contents of a file."""
        tf = import_tensorflow()

        with _plainly(self), tf.io.gfile.GFile(self.url, "rb") as file:
            return file.read()

    def open(self, newline=None, encoding="utf-8"):
        """Its contents as an open file of text."""
        return io.TextIOWrapper(io.BytesIO(self.read_bytes()), encoding=encoding, newline=newline)

    def entries(self):
        """An `Entry` for each file and folder in it."""
        tf = import_tensorflow()

        with _plainly(self):
            # Google's storage marks a folder by a slash. A folder may have an object of its own, which has
            # no name in it.
            names = [name for name in tf.io.gfile.listdir(self.url) if name.strip("/")]
        return [Entry(name.strip("/"), self, name.endswith("/")) for name in names]

    def _stat(self):
        """What is known of it; None if there is nothing."""
        tf = import_tensorflow()

        try:
            with _plainly(self):
                return tf.io.gfile.stat(self.url)
        except FileNotFoundError:
            return None


@dataclasses.dataclass(frozen=True)
class Entry:
    """A file or folder in a remote folder, with the methods of an `os.DirEntry`.

    Attributes:
        name: its name.
        folder: the `RemotePath` that it lies in.
        marked: whether the listing shows that it is a folder.
    """

    name: str
    folder: RemotePath
    marked: bool

    def is_dir(self, *, follow_symlinks=True):
        """Whether it is a folder, which asks the other machine unless the name shows it."""
        del follow_symlinks  # There are no links.
        return self.marked or (self.folder / self.name).is_dir()

    def is_symlink(self):
        """Never."""
        return False

    def is_file(self, *, follow_symlinks=True):
        """Whether it is a file."""
        return not self.is_dir(follow_symlinks=follow_symlinks)


def path(url):
    """The `RemotePath` of an address, whose `.` and `..` are resolved.

    Raises:
        UserError: nothing but a scheme.
    """
    scheme, _, rest = str(url).partition("://")
    rest = posixpath.normpath(rest).strip("/")
    if rest in ("", ".", "..") or rest.startswith("../"):
        raise UserError(f"{url}: names no folder; expected for example {scheme}://BUCKET/photos")
    return RemotePath(f"{scheme}://{rest}")


@contextlib.contextmanager
def _plainly(path):
    """Within this context, an error of TensorFlow's file systems becomes `FileNotFoundError` or one line."""
    tf = import_tensorflow()

    try:
        yield
    except tf.errors.NotFoundError:
        raise FileNotFoundError(errno.ENOENT, "no such file or folder", path.url) from None
    except tf.errors.UnimplementedError:
        scheme = path.url.partition("://")[0]
        known = ", ".join(f"{name}://" for name in sorted(tf.io.gfile.get_registered_schemes()) if name)
        raise UserError(
            f"{path}: TensorFlow has no file system for {scheme}://, only {known}; install the plugin that "
            "brings it, or copy the folder to this machine"
        ) from None
    except tf.errors.OpError as error:
        reason = " ".join(error.message.split())[:200]
        raise UserError(
            f"{path}: cannot be read ({reason}); check the name, the network and the credentials"
        ) from None

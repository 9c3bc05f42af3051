"""Unpacks a ZIP archive of new photographs, such as the exported web page saves, into a folder.

An archive may come from anybody: it decides no path outside the folder, and no size beyond the limit.
"""

import pathlib
import shutil
import zipfile

from recycle_tf import files
from recycle_tf.data import decode
from recycle_tf.errors import UserError
from recycle_tf.paths import is_one_line, printable

MAX_BYTES = 4_000_000_000
"""Bytes of all images of an archive together: about a thousand photographs of a phone."""


def unpack(archive, folder):
    """Writes the images of an archive into a folder; other files, and hidden ones, are left out.

    Args:
        archive: `pathlib.Path` of a `.zip`.
        folder: `pathlib.Path` of the folder to write. If it exists, it must hold these images: a review is
            resumed by the same command.

    Raises:
        UserError: the archive is damaged, encrypted, too large, without images, or has a name that would lie
            outside the folder; or the folder holds something else or cannot be written.
    """
    place = f"`inbox={archive}`"
    with files.reading(place), zipfile.ZipFile(archive) as content:
        members = _members(archive, content)
        if folder.exists():
            return _check_same(archive, content, members, folder)
        with files.writing(folder), files.replacing_folder(folder) as temporary:
            for name, member in members.items():
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                # zipfile reads no more bytes than the size that was checked, and compares their CRC-32.
                with (
                    files.reading(place),
                    content.open(member) as source,
                    files.writing(folder),
                    open(temporary / name, "xb") as target,
                ):
                    shutil.copyfileobj(source, target)


def _members(archive, content):
    """`{name: ZipInfo}` of the images in an archive."""
    found = {}
    for member in content.infolist():
        name = pathlib.PurePosixPath(member.filename)
        hidden = any(part.startswith(".") and part not in (".", "..") for part in name.parts)
        if member.is_dir() or hidden or name.suffix.lower() not in decode.SUFFIXES:
            continue
        if not _stays_inside(member.filename):
            shown = printable(member.filename)
            raise UserError(f"`inbox={archive}`: {shown:.100} is not a printable path inside a folder")
        if name in found:
            raise UserError(f"`inbox={archive}`: {name} is in it twice")
        found[name] = member
    if not found:
        raise UserError(f"`inbox={archive}`: no images in this archive")
    total = sum(member.file_size for member in found.values())
    if total > MAX_BYTES:
        raise UserError(
            f"`inbox={archive}`: {total:,} bytes of images, at most {MAX_BYTES:,} are unpacked; unpack it "
            "yourself and give the folder"
        )
    return found


def _stays_inside(name):
    """Whether a name means a file below the folder on every system; Windows has backslashes and drives."""
    parts = name.split("/")
    return is_one_line(name) and not set(parts) & {"", ".", ".."} and not set(name) & set("\\:")


def _check_same(archive, content, members, folder):
    for name, member in members.items():
        file = folder / name
        same = file.is_file() and file.stat().st_size == member.file_size
        if not same or file.read_bytes() != content.read(member):
            raise UserError(
                f"`inbox={archive}`: would be unpacked into {folder}, which holds something else; rename "
                f"the archive, or give `inbox={folder}`"
            )

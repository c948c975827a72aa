"""Writes files of a bundle into a user's folder, never outside of it, and never over existing files. Blocks.

A path of a bundle is checked (`events.language.file_paths`), so it has no `..`. This module follows no link below the
folder, writes a file completely or not at all, and replaces existing files only with `force`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3

from events.language.common import shown
from events.objects.below import Changed, entered, open_plain
from events.objects.manifest import BundleFile

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 1 << 20


class InTheWay(Exception):
    """Something else is at the path of a file. The text says what, and where."""


def is_there(folder: Path, file: BundleFile, stop: Callable[[], None] = lambda: None) -> bool:
    """Whether the path has a file with these bytes; False if it has nothing. `stop` is called often, and may raise.
    Raises InTheWay for anything else."""
    try:
        with _above(folder, file.path, make=False) as (above, name):
            opened = open_plain(name, above)
    except FileNotFoundError:
        return False
    except Changed:
        raise InTheWay(f"{shown(file.path)} is there, and no file") from None
    except OSError as error:
        raise _in_the_way(file.path, error) from None
    with opened as reader:
        if os.fstat(reader.fileno()).st_size == file.size:
            seen = blake3()
            while piece := reader.read(_PIECE):
                stop()
                seen.update(piece)
            if seen.hexdigest() == file.digest:
                return True
    raise InTheWay(f"{shown(file.path)} is there with other content")


def write_file(
    folder: Path, file: BundleFile, fetch: Callable[[Callable[[], BinaryIO]], None], *, force: bool = False
) -> None:
    """Write a file. `fetch`: gets a function that opens the new file; it writes the bytes and checks them.

    Raises InTheWay, OSError, and what `fetch` raises; then nothing of the file is left.
    """
    try:
        with _above(folder, file.path, make=True) as (above, name):
            fresh = f".{os.urandom(8).hex()}.part"

            def opened() -> BinaryIO:
                with suppress(FileNotFoundError):
                    os.unlink(fresh, dir_fd=above)  # of a try that was cut
                return open(os.open(fresh, _NEW, 0o777 if file.executable else 0o666, dir_fd=above), "wb")

            try:
                fetch(opened)
                _place(fresh, name, above, force)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(fresh, dir_fd=above)
    except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
        raise _in_the_way(file.path, error) from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _in_the_way(file.path, error) from None
        raise


def _place(fresh: str, name: str, above: int, force: bool) -> None:
    if force:
        os.replace(fresh, name, src_dir_fd=above, dst_dir_fd=above)
        return
    try:
        os.link(fresh, name, src_dir_fd=above, dst_dir_fd=above, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        with suppress(FileNotFoundError):  # a file system without hard links
            os.stat(name, dir_fd=above, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        os.rename(fresh, name, src_dir_fd=above, dst_dir_fd=above)


@contextmanager
def _above(folder: Path, path: str, *, make: bool) -> Iterator[tuple[int, str]]:
    """The folder of a file, open and reached through no link, and the file's name. `make`: what is missing."""
    above, _, name = path.rpartition("/")
    with entered(folder, above, make=make, may_be_link=True) as opened:  # the person's own may be a link
        yield opened, name


def _in_the_way(path: str, error: OSError) -> InTheWay:
    why = _IN_THE_WAY.get(error.errno or 0, f"can't be looked at: {error.strerror}")
    return InTheWay(f"{shown(path)} {why}")


_IN_THE_WAY = {
    errno.ELOOP: "leads through a link or a file",
    errno.ENOTDIR: "leads through a link or a file",
    errno.EEXIST: "is there by now",
    errno.EISDIR: "is there, and no file",
    errno.ENXIO: "is there, and no file",  # a socket
}

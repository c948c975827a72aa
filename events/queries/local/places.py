"""Where a service's local socket lies: `sockets/PORT` in the platform's data folder, by its gRPC server's port of
127.0.0.1, and `sockets/PORT-v6` by that of ::1.

A process that may write there is its user's, as is one that can read the platform's key, which lies beside it. So a
gateway that finds a socket there has found the service that its address names. Gateway and service of two machines, or
of two containers, have no such folder in common, or other addresses than the loopback's.
"""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

FOLDER = "sockets"

MOST_PATH_BYTES = 103
"""Of a Unix socket's name on the strictest system."""

_FOUR, _SIX = "{port}", "{port}-v6"
"""Names of sockets: a port of 127.0.0.1 and the same port of ::1 may be two services'."""

_NAMES = {
    "127.0.0.1": (_FOUR,),
    "::1": (_SIX,),
    **dict.fromkeys(("localhost", "0.0.0.0", "::", ""), (_FOUR, _SIX)),  # gRPC listens at both addresses then
}
"""By a server's host."""

_CALLED = frozenset({"127.0.0.1", "::1", "localhost"})


class NoPlace(Exception):
    """There can be no socket, or none that is to be trusted; the text says why."""


class Listening(NamedTuple):
    """A socket that a server listens at."""

    socket: socket.socket
    path: Path
    inode: int

    def remove(self) -> None:
        """Take its name away, if it still is this socket's."""
        with suppress(FileNotFoundError):
            if self.path.lstat().st_ino == self.inode:
                self.path.unlink()


def socket_of(data: Path, address: str) -> Path | None:
    """The socket of the service whose gRPC address is ``host:port``; None where that is not this machine's, or where
    the name is too long for a socket."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if host not in _CALLED:
        return None
    path = data / FOLDER / _NAMES[host][0].format(port=port)
    return path if len(os.fsencode(path)) <= MOST_PATH_BYTES else None


def listening(data: Path, host: str, port: int) -> list[Listening]:
    """Listening sockets for a server whose gRPC address this is; none where that is not for this machine's callers.

    A server at both addresses may have got one of them only: then the other has a socket of another server's, which
    stays. Raises NoPlace when there can be no socket at all.
    """
    made, problem = list[Listening](), None
    for name in _NAMES.get(host.strip("[]"), ()):
        try:
            made.append(_listen(data / FOLDER / name.format(port=port)))
        except NoPlace as found:
            problem = found
    if problem is not None and not made:
        raise problem
    return made


def _listen(path: Path) -> Listening:
    """Raises NoPlace."""
    if len(os.fsencode(path)) > MOST_PATH_BYTES:
        raise NoPlace(
            f"the name {path} is too long for a socket ({MOST_PATH_BYTES} bytes); a data folder with a shorter name "
            f"has room for one"
        )
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_folder(path.parent)
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(path.lstat().st_mode):
                raise NoPlace(f"{path} is no socket; remove it")
            if _is_alive(path):
                raise NoPlace(f"another process listens at {path}")
            path.unlink()  # of one that was killed
        made.bind(str(path))
        path.chmod(0o600)
        made.listen(64)
        made.setblocking(False)
        return Listening(made, path, path.lstat().st_ino)
    except OSError as error:
        made.close()
        raise NoPlace(f"no socket can be made at {path}: {error.strerror or error}") from None
    except NoPlace:
        made.close()
        raise


def _is_alive(path: Path) -> bool:
    """Whether a process listens at a socket's name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.setblocking(False)
        try:
            caller.connect(str(path))
        except BlockingIOError:  # many wait there already
            return True
        except OSError:
            return False
        return True


def check_folder(folder: Path) -> None:
    """Raises NoPlace when others may enter it, and FileNotFoundError when it is not there."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise NoPlace(f"{folder} is no folder of this user's alone; make it that: chmod 0700")

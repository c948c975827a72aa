"""Where a service's local socket lies: `sockets/PORT` in the platform's data folder, by the port of its gRPC server.

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

FOLDER = "sockets"

MOST_PATH_BYTES = 103
"""Of a Unix socket's name on the strictest system."""

_LOCAL = frozenset({"127.0.0.1", "::1", "[::1]", "localhost"})
_ANY = frozenset({"0.0.0.0", "::", "[::]", ""})


class NoPlace(Exception):
    """There can be no socket, or none that is to be trusted; the text says why."""


def socket_of(data: Path, address: str) -> Path | None:
    """The socket of the service whose gRPC address is ``host:port``; None where that is not this machine's."""
    host, _, port = address.rpartition(":")
    return data / FOLDER / port if host in _LOCAL else None


def listening(data: Path, host: str, port: int) -> tuple[socket.socket, Path] | None:
    """A listening socket for a server whose gRPC port this is; None where that port is not for this machine's callers.

    The port is the server's alone, so what lies in the socket's place is of one that ended. Raises NoPlace.
    """
    if host not in _LOCAL | _ANY:
        return None
    path = data / FOLDER / str(port)
    if len(os.fsencode(path)) > MOST_PATH_BYTES:
        raise NoPlace(f"the name {path} is too long for a socket ({MOST_PATH_BYTES} bytes)")
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_folder(path.parent)
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(path.lstat().st_mode):
                raise NoPlace(f"{path} is no socket; remove it")
            path.unlink()
        made.bind(str(path))
        path.chmod(0o600)
        made.listen(64)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise NoPlace(f"no socket can be made at {path}: {error.strerror or error}") from None
    except NoPlace:
        made.close()
        raise
    return made, path


def check_folder(folder: Path) -> None:
    """Raises NoPlace when others may enter it, and FileNotFoundError when it is not there."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise NoPlace(f"{folder} is no folder of this user's alone; make it that: chmod 0700")

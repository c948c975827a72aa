"""Chooses the TCP ports of the platform's servers. Must not know what listens on them.

A server binds its port only seconds later, and again at each restart. A test whether the port is in use is not enough:
two platforms that start at the same time would both find it free, and messages for one of them would reach the other.
So a process that takes a port here also binds the UDP port of the same number, which no other process can then bind.
That is atomic on every system and for all users, and the system releases it when the process ends.
"""

from __future__ import annotations

import errno
import itertools
import logging
import random
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from forgelog.embedded.process import EmbeddedError

HOST = "127.0.0.1"
_PATIENCE, _PAUSE = 1.0, 0.01
"""Seconds: somebody who looks at a port holds it meanwhile."""

log = logging.getLogger("forgelog.supervisor")
_held: dict[int, socket.socket] = {}
_lock = threading.Lock()  # ports are chosen in threads


def free_port(wanted: int = 0, avoid: Sequence[int] = ()) -> int:
    """`wanted` if it is free, else another port (not one of `avoid`), if possible one of `lasting_ports`.

    Until this process ends, `free_port` gives that port to no other process of any user. In this process it is given
    again only if it is `wanted` by number. Raises EmbeddedError when there is none.
    """
    lasting = lasting_ports()
    others = random.SystemRandom().sample(lasting, min(len(lasting), 200))
    with _lock:
        if wanted and wanted not in avoid and _take(wanted):
            return wanted
        for port in itertools.chain(others, (_any() for _ in range(20))):
            if port not in avoid and port not in _held and _take(port):
                return port
    raise EmbeddedError(f"no free TCP port on {HOST}: too many are in use; end some programs and try again")


def is_free(port: int) -> bool:
    """Whether `free_port` would give this one out now."""
    with _lock:
        ours = port in _held
        free = _take(port)
        if free and not ours:
            _held.pop(port).close()
        return free


def hold(port: int) -> bool:
    """Keep others from being given a port that a server of ours is believed to have: it needn't be free.

    Blocks for up to a second where somebody else holds it. False, and a line in the log, when they go on to.
    """
    until = time.monotonic() + _PATIENCE
    while True:
        with _lock:
            if _hold(port):
                return True
        if time.monotonic() > until:
            log.warning("port %d can't be held: another program has it, or its UDP port", port)
            return False
        time.sleep(_PAUSE)


def lasting_ports() -> range:
    """Ports that the system gives to no outgoing connection.

    A server keeps its port over its restarts. Were it one of those, any connection of any program could take it while
    the server is down, and hold it for as long as it likes.
    """
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        first = 49_152  # RFC 6335, as macOS has it
    return range(max(10_000, first - 20_000), max(10_000, first))


def _take(port: int) -> bool:
    """Hold it, if nobody else does and nobody listens on it."""
    ours = port in _held
    if not _hold(port):
        return False
    if _listened(port):
        if not ours:
            _held.pop(port).close()
        return False
    return True


def _hold(port: int) -> bool:
    if port in _held:
        return True
    holder = _socket(socket.SOCK_DGRAM)
    try:
        holder.bind((HOST, port))
        holder.connect((HOST, port))  # to itself: nobody else's datagrams are taken in
    except OSError as error:
        holder.close()
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        return False
    _held[port] = holder
    return True


def _listened(port: int) -> bool:
    with _socket(socket.SOCK_STREAM) as probe:
        # As the servers do: a port whose last connections are in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            return True
    return False


def _any() -> int:
    """Of the system's choice."""
    with _socket(socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _socket(kind: socket.SocketKind) -> socket.socket:
    """Raises EmbeddedError."""
    try:
        return socket.socket(socket.AF_INET, kind)
    except OSError as error:  # too many open files, as a rule
        raise EmbeddedError(f"no port can be looked at: {error.strerror}") from None

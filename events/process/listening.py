"""Which user's program listens on a port of this machine, and why a server of ours can't listen there. A server is away
for a moment when it starts or crashes, and every user may take its port then: what is secret goes to no program of
another user's.

Linux tells whose program listens; elsewhere nothing is known, and nobody is suspected.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import pwd
import re
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))

_LISTENING = re.compile(r" *\d+: [0-9A-F]+:[0-9A-F]{4} \S+ 0A ")
"""A line whose state is TCP_LISTEN. They come first in the kernel's tables (its ``networking/proc_net_tcp.rst``), so
connections, thousands of them on a busy machine, are not read."""


def stranger(host: str, port: int, ours: Iterable[int] = ()) -> str:
    """The name of another user whose program listens there; empty when there is none.

    Of ours are our own user, root, and the users `ours`. A `host` that is no loopback address is not of this machine,
    for all we know.
    """
    known = {0, os.geteuid(), *ours}
    return next((user_name(user) for user in sorted(listeners(host, port)) if user not in known), "")


def cannot_listen(host: str, port: int, *, shared: bool = False) -> str:
    """Why no server can listen there now, and what to do; empty if one can. It tries. `host`: an IP address, or
    ``localhost`` for 127.0.0.1. `shared`: servers of this user that say so have the port together (SO_REUSEPORT)."""
    if not port:
        return "has port 0; give one that clients can know, such as 7080"
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return "names a host; give an IP address of this machine, such as 127.0.0.1, or 0.0.0.0 for all of them"
    try:
        with socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_STREAM) as probe:
            # As the servers do: a port whose last connections are in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            probe.bind((str(address), port))  # without `listen`, which would take connections from a shared port
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return "another program listens on its port; end that program, or give another port"
        if error.errno == errno.EACCES:
            return "its port is for root's programs only; give one from 1024 on, such as 7080"
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            return (
                "names an address that this machine does not have; give one of this machine, such as 127.0.0.1, or "
                "0.0.0.0 for all of them"
            )
        return f"can't be listened on: {error.strerror}; give another address"
    return ""


def listeners(host: str, port: int, tables: Iterable[Path] = TABLES) -> set[int]:
    """The users whose programs a connection to a loopback address may get to."""
    wanted = _loopback(host)
    exact, wide = set[int](), set[int]()
    for table in tables if wanted else ():
        for address, user in _of(table, port):
            if address in wanted:
                exact.add(user)
            elif address.is_unspecified:
                wide.add(user)
    return exact or wide


def _loopback(host: str) -> set[Address]:
    if host == "localhost":
        return {ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1")}
    try:
        address = _plain(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return set()
    return {address} if address.is_loopback else set()


def _of(table: Path, port: int) -> Iterator[tuple[Address, int]]:
    """Address and user of what listens on a port."""
    try:
        with table.open() as lines:
            next(lines, None)  # the columns' names
            found = [line.split(maxsplit=8) for line in takewhile(_LISTENING.match, lines)]
    except OSError:
        return
    for _, local, _, _, _, _, _, user, _ in found:
        address, _, number = local.partition(":")
        if int(number, 16) != port:
            continue
        # Words of 32 bits, each as the machine has them in its memory.
        words = (int(address[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(address), 8))
        yield _plain(ipaddress.ip_address(b"".join(words))), int(user)


def _plain(address: Address) -> Address:
    return getattr(address, "ipv4_mapped", None) or address


def user_name(user: int) -> str:
    """As the system calls that user, if it does."""
    with suppress(KeyError):
        return pwd.getpwuid(user).pw_name
    return f"user {user}"

"""Free ports for the tasks of services, and the address by which they are called."""

from __future__ import annotations

import errno
import ipaddress
import secrets
import socket
from collections.abc import Collection

ANY = (("", socket.AF_INET), ("::", socket.AF_INET6))
NO_SUCH_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
"""A machine without IPv6 says so."""


class NoPorts(Exception):
    """There are not enough free ports. The text says so."""


def pick(count: int, ports: range, taken: Collection[int]) -> list[int]:
    """So many ports that nothing listens on, none of `taken`: those of tasks that may not listen yet. Raises NoPorts.

    Begins anywhere: a port that was given back a moment ago is likely to be asked by somebody still."""
    found: list[int] = []
    start = secrets.randbelow(len(ports))
    for step in range(len(ports)):
        if len(found) == count:
            break
        port = ports[(start + step) % len(ports)]
        if port not in taken and is_free(port):
            found.append(port)
    if len(found) < count:
        raise NoPorts(
            f"needs {count} ports, and of {ports[0]}-{ports[-1]} {len(found)} are free on this node; "
            "FORGELOG_NODE_PORTS of its agent says from where to where they are taken"
        )
    return found


def is_free(port: int) -> bool:
    """Whether no socket of any address has it."""
    for address, family in ANY:
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind((address, port))
        except OSError as error:
            if error.errno not in NO_SUCH_FAMILY:
                return False
    return True


def own_address(kafka: str) -> str:
    """This machine's address on the way to the broker (``host:port``, several with commas between): where the platform
    is on loopback, tasks are called on it too. Raises OSError."""
    host, _, port = kafka.split(",")[0].strip().rpartition(":")
    found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)
    family, _, _, _, target = found[0]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(target)  # sends nothing
        own = str(probe.getsockname()[0]).partition("%")[0]
    return "127.0.0.1" if ipaddress.ip_address(own).is_loopback else own

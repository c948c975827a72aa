"""What network interfaces do instead of the CPU, as the kernel tells ethtool (include/uapi/linux/ethtool.h)."""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct

_SIOCETHTOOL = 0x8946
_GSTRINGS, _GSSET_INFO, _GFEATURES = 0x1B, 0x37, 0x3A
_FEATURES = 4
"""The kernel's list of features' names (`ETH_SS_FEATURES`)."""
_NAME = 32
"""Bytes of a feature's name (`ETH_GSTRING_LEN`)."""
_BLOCK = struct.Struct("=4I")
"""Of 32 features, a bit each: available, asked for, active, never changed."""

_OF_CARDS = ("rx-", "tx-", "hw-", "esp-hw-", "tls-hw-", "macsec-hw-", "l2-fwd-")
_BY_SOFTWARE = frozenset(
    {
        "rx-all",
        "rx-fcs",
        "rx-gro",
        "rx-gro-list",
        "rx-udp-gro-forwarding",
        "tx-generic-segmentation",
        "tx-gso-list",
        "tx-gso-partial",
        "tx-gso-robust",
        "tx-lockless",
        "tx-nocache-copy",
    }
)
"""Features of these names that the CPU does, or that are no work."""


def offloads(interface: str) -> tuple[str, ...]:
    """The features that are on, such as ``tx-tcp-segmentation``; none where the kernel does not say."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            return tuple(name for name in _active(asking, interface) if _is_offload(name))
    except OSError:
        return ()


def _is_offload(name: str) -> bool:
    return name.startswith(_OF_CARDS) and name not in _BY_SOFTWARE


def _active(asking: socket.socket, interface: str) -> list[str]:
    told = _ask(asking, interface, struct.pack("=IIQI", _GSSET_INFO, 0, 1 << _FEATURES, 0))
    (count,) = struct.unpack_from("=I", told, 16)
    names = _ask(asking, interface, struct.pack("=III", _GSTRINGS, _FEATURES, count) + bytes(count * _NAME))
    blocks = (count + 31) // 32
    states = _ask(asking, interface, struct.pack("=II", _GFEATURES, blocks) + bytes(blocks * _BLOCK.size))
    found = []
    for number in range(count):
        _, _, active, _ = _BLOCK.unpack_from(states, 8 + number // 32 * _BLOCK.size)
        if active >> number % 32 & 1:
            start = 12 + number * _NAME
            found.append(names[start : start + _NAME].split(b"\0")[0].decode(errors="replace"))
    return found


def _ask(asking: socket.socket, interface: str, request: bytes) -> bytes:
    """The kernel's answer, which it writes over the request. Raises OSError."""
    answer = ctypes.create_string_buffer(request, len(request))
    # `struct ifreq`: the interface's name and a pointer
    fcntl.ioctl(asking, _SIOCETHTOOL, struct.pack("16sP16x", interface.encode()[:15], ctypes.addressof(answer)))
    return answer.raw

"""Where a process can be reached: the address of its node, and ports.

Knows no context, no sockets.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from events.language.base import Model

_HOST = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")


def _is_address(value: str) -> str:
    if not value:
        return value
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        if not _HOST.fullmatch(value) or value.rstrip(".").rpartition(".")[2].isdigit():
            problem = "is neither an IP address nor a host's name; write for example 10.0.0.7, without a port"
            raise ValueError(problem) from None
        return value
    if address.is_unspecified or address.is_multicast:
        raise ValueError("names no single host; write an address by which others reach it, such as 10.0.0.7")
    return value


Address = Annotated[str, StringConstraints(max_length=253), AfterValidator(_is_address), Field(examples=["10.0.0.7"])]
"""An IP address (IPv6 without brackets) or a host's name; empty where none is known."""

Port = Annotated[int, Field(ge=1, le=65_535)]
"""A TCP port."""

_PORT_NAME = r"^[a-z]([a-z0-9-]{0,13}[a-z0-9])?$"

PortName = Annotated[str, StringConstraints(pattern=_PORT_NAME), Field(examples=["http"])]
"""A name for a port: 1-15 lower-case letters, digits and ``-``; a letter first, no ``-`` at the end (RFC 6335)."""

OptionalPortName = Annotated[str, StringConstraints(pattern=rf"^$|{_PORT_NAME}")]
"""A `PortName`, or empty."""


class PortRange(Model):
    """Ports from `first` to `last`, both included."""

    first: Port
    last: Port

    @model_validator(mode="after")
    def _ordered(self) -> PortRange:
        if self.first > self.last:
            raise ValueError(f"first is {self.first} and last is {self.last}; give the lower one first")
        return self

"""The header `Range` (RFC 9110, section 14): which bytes of an object are asked for. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

_ONE = re.compile(r"bytes=[ \t]*(?:(\d{1,19})-(\d{0,19})|-(\d{1,19}))[ \t]*", re.IGNORECASE)


class Unsatisfiable(ValueError):
    """No byte of the object is in the range."""


def range_of(headers: Sequence[str], size: int, if_range: str | None, digest: str) -> tuple[int, int] | None:
    """First byte and the one behind the last, of an object of `size` bytes; None if all of it is to be sent.

    All of it answers also what is no range of bytes or several, as a server may, and a range on the condition
    (`If-Range`) of another object than `digest`. Raises Unsatisfiable.
    """
    if len(headers) != 1 or if_range not in (None, f'"{digest}"'):
        return None
    found = _ONE.fullmatch(headers[0])
    if found is None:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        start, end = max(0, size - int(suffix)), size
    else:
        start, end = int(first), size if not last else min(size, int(last) + 1)
        if last and int(last) < int(first):
            return None
    if start >= end:
        raise Unsatisfiable(f"{headers[0][:60]} has no byte of it")
    return start, end

"""Given what a node read of a task's output and what is stored, when they are compared, then the result says how."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from blake3 import blake3

from forgelog.client.output import _checked, _Stored
from forgelog.client.plain import Answer


def piece(data: bytes, offset: int, *, eof: bool = False, missing: int = 0) -> Any:
    return SimpleNamespace(data=data, offset=offset, eof=eof, missing_bytes=missing)


END = piece(b"", 6, eof=True)


@pytest.mark.parametrize(
    ("result", "sealed", "ended", "pieces"),
    [
        ("intact", b"abcdef", True, [piece(b"abc", 0), piece(b"def", 3), END]),
        ("intact", b"", True, [piece(b"", 0, eof=True)]),
        ("differs", b"abcdef", True, [piece(b"abX", 0), piece(b"def", 3), END]),
        ("differs", b"", True, [piece(b"put there", 0), END]),
        ("differs", b"abcdef", True, [piece(b"abc", 0), piece(b"", 3, eof=True)]),
        ("incomplete", b"abcdef", True, [piece(b"abc", 0)]),
        ("incomplete", b"abcdef", True, [piece(b"abc", 0), piece(b"f", 5, missing=2), END]),
        ("gone", b"abcdef", True, [piece(b"def", 3), END]),
        ("gone", b"abcdef", True, []),
        ("not sealed", None, True, [piece(b"abc", 0), piece(b"", 3, eof=True, missing=9)]),
        ("not ended", None, False, [piece(b"abc", 0)]),
    ],
)
def test_what_is_stored_is_held_against_what_was_read(
    result: str, sealed: bytes | None, ended: bool, pieces: list[Any]
) -> None:
    attempt = Answer(
        task=0,
        attempt=1,
        ended_at=1 if ended else None,
        stdout_bytes=None if sealed is None else len(sealed),
        stdout_digest=blake3(sealed).hexdigest() if sealed else sealed if sealed is None else "",
    )
    stored = _Stored()
    for each in pieces:
        stored.add(each)
    assert _checked(attempt, "stdout", stored).result == result

"""Which bytes a `Range` asks for (RFC 9110, section 14)."""

from __future__ import annotations

import pytest

from services.gateway.byte_ranges import Unsatisfiable, range_of

DIGEST = "4f" * 32


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=2-4", (2, 5)),
        ("bytes=2-", (2, 10)),
        ("bytes=2-99", (2, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        ("BYTES= 2-4 ", (2, 5)),
        # what is no range of bytes, or more than one, is passed over
        ("bytes=4-2", None),
        ("bytes=0-1,3-4", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=" + "9" * 40 + "-", None),
        ("lines=1-2", None),
    ],
)
def test_ranges_of_ten_bytes(header: str, expected: tuple[int, int] | None) -> None:
    assert range_of([header], 10, None, DIGEST) == expected


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=10-", 10), ("bytes=10-12", 10), ("bytes=-0", 10), ("bytes=-1", 0)]
)
def test_a_range_without_a_byte_is_refused(header: str, size: int) -> None:
    with pytest.raises(Unsatisfiable):
        range_of([header], size, None, DIGEST)


def test_a_range_of_another_object_is_passed_over() -> None:
    assert range_of(["bytes=0-0"], 10, f'"{DIGEST}"', DIGEST) == (0, 1)
    assert range_of(["bytes=0-0"], 10, '"other"', DIGEST) is None
    assert range_of(["bytes=0-0", "bytes=1-1"], 10, None, DIGEST) is None

"""What objects are called, and that no name leaves the store."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from pydantic import ValidationError

from events.language.objects import MAX_OBJECT_BYTES, ObjectRef
from events.objects.address import (
    Entry,
    blob_name,
    format_address,
    index_name,
    new_place,
    parse_address,
    parse_entry,
)

DIGEST = "4f" * 32
NO_DIGESTS = ["", "4f", DIGEST[:-1], DIGEST + "4", DIGEST.upper(), "../../../etc/passwd", f"../{DIGEST[3:]}", "é" * 64]


def test_an_address_is_read_as_it_is_shown() -> None:
    assert format_address(DIGEST) == f"blake3:{DIGEST}"
    assert parse_address(format_address(DIGEST)) == parse_address(DIGEST) == DIGEST


@pytest.mark.parametrize(
    "text", [*NO_DIGESTS, *(f"blake3:{each}" for each in NO_DIGESTS), f"sha256:{DIGEST}", DIGEST + "\n"]
)
def test_what_is_no_address_is_refused_and_said_what_one_is(text: str) -> None:
    with pytest.raises(ValueError, match="give blake3: and 64 lower-case hexadecimal digits"):
        parse_address(text)


@pytest.mark.parametrize("digest", NO_DIGESTS)
def test_no_other_text_becomes_a_name_in_the_store(digest: str) -> None:
    for name in (blob_name, index_name):
        with pytest.raises(ValueError, match="no address of an object"):
            name(digest)
    with pytest.raises(ValidationError, match="digest"):
        ObjectRef(digest=digest, size=1)


def test_names_are_spread_over_folders_by_their_first_digits() -> None:
    assert blob_name(DIGEST) == f"blobs/4f/{DIGEST}"
    assert index_name(DIGEST) == f"index/4f/{DIGEST}"
    assert re.fullmatch(r"large/[0-9a-f]{32}", new_place())
    assert new_place() != new_place()


def test_an_entry_comes_back_as_it_was_written() -> None:
    entry = Entry(place=new_place(), size=9_000_000)
    assert parse_entry(entry.to_bytes()) == entry


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b'{"place": "../../../etc/passwd", "size": 1}',
        b'{"place": "large/../../x", "size": 1}',
        b'{"place": "blobs/4f/' + DIGEST.encode() + b'", "size": 1}',
        b'{"place": "large/' + b"a" * 32 + b'", "size": -1}',
    ],
)
def test_an_entry_that_is_cut_or_forged_is_none(content: bytes) -> None:
    assert parse_entry(content) is None


@pytest.mark.parametrize("size", [-1, MAX_OBJECT_BYTES + 1])
def test_a_reference_has_a_size_that_objects_can_have(size: int) -> None:
    with pytest.raises(ValidationError, match="size"):
        ObjectRef(digest=DIGEST, size=size)


def test_nothing_heavy_is_loaded_before_a_store_is_used() -> None:
    code = (
        "import sys; import events.objects.address; from events.objects.store import Objects; "
        "Objects('file:///nowhere/objects'); print('obstore' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"

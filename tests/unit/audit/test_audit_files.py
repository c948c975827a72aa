"""What an auditor gives: a public key and saved heads, as files. What they are not is said with what to do."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from events.audit.heads import HeadsProblem, is_signed, saved_heads, signed
from events.audit.signing import KeyProblem, public_bytes, public_key, public_pem, read_public_key, signing_key
from events.process.settings import Settings

KEY = Ed25519PrivateKey.generate()
PUBLIC = public_bytes(KEY)


@pytest.mark.parametrize(
    "content",
    [
        public_pem(PUBLIC).encode(),
        PUBLIC,
        PUBLIC.hex().encode(),
        PUBLIC.hex().upper().encode() + b"\n",
        base64.b64encode(PUBLIC) + b"\n",
    ],
    ids=["PEM", "bytes", "hex", "hex in capitals", "base64"],
)
def test_a_public_key_is_read_in_every_form(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(content)
    assert read_public_key(tmp_path / "key") == PUBLIC


def other_key() -> bytes:
    return (
        rsa.generate_private_key(65537, 1024)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"key",
        pytest.param(PUBLIC[:31], id="31 bytes"),
        pytest.param(PUBLIC.hex().encode()[:-2], id="62 digits"),
        b"-----BEGIN PUBLIC KEY-----\nx\n",
        pytest.param(other_key(), id="RSA"),
        b"z" * 64,
    ],
)
def test_what_is_no_public_key_is_refused_with_what_to_do(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(KeyProblem, match=r"key holds no Ed25519 public key .*forgelog audit key > FILE"):
        read_public_key(tmp_path / "key")


def test_a_missing_key_and_a_private_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyProblem, match="can't be read: No such file"):
        read_public_key(tmp_path / "key")
    settings = Settings(data=tmp_path)
    signing_key(settings)
    with pytest.raises(KeyProblem, match="is a private key; to verify give its public half"):
        read_public_key(tmp_path / "audit.key")


def test_the_public_key_that_the_platform_tells_is_the_one_that_signs(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    key = signing_key(settings)
    (tmp_path / "public").write_text(public_pem(public_key(settings)))
    trusted = read_public_key(tmp_path / "public")
    head = signed(key, trusted.hex(), ("jobs", 1), 7, "ab" * 32)
    assert is_signed(head, trusted)
    assert not is_signed(head, PUBLIC)
    for name, value in (("offset", 8), ("digest", "cd" * 32), ("place", "events.jobs/2"), ("signature", "no hex")):
        assert not is_signed({**head, name: value}, trusted), name


HEADS: list[Any] = [signed(KEY, PUBLIC.hex(), ("jobs", number), number, "ab" * 32) for number in range(3)]


@pytest.mark.parametrize(
    ("content", "count"),
    [
        (orjson.dumps(HEADS, option=orjson.OPT_INDENT_2), 3),
        (orjson.dumps(HEADS[0]), 1),
        (b"\n".join(map(orjson.dumps, HEADS)) + b"\n", 3),
    ],
    ids=["an array", "one", "lines"],
)
def test_saved_heads_are_read_as_they_were_written(content: bytes, count: int, tmp_path: Path) -> None:
    (tmp_path / "heads").write_bytes(content)
    assert saved_heads(tmp_path / "heads") == HEADS[:count]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no head"),
        (b"heads", "is not JSON"),
        (b"[]", "holds no head"),
        (b"[7]", "item 1 is no signed head"),
        (orjson.dumps([HEADS[0], {**HEADS[1], "offset": -1}]), "item 2 is no signed head"),
        (orjson.dumps({**HEADS[0], "offset": "7"}), "item 1 is no signed head"),
    ],
)
def test_what_holds_no_heads_is_refused_with_what_to_do(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "heads").write_bytes(content)
    with pytest.raises(HeadsProblem, match=f"{said}.*forgelog audit heads -o json > FILE"):
        saved_heads(tmp_path / "heads")
    with pytest.raises(HeadsProblem, match="can't be read"):
        saved_heads(tmp_path / "none")

"""Given the platform's issuer, when a key was issued, then its token is signed from its row, and handed over once."""

from __future__ import annotations

import base64
import json
import os
import stat
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from events.process.settings import Settings, SettingsError
from events.queries.queries import QueryError
from services.deployments.issuer import HANDED, Issuer, issuer
from services.deployments.key_queries import refuse_late
from tests.unit.deployments.desk import NOON


def row(**fields: Any) -> dict[str, Any]:
    return {
        "deployment_id": "digits",
        "key_id": "key-1",
        "name": "the shop ☂",
        "endpoints": [],
        "issued_by": "owner",
        "issued_at": NOON,
        "expires_at": NOON + timedelta(hours=1),
        "issuer": "forgelog",
        "revoked_at": None,
        **fields,
    }


def made(folder: Path) -> Issuer:
    return issuer(Settings(data=folder))


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def claims(token: str) -> Any:
    return json.loads(decoded(token.split(".")[1]))


def test_its_private_key_is_made_once_and_only_its_user_may_read_it(tmp_path: Path) -> None:
    first, again = made(tmp_path), made(tmp_path)
    assert first.public_key == again.public_key
    (file,) = [each for each in (tmp_path / "keys").iterdir() if each.name == "endpoints.key"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert first.token(row()) == again.token(row())


def test_a_token_says_who_may_ask_whom_and_until_when_and_its_signature_holds(tmp_path: Path) -> None:
    signer = made(tmp_path)
    token = signer.token(row())
    assert claims(token) == {
        "iss": "forgelog",
        "sub": "the shop ☂",
        "aud": "digits",
        "jti": "key-1",
        "iat": int(NOON.timestamp()),
        "exp": int(NOON.timestamp()) + 3600,
    }
    header, body, signature = token.split(".")
    assert json.loads(decoded(header)) == {"alg": "EdDSA", "typ": "JWT", "kid": signer.public_key.key_id}
    public = Ed25519PublicKey.from_public_bytes(decoded(signer.public_key.x))
    public.verify(decoded(signature), f"{header}.{body}".encode())
    with pytest.raises(InvalidSignature):
        public.verify(decoded(signature), f"{header}.{body}x".encode())


def test_a_token_of_some_endpoints_names_each(tmp_path: Path) -> None:
    token = made(tmp_path).token(row(endpoints=["rest", "live"]))
    assert claims(token)["aud"] == ["digits/rest", "digits/live"]


def test_a_token_is_handed_over_once_also_by_another_process(tmp_path: Path) -> None:
    first, other = made(tmp_path), made(tmp_path)
    assert first.hand_over(row())
    assert not first.hand_over(row())
    assert not other.hand_over(row())
    assert other.hand_over(row(key_id="key-2"))
    assert other.hand_over(row(deployment_id="letters"))
    folder = tmp_path / "keys" / HANDED
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(note.stat().st_mode) for note in folder.iterdir()} == {0o600}


def test_notes_of_tokens_that_are_too_old_anyway_are_dropped(tmp_path: Path) -> None:
    signer = made(tmp_path)
    signer.hand_over(row())
    (note,) = (tmp_path / "keys" / HANDED).iterdir()
    os.utime(note, (0, 0))
    signer.hand_over(row(key_id="key-2"))
    assert not note.exists()
    assert len(list((tmp_path / "keys" / HANDED).iterdir())) == 1


@pytest.mark.parametrize("text", ["short", "A" * 42, "A" * 60, "é" * 43])
def test_a_damaged_private_key_is_named_and_not_shown(tmp_path: Path, text: str) -> None:
    made(tmp_path)
    file = tmp_path / "keys" / "endpoints.key"
    file.write_text(text)
    with pytest.raises(SettingsError, match=r"endpoints\.key is damaged") as caught:
        made(tmp_path)
    assert text not in str(caught.value)


def test_a_private_key_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    made(tmp_path)
    (tmp_path / "keys" / "endpoints.key").chmod(0o644)
    with pytest.raises(SettingsError, match="can be read by other users"):
        made(tmp_path)


def late(caller: str = "owner", now: datetime = NOON, **fields: Any) -> QueryError:
    with pytest.raises(QueryError) as caught:
        refuse_late(row(**fields), caller, now)
    return caught.value


def test_its_issuer_gets_a_token_for_five_minutes() -> None:
    refuse_late(row(), "owner", NOON)
    refuse_late(row(), "owner", NOON + timedelta(minutes=5))
    refused = late(now=NOON + timedelta(minutes=5, seconds=1))
    assert refused.code is grpc.StatusCode.FAILED_PRECONDITION
    assert "more than 5 minutes ago" in refused.message
    assert "issue another key" in refused.message


@pytest.mark.parametrize("caller", ["eve", "", "platform"])
def test_nobody_else_gets_it(caller: str) -> None:
    refused = late(caller)
    assert refused.code is grpc.StatusCode.PERMISSION_DENIED
    assert "who alone gets its token" in refused.message


def test_a_key_that_is_revoked_or_has_expired_has_no_token() -> None:
    assert "is revoked" in late(revoked_at=NOON).message
    assert "has expired" in late(expires_at=NOON + timedelta(minutes=1), now=NOON + timedelta(minutes=1)).message

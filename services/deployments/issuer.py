"""The platform's issuer of endpoint keys: it signs their tokens (JWT, RFC 7519; EdDSA with Ed25519, RFC 8037).

Its private key is a file among the platform's keys, made by the first process of the deployments service, and read by
no other program. A token is signed from what the log tells of its key, and is handed over once: a file beside the
private key notes that, so all processes that can sign know of it, also after a restart. Who loses a token revokes its
key and issues another one.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from events.language.deployments.routing import PublicKey
from events.process.keys import KeyFileProblem, ensure_key
from events.process.settings import Settings, SettingsError
from events.queries.callers import services_key_path

PRIVATE_KEY = "endpoints.key"
"""32 bytes in base64url."""

HANDED = "endpoint-keys-handed"
"""Folder with an empty file for each token that was handed over lately."""

HAND_OVER_SECONDS = 300.0
"""How long after a key was issued its token is handed over."""

_BYTES = 32


@dataclass(frozen=True, slots=True)
class Issuer:
    """Signs tokens, and knows which were handed over."""

    folder: Path
    private_key: Ed25519PrivateKey
    public_key: PublicKey

    def token(self, key: Mapping[str, Any]) -> str:
        """The token of a key, which is a row of `EndpointKey`: for the same key always the same."""
        id, endpoints = key["deployment_id"], key["endpoints"]
        claims = {
            "iss": key["issuer"],
            "sub": key["name"],
            "aud": [f"{id}/{name}" for name in endpoints] if endpoints else id,
            "jti": key["key_id"],
            "iat": int(key["issued_at"].timestamp()),
            "exp": int(key["expires_at"].timestamp()),
        }
        header = {"alg": "EdDSA", "typ": "JWT", "kid": self.public_key.key_id}
        signed = f"{_base64(orjson.dumps(header))}.{_base64(orjson.dumps(claims))}"
        return f"{signed}.{_base64(self.private_key.sign(signed.encode()))}"

    def hand_over(self, key: Mapping[str, Any]) -> bool:
        """Note that its token is handed over now; False if it was before. Raises OSError."""
        folder = self.folder / HANDED
        folder.mkdir(mode=0o700, exist_ok=True)
        _forget(folder)
        note = hashlib.sha256(f"{key['deployment_id']}/{key['key_id']}".encode()).hexdigest()
        try:
            os.close(os.open(folder / note, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        except FileExistsError:
            return False
        return True


def issuer(settings: Settings) -> Issuer:
    """The platform's issuer; its private key is made if it is not there. Raises SettingsError."""
    path = services_key_path(settings).parent / PRIVATE_KEY
    try:
        text = ensure_key(path, new=lambda: _base64(secrets.token_bytes(_BYTES)))
    except KeyFileProblem as problem:
        raise SettingsError(f"{problem} (it signs endpoint keys)") from None
    try:
        seed = base64.urlsafe_b64decode(text + "=")
        private = Ed25519PrivateKey.from_private_bytes(seed)
    except ValueError:
        raise SettingsError(
            f"{path} is damaged: it holds no Ed25519 key of {_BYTES} bytes in base64url; put a copy back, or remove it "
            "and issue endpoint keys anew"
        ) from None
    return Issuer(path.parent, private, _public(private))


def _public(private: Ed25519PrivateKey) -> PublicKey:
    """Its id is the key's thumbprint (RFC 7638)."""
    x = _base64(private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
    thumbprint = hashlib.sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}'.encode()).digest()
    return PublicKey(key_id=_base64(thumbprint), x=x)


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _forget(folder: Path) -> None:
    """Drop the notes of tokens that are too old to be handed over at all."""
    oldest = time.time() - 2 * HAND_OVER_SECONDS
    for note in os.scandir(folder):
        with suppress(FileNotFoundError):  # another process was first
            if note.stat(follow_symlinks=False).st_mtime < oldest:
                os.unlink(note.path)

"""The platform's signing key: ``audit.key`` in the data folder, an Ed25519 key (RFC 8032) as PEM, readable by its owner
only. Services make it at first use; those who verify only read it, or a file with its public half.
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from events.process.settings import Settings

log = logging.getLogger("forgelog.audit")

_KEY_BYTES = 32
_MOST_KEY_BYTES = 65_536


class KeyProblem(Exception):
    """The key can't be used. The text names the file, what is wrong with it, and what to do."""


def signing_key(settings: Settings) -> Ed25519PrivateKey:
    """The platform's key, made if there is none. Raises KeyProblem."""
    path = _path(settings)
    try:
        if not path.exists():
            _make(path)
    except OSError as error:
        raise KeyProblem(f"{path} can't be made: {error.strerror}; let the platform's user write there") from None
    return _read(path)


def public_key(settings: Settings) -> bytes:
    """The public half of the key that there is, 32 bytes. Raises KeyProblem, also when there is none."""
    return public_bytes(_read(_path(settings)))


def public_pem(key: bytes) -> str:
    """A public key (32 bytes) as PEM (SubjectPublicKeyInfo, RFC 8410), as other tools take it."""
    public = Ed25519PublicKey.from_public_bytes(key)
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


def read_public_key(path: Path) -> bytes:
    """The public key in a file, 32 bytes: PEM, or its bytes in hexadecimal or base64, or as they are.

    Raises KeyProblem, also for a private key: an auditor should not have it.
    """
    remedy = "write it by `forgelog audit key > FILE` where the platform runs"
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_KEY_BYTES)
    except OSError as error:
        raise KeyProblem(f"{path} can't be read: {error.strerror}; {remedy}") from None
    if b"PRIVATE KEY" in content:
        raise KeyProblem(f"{path} is a private key; to verify give its public half: {remedy}")
    key = _public_of(content)
    if key is None:
        raise KeyProblem(f"{path} holds no Ed25519 public key (PEM, or 32 bytes in hex or base64); {remedy}")
    return key


def _public_of(content: bytes) -> bytes | None:
    if b"-----BEGIN" in content:
        try:
            key = serialization.load_pem_public_key(content)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            return None
        if not isinstance(key, Ed25519PublicKey):
            return None
        return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    if len(content) == _KEY_BYTES:
        return content
    text = content.strip()
    try:
        found = bytes.fromhex(text.decode()) if len(text) == 2 * _KEY_BYTES else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return None
    return found if len(found) == _KEY_BYTES else None


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    """A key's public half, 32 bytes."""
    return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _path(settings: Settings) -> Path:
    return settings.data / "audit.key"


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    made = path.with_name(f"audit.key.{os.getpid()}")
    made.touch(0o600)
    made.write_bytes(pem)
    try:
        os.link(made, path)  # another service may have been first: its key stands
    except FileExistsError:
        log.debug("the signing key was made by another service")
    made.unlink()


def _read(path: Path) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError:
        raise KeyProblem(f"there is no {path}; put a copy of the platform's key back") from None
    except OSError as error:
        raise KeyProblem(f"{path} can't be read: {error.strerror}; let the platform's user read it") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyProblem(f"{path} is damaged: it holds no key; put a copy of the platform's key back") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyProblem(f"{path} is no Ed25519 key; put a copy of the platform's key back")
    return key

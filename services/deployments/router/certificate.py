"""The certificate of a router: its files, checked before Envoy gets them. No message repeats what is in a file."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

from events.process.settings import SettingsError
from services.deployments.router.config import Config

CHAIN, KEY = "FORGELOG_ROUTER_CERT", "FORGELOG_ROUTER_KEY"


def read_certificate(config: Config) -> tuple[str, str] | None:
    """The PEM texts of the certificate's chain and of its key. Raises SettingsError."""
    if config.certificate is None:
        return None
    chain, key = config.certificate
    texts = _text(CHAIN, chain, "CERTIFICATE"), _text(KEY, key, "PRIVATE KEY")
    if "ENCRYPTED" in texts[1]:
        raise SettingsError(f"{KEY}: {key} has a password; give the key without one (openssl pkey -in FILE -out FILE)")
    try:
        # Envoy would refuse them, and no listener would come up; the password that is asked for is none.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise SettingsError(
                f"{CHAIN}, {KEY}: the key in {key} is not the certificate's in {chain}; give two files that belong "
                "together, the chain with the router's own certificate first"
            ) from None
        reason = (error.reason or "damaged").lower().replace("_", " ")
        raise SettingsError(f"{CHAIN}, {KEY}: {chain} or {key} is damaged ({reason}); give a good pair") from None
    except OSError as error:  # one of them went since it was read
        raise SettingsError(f"{CHAIN}, {KEY}: {error.strerror}; give two PEM files") from None
    return texts


def outside_its_time(config: Config, texts: tuple[str, str] | None, now: datetime | None = None) -> str:
    """That clients refuse the certificate, since it has expired or is not valid yet; empty if they don't."""
    if config.certificate is None or texts is None:
        return ""
    from cryptography import x509

    now, path = now or datetime.now(UTC), config.certificate[0]
    try:
        found = x509.load_pem_x509_certificate(texts[0].encode())
    except ValueError:  # it is stricter than OpenSSL, which took it
        return ""
    if now > found.not_valid_after_utc:
        return f"{CHAIN}: {path} expired at {_time(found.not_valid_after_utc)}, so clients refuse it; renew it"
    if now < found.not_valid_before_utc:
        since = _time(found.not_valid_before_utc)
        return f"{CHAIN}: {path} is not valid before {since}, so clients refuse it until then"
    return ""


def _text(variable: str, path: Path, kind: str) -> str:
    wanted = "certificate's chain" if variable == CHAIN else "certificate's key"
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise SettingsError(
            f"{variable}: {path} can't be read: {error.strerror}; give the PEM file of the {wanted}, readable for the "
            "router's user"
        ) from None
    except ValueError:
        text = ""
    if "-----BEGIN " not in text or f"{kind}-----" not in text:
        raise SettingsError(f"{variable}: {path} should be PEM, and has no {kind}; give the file of the {wanted}")
    return text


def _time(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"

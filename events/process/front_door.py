"""The address of a gateway as those have it who call it: ``host:port``, after ``https://`` where a proxy in front of it
ends TLS.

Whose certificates are good then: the PEM file in ``FORGELOG_GATEWAY_CA`` says it, for gateways alone; else
``SSL_CERT_FILE`` and ``SSL_CERT_DIR``, as for many programs; else those are that browsers know.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import ssl

CA = "FORGELOG_GATEWAY_CA"
_FILE, _DIRECTORY = "SSL_CERT_FILE", "SSL_CERT_DIR"

TLS = "https://"
NO_TLS_ITSELF = (
    "a gateway speaks no TLS itself; give host:port where it listens, and https://host to those who call the proxy in "
    "front of it"
)
_PLAIN = "http://"
_ADDRESS = re.compile(r"(https?://)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?/*")
_TLS_PORT = "443"
_HINT = "give the PEM file of who signed the gateway's certificate"
_SECONDS = 3.0
"""For each address of a name, and then for a handshake."""
_BEGIN = b"-----BEGIN CERTIFICATE-----"


class CertificateProblem(ValueError):
    """A file of certificates to trust can't be used; the text names the variable and says what to do."""


def normalized(text: str) -> str:
    """``host:port``, or ``https://host:port``. Raises ValueError, which does not repeat it."""
    found = _ADDRESS.fullmatch(text)
    tls = found is not None and found[1] == TLS
    port = found and (found[3] or (_TLS_PORT if tls else ""))
    if not found or not port or int(port) > 65535:
        raise ValueError("is not the address of a gateway; write host:port, or https://host if it has TLS")
    return f"{TLS if tls else ''}{found[2].lower()}:{port}"


def has_tls(address: str) -> bool:
    """Whether a `normalized` address is called with TLS."""
    return address.startswith(TLS)


def authority_of(address: str) -> str:
    """The ``host:port`` of a `normalized` address."""
    return address.removeprefix(TLS)


def url_of(address: str) -> str:
    """The URL of a `normalized` address."""
    return address if has_tls(address) else _PLAIN + address


def leads_to(url: str, address: str) -> bool:
    """Whether a URL is one of the gateway at a `normalized` address, with TLS if that has it."""
    try:
        parts = urlsplit(url)
        return normalized(f"{parts.scheme}://{parts.netloc}") == address
    except ValueError:
        return False


def trusted() -> bytes | None:
    """The PEM certificates to trust; None for those that browsers know. Raises CertificateProblem."""
    if own := _path(CA):
        return _certificates(CA, _read(CA, own))
    found: list[bytes] = []
    if file := _path(_FILE):
        found.append(_certificates(_FILE, _read(_FILE, file)))
    if folders := os.environ.get(_DIRECTORY):
        found.append(_certificates(_DIRECTORY, b"\n".join(_in_folders(folders))))
    return b"\n".join(found) or None


def ca_file(environment: Mapping[str, str] = os.environ) -> str:
    """The one file with the certificates to trust, for programs that take a file; empty where there is none."""
    found = _path(CA, environment) or _path(_FILE, environment)
    return str(found) if found else ""


def context() -> ssl.SSLContext:
    """The `trusted` certificates, for HTTP. Raises CertificateProblem."""
    import ssl

    pem = trusted()
    if pem is None:
        import httpx

        return httpx.create_ssl_context()
    return ssl.create_default_context(cadata=pem.decode("ascii", "ignore"))


def refused(error: ssl.SSLCertVerificationError) -> str:
    """Why a gateway's certificate is refused, and what to do."""
    from events.process import certificates

    return certificates.refused(error, "the proxy", "call it", CA)


def open_channel(address: str, options: list[tuple[str, Any]]) -> Any:
    """A `grpc.aio.Channel` to a `normalized` address. Raises CertificateProblem."""
    import grpc.aio

    if not has_tls(address):
        return grpc.aio.insecure_channel(address, options=options)
    return grpc.aio.secure_channel(authority_of(address), grpc.ssl_channel_credentials(trusted()), options=options)


def tls_problem(address: str) -> str:
    """What is wrong with the TLS of what answers at a `normalized` address, and what to do; empty if nothing is, or if
    nothing answers. It tries, for some seconds. gRPC tells of one of a name's addresses only, and seldom what
    to do. Raises CertificateProblem."""
    import socket
    import ssl

    from events.process import certificates

    place = authority_of(address)
    host, _, port = place.rpartition(":")
    trusting = context() if has_tls(address) else certificates.unchecked()
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS) as plain,
            trusting.wrap_socket(plain, server_hostname=host.strip("[]")),
        ):
            return "" if has_tls(address) else f"it has TLS; write {TLS}{place}"
    except ssl.SSLCertVerificationError as error:
        return refused(error)
    except ssl.SSLError as error:
        none = has_tls(address) and certificates.speaks_none(error)
        return f"it speaks no TLS; write {place}" if none else ""
    except OSError:
        return ""


def _path(variable: str, environment: Mapping[str, str] = os.environ) -> Path | None:
    text = environment.get(variable)
    return Path(text).expanduser().absolute() if text else None


def _read(variable: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CertificateProblem(f"{variable}: {file} can't be read: {error.strerror}; {_HINT}") from None


def _in_folders(folders: str) -> Iterator[bytes]:
    """The certificates in folders with ':' between, without the files that can't be read, as OpenSSL does."""
    for folder in folders.split(os.pathsep):
        for file in sorted(Path(folder).glob("*")):
            with suppress(OSError):
                if _BEGIN in (text := file.read_bytes()):
                    yield text


def _certificates(variable: str, pem: bytes) -> bytes:
    import ssl

    try:
        ssl.create_default_context(cadata=pem.decode("ascii", "ignore") or "none")
    except ssl.SSLError:
        raise CertificateProblem(f"{variable}: {os.environ[variable]} has no PEM certificate; {_HINT}") from None
    return pem

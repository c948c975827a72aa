"""The address of a gateway as those have it who call it: ``host:port``, after ``https://`` where a proxy in front of it
ends TLS.

Whose certificates are good then: the PEM file in ``FORGELOG_GATEWAY_CA`` says it, for gateways alone; else
``SSL_CERT_FILE`` and ``SSL_CERT_DIR``, as for many programs; else those are that browsers know.
"""

from __future__ import annotations

import os
import re
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
_SECONDS = 3.0
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
    return f"{TLS if tls else ''}{found[2]}:{port}"


def has_tls(address: str) -> bool:
    """Whether a `normalized` address is called with TLS."""
    return address.startswith(TLS)


def place_of(address: str) -> str:
    """The ``host:port`` of a `normalized` address."""
    return address.removeprefix(TLS)


def url_of(address: str) -> str:
    """The URL of a `normalized` address."""
    return address if has_tls(address) else _PLAIN + address


def leads_to(url: str, address: str) -> bool:
    """Whether a URL is one of the gateway at a `normalized` address, with TLS if that has it."""
    parts = urlsplit(url)
    try:
        return normalized(f"{parts.scheme}://{parts.netloc}") == address
    except ValueError:
        return False


def trusted() -> bytes | None:
    """The PEM certificates to trust; None for those that browsers know. Raises CertificateProblem."""
    if path := os.environ.get(CA):
        return _certificates(CA, [Path(path).expanduser()])
    file, directory = os.environ.get(_FILE), os.environ.get(_DIRECTORY)
    if not file and not directory:
        return None
    files = [Path(file)] if file else []
    files += sorted(Path(directory).glob("*")) if directory else []
    return _certificates(_FILE if file else _DIRECTORY, files)


def ca_file() -> str:
    """The one file with the certificates to trust, for programs that take a file; empty where there is none."""
    return os.environ.get(CA) or os.environ.get(_FILE) or ""


def context() -> ssl.SSLContext:
    """The `trusted` certificates, for HTTP. Raises CertificateProblem."""
    import ssl

    pem = trusted()
    if pem is None:
        import httpx

        return httpx.create_ssl_context()
    return ssl.create_default_context(cadata=pem.decode("ascii", "ignore"))


def refused(said: str) -> str:
    """What to do about a certificate that is refused, by what OpenSSL or BoringSSL says of it."""
    said = f"its certificate is refused: {said.rstrip('.')}"
    if "expired" in said:
        return f"{said}; who runs the proxy must renew it"
    if "not yet valid" in said:
        return f"{said}; is this machine's clock right?"
    if "match" in said:
        return f"{said}; call it by a name that its certificate has"
    named = f" (now {file})" if (file := os.environ.get(CA)) else ""
    return f"{said}; name the PEM file of who signed it in {CA}{named}"


def open_channel(address: str, options: list[tuple[str, Any]]) -> Any:
    """A `grpc.aio.Channel` to a `normalized` address. Raises CertificateProblem."""
    import grpc.aio

    if not has_tls(address):
        return grpc.aio.insecure_channel(address, options=options)
    return grpc.aio.secure_channel(place_of(address), grpc.ssl_channel_credentials(trusted()), options=options)


def tls_problem(address: str) -> str:
    """What is wrong with the TLS of what answers at a `normalized` address, and what to do; empty if nothing is, or if
    nothing answers. It tries, for a few seconds at most. gRPC tells of one of a name's addresses only, and seldom what
    to do. Raises CertificateProblem."""
    import socket
    import ssl

    place = place_of(address)
    host, _, port = place.rpartition(":")
    if has_tls(address):
        trusting = context()
    else:
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS) as plain,
            trusting.wrap_socket(plain, server_hostname=host.strip("[]")),
        ):
            return "" if has_tls(address) else f"it has TLS; write {TLS}{place}"
    except ssl.SSLCertVerificationError as error:
        return refused(error.verify_message)
    except ssl.SSLError as error:
        speaks_none = has_tls(address) and error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")
        return f"it speaks no TLS; write {place}" if speaks_none else ""
    except OSError:
        return ""


def _certificates(variable: str, files: list[Path]) -> bytes:
    import ssl

    named = os.environ[variable]
    hint = "give the PEM file of who signed the gateway's certificate"
    try:
        texts = [file.read_bytes() for file in files if not file.is_dir()]
    except OSError as error:
        raise CertificateProblem(f"{variable}: {named} can't be read: {error.strerror}; {hint}") from None
    pem = b"\n".join(text for text in texts if _BEGIN in text)
    try:
        ssl.create_default_context(cadata=pem.decode("ascii", "ignore") or "none")
    except ssl.SSLError:
        raise CertificateProblem(f"{variable}: {named} has no PEM certificate; {hint}") from None
    return pem

"""TLS of routers, as who asks one sees it: which certificates are good, and what went wrong in words.

The variables ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` name certificates to trust, as they do for many programs.
"""

from __future__ import annotations

import os
import ssl

from events.process import certificates
from forgelog.errors import InvalidInput
from forgelog.where import Router

FILE, DIRECTORY = "SSL_CERT_FILE", "SSL_CERT_DIR"


def trust(router: Router) -> ssl.SSLContext:
    """Which certificates are good. Raises `InvalidInput` for a file of them that can't be used."""
    if router.own:
        # It is on this machine, and its user was found to be ours; its certificate names what others call it by, and
        # may be one that nobody here knows. Without TLS it is asked just so.
        return certificates.unchecked()
    file, directory = os.environ.get(FILE), os.environ.get(DIRECTORY)
    if file or directory:
        try:
            return ssl.create_default_context(cafile=file or None, capath=directory or None)
        except OSError as error:  # of ssl too
            why = "has no PEM certificate" if isinstance(error, ssl.SSLError) else f"can't be read: {error.strerror}"
            raise InvalidInput(f"{FILE}: {file} {why}; give the PEM file of who signed the certificate") from None
    import httpx

    return httpx.create_ssl_context()


def why(error: Exception, router: Router) -> str:
    """Why a router can't be asked, and what to do if it is TLS."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, ssl.SSLError):
        found = found.__cause__ or found.__context__
    if isinstance(found, ssl.SSLCertVerificationError):
        return certificates.refused(found, "the router", "ask the router", FILE)
    if isinstance(found, ssl.SSLError) and certificates.speaks_none(found):
        return f"it speaks no TLS; write {router.url.replace('https:', 'http:', 1)}"
    import httpx

    said = str(error) or type(error).__name__
    closed = isinstance(error, httpx.RemoteProtocolError | httpx.ReadError)  # as Envoy does with what is no TLS
    if closed and not router.own and router.url.startswith("http:"):
        return f"{said.rstrip('.')}; if it has TLS, write {router.url.replace('http:', 'https:', 1)}"
    return said

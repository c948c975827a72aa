"""TLS of routers, as who asks one sees it: which certificates are good, and what went wrong in words.

The variables ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` name certificates to trust, as they do for many programs.
"""

from __future__ import annotations

import os
import ssl

from forgelog.errors import InvalidInput
from forgelog.where import Router

FILE, DIRECTORY = "SSL_CERT_FILE", "SSL_CERT_DIR"

_EXPIRED, _NOT_YET, _OTHER_NAME, _OTHER_ADDRESS = 10, 9, 62, 64
"""OpenSSL's X509_V_ERR_..."""


def trust(router: Router) -> ssl.SSLContext:
    """Which certificates are good. Raises `InvalidInput` for a file of them that can't be used."""
    if router.own:
        # It is on this machine, and its user was found to be ours; its certificate names what others call it by, and
        # may be one that nobody here knows. Without TLS it is asked just so.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context
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
        return _refused(found)
    if isinstance(found, ssl.SSLError) and found.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        return f"it speaks no TLS; write {router.url.replace('https:', 'http:', 1)}"
    import httpx

    said = str(error) or type(error).__name__
    closed = isinstance(error, httpx.RemoteProtocolError | httpx.ReadError)  # as Envoy does with what is no TLS
    if closed and not router.own and router.url.startswith("http:"):
        return f"{said.rstrip('.')}; if it has TLS, write {router.url.replace('http:', 'https:', 1)}"
    return said


def _refused(error: ssl.SSLCertVerificationError) -> str:
    said = f"its certificate is refused: {error.verify_message.rstrip('.')}"
    if error.verify_code == _EXPIRED:
        return f"{said}; who runs the router must renew it"
    if error.verify_code == _NOT_YET:
        return f"{said}; is this machine's clock right?"
    if error.verify_code in (_OTHER_NAME, _OTHER_ADDRESS):
        return f"{said}; ask the router by a name that its certificate has"
    named = f" (now {file})" if (file := os.environ.get(FILE)) else ""
    return f"{said}; name the PEM file of who signed it in {FILE}{named}"

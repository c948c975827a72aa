"""What is wrong with the TLS of a server that is called, in words and with what to do: a gateway's proxy, a router."""

from __future__ import annotations

import os
import ssl

_EXPIRED, _NOT_YET, _OTHER_NAME, _OTHER_ADDRESS = 10, 9, 62, 64
"""OpenSSL's X509_V_ERR_..."""


def refused(error: ssl.SSLCertVerificationError, server: str, call: str, variable: str) -> str:
    """Why its certificate is refused. `server`: such as ``the router``. `call`: to use it, such as ``ask the router``.
    `variable`: names the certificates to trust."""
    said = f"its certificate is refused: {error.verify_message.rstrip('.')}"
    if error.verify_code == _EXPIRED:
        return f"{said}; who runs {server} must renew it"
    if error.verify_code == _NOT_YET:
        return f"{said}; is this machine's clock right?"
    if error.verify_code in (_OTHER_NAME, _OTHER_ADDRESS):
        return f"{said}; {call} by a name that its certificate has"
    named = f" (now {file})" if (file := os.environ.get(variable)) else ""
    return f"{said}; name the PEM file of who signed it in {variable}{named}"


def speaks_none(error: ssl.SSLError) -> bool:
    """Whether what answers a handshake speaks no TLS."""
    return error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")


def unchecked() -> ssl.SSLContext:
    """For a connection whose other side is known otherwise, or to which nothing is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context

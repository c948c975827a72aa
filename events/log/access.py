"""The address and the credentials of every Kafka client of the platform.

The credentials of a process are in a file that only its user can read (`FORGELOG_KAFKA_CONFIG`), in librdkafka's format
(``kcat -F``): lines of ``name=value``. So no password is in an argument, an environment variable, a log or an error.
Settings of the file that do not concern authentication are for librdkafka's programs, and are not read here.
https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiokafka.protocol.admin import SaslHandShakeRequest
from aiokafka.protocol.api import RequestStruct

from events.process.keys import KeyFileProblem, read_private
from events.process.settings import Settings, SettingsError

VARIABLE = "FORGELOG_KAFKA_CONFIG"

PROTOCOL, MECHANISM, USER, PASSWORD = "security.protocol", "sasl.mechanism", "sasl.username", "sasl.password"
CA, CERTIFICATE, KEY, KEY_PASSWORD = (
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
)
PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")

_READ = {PROTOCOL, MECHANISM, USER, PASSWORD, CA, CERTIFICATE, KEY, KEY_PASSWORD}
_OTHER_NAMES = {"sasl.mechanisms": MECHANISM}


def client_options(settings: Settings) -> dict[str, Any]:
    """The arguments for an aiokafka consumer, producer, admin or client. Raises SettingsError."""
    options: dict[str, Any] = {"bootstrap_servers": settings.kafka_required}
    if settings.kafka_config is not None:
        options |= options_of(settings.kafka_config)
    return options


def options_of(file: Path) -> dict[str, Any]:
    """The options of a file. Raises SettingsError, which names the file and the line, and shows no secret."""
    try:
        found = parse(read_private(file))
        return _options(found)
    except KeyFileProblem as problem:
        raise SettingsError(f"{VARIABLE}: {problem}") from None
    except (ValueError, OSError) as error:
        raise SettingsError(f"{VARIABLE}: {file}: {error}") from None


def parse(text: str) -> dict[str, str]:
    """The settings for authentication, by librdkafka's names. Raises ValueError."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals:
            raise ValueError(f"line {number} is not name=value")
        name = _OTHER_NAMES.get(name.strip(), name.strip())
        if name in found:
            raise ValueError(f"{name} is given twice")
        if name in _READ:
            found[name] = value.strip()
        elif name.startswith(("sasl.", "ssl.", "enable.sasl.", "enable.ssl.")):
            raise ValueError(f"{name} can't be used here; what can: {', '.join(sorted(_READ))}")
    return found


def written(servers: str, user: str, password: str, mechanism: str) -> str:
    """The text of such a file, for a broker on this machine."""
    lines = {
        "bootstrap.servers": servers,
        PROTOCOL: "SASL_PLAINTEXT",
        MECHANISM: mechanism,
        USER: user,
        PASSWORD: password,
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items())


def _options(found: Mapping[str, str]) -> dict[str, Any]:
    protocol = found.get(PROTOCOL, "SASL_PLAINTEXT" if USER in found else "PLAINTEXT").upper()
    if protocol not in PROTOCOLS:
        raise ValueError(f"{PROTOCOL} should be one of {', '.join(PROTOCOLS)}")
    options: dict[str, Any] = {"security_protocol": protocol}
    if protocol.startswith("SASL"):
        mechanism = found.get(MECHANISM, "")
        if mechanism not in MECHANISMS:
            raise ValueError(f"{MECHANISM} should be one of {', '.join(MECHANISMS)}")
        for name in (USER, PASSWORD):
            if not found.get(name):
                raise ValueError(f"{name} is missing")
        options |= {
            "sasl_mechanism": mechanism,
            "sasl_plain_username": found[USER],
            "sasl_plain_password": found[PASSWORD],
        }
    elif USER in found or PASSWORD in found:
        raise ValueError(f"{PROTOCOL}={protocol} takes no user; it should be SASL_PLAINTEXT or SASL_SSL")
    if protocol.endswith("SSL"):
        options["ssl_context"] = _context(found)
    return options


def _context(found: Mapping[str, str]) -> ssl.SSLContext:
    """Certificates and host names are always checked."""
    try:
        context = ssl.create_default_context(cafile=found.get(CA))
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"{CA}: {error.strerror or error}") from None
    if CERTIFICATE in found:
        try:
            context.load_cert_chain(found[CERTIFICATE], found.get(KEY), found.get(KEY_PASSWORD, ""))
        except (OSError, ssl.SSLError) as error:
            raise ValueError(f"{CERTIFICATE}, {KEY}: {error.strerror or error}") from None
    return context


class _Discreet(logging.Filter):
    """Drops two kinds of messages of aiokafka: the warning at each start that PLAIN is readable on the way (that is the
    loopback of this machine, or what the file asks for), and requests with passwords at DEBUG."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "in the clear" not in str(record.msg) and not any(
            isinstance(argument, RequestStruct) and argument.API_KEY in _SASL for argument in record.args or ()
        )


_SASL = {SaslHandShakeRequest.API_KEY, 36, 51}
"""Kafka's numbers of SaslHandshake, SaslAuthenticate and AlterUserScramCredentials."""

logging.getLogger("aiokafka.conn").addFilter(_Discreet())

"""A cluster of one's own that speaks TLS: `FORGELOG_KAFKA_CONFIG` with SASL_SSL, and with SSL and a certificate.

The embedded broker, given two listeners more.
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from events.log import topics
from events.log.publish import Outgoing, Publisher
from events.process.settings import Settings
from events.writer.writer import Writer
from forgelog.embedded.kafka import Kafka, broker_answers
from forgelog.embedded.kafka_users import PLATFORM
from forgelog.embedded.ports import free_port
from forgelog.embedded.process import Child, EmbeddedError, wait_ready
from tests.conftest import Servers
from tests.integration.test_runtime import running, submit, submitted
from tests.unit.writer.sample import SampleDecider

pytestmark = pytest.mark.slow


class Authority:
    """Signs certificates; its own is `ca.pem` in the folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.file = folder / f"{name}.pem"
        certificate = self._certificate(self._name, self._key.public_key(), ca=True)
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _certificate(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, ca: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(here, critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def sign(self, name: str) -> tuple[Path, Path]:
        """Files of a certificate with that common name, and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._folder / f"{name}.crt"
        certificate.write_bytes(
            self._certificate(subject, key.public_key(), ca=False).public_bytes(serialization.Encoding.PEM)
        )
        secret = self._folder / f"{name}.key"
        secret.touch(0o600)
        form = serialization.PrivateFormat.PKCS8
        secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        return certificate, secret


class Cluster(NamedTuple):
    folder: Path
    authority: Authority
    encrypted: str
    """Address that takes passwords."""
    certified: str
    """Address that takes certificates."""
    password: str

    def settings(self, address: str, servers: Servers, name: str, **lines: object) -> Settings:
        file = self.folder / f"{name}.conf"
        file.touch(0o600)
        file.write_text("".join(f"{key.replace('_', '.')}={value}\n" for key, value in lines.items()))
        data = self.folder / name
        return Settings(
            kafka=address, kafka_config=file, postgres=servers.postgres, prefix=f"{name}.", schema_=name, data=data
        )


@pytest_asyncio.fixture(scope="module")
async def cluster() -> AsyncIterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="forgelog-tls-"))
    kafka = Kafka(folder / "kafka", folder / "kafka.log")
    authority = Authority(folder, "ca")
    children: list[Child] = []
    try:
        spec = await asyncio.to_thread(kafka.prepare)
        encrypted = free_port(0)
        certified = free_port(0, avoid=(encrypted,))
        _add_listeners(folder / "kafka" / "server.properties", authority, encrypted, certified)
        children.append(Child.start(spec))
        await wait_ready(children[0], kafka.ready, kafka.ready_seconds)
        password = kafka.users.password(PLATFORM)
        yield Cluster(folder, authority, f"127.0.0.1:{encrypted}", f"127.0.0.1:{certified}", password)
    finally:
        await asyncio.gather(*(child.stop() for child in children))
        shutil.rmtree(folder, ignore_errors=True)


def _add_listeners(properties: Path, authority: Authority, encrypted: int, certified: int) -> None:
    lines = dict(line.split("=", 1) for line in properties.read_text().splitlines() if not line.startswith("#"))
    more = f",ENCRYPTED://127.0.0.1:{encrypted},CERTIFIED://127.0.0.1:{certified}"
    lines["listeners"] += more
    lines["advertised.listeners"] += more
    lines["listener.security.protocol.map"] += ",ENCRYPTED:SASL_SSL,CERTIFIED:SSL"
    lines["super.users"] += ";User:CN=engineer"
    for name, value in list(lines.items()):
        if name.startswith("listener.name.client."):
            lines[name.replace(".client.", ".encrypted.")] = value
    certificate, key = authority.sign("broker")
    store = certificate.with_suffix(".store")
    store.touch(0o600)
    store.write_text(key.read_text() + certificate.read_text())
    lines |= {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(store),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.file),
        "listener.name.certified.ssl.client.auth": "required",
    }
    properties.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))


async def used(settings: Settings) -> None:
    """Topics are made, commands published and decided, events read."""
    await topics.ensure_topics(settings)
    async with Publisher(settings) as publisher, running(Writer(SampleDecider(), settings).run()):
        await publisher.publish_many([Outgoing(submit("encrypted", f"e-{number}")) for number in range(5)])
        assert len(await submitted(settings, 5)) == 5


async def test_a_password_over_tls(cluster: Cluster, servers: Servers) -> None:
    lines = {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "PLAIN",
        "sasl_username": PLATFORM,
        "sasl_password": cluster.password,
        "ssl_ca_location": cluster.authority.file,
    }
    await used(cluster.settings(cluster.encrypted, servers, "bypassword", **lines))


async def test_a_certificate(cluster: Cluster, servers: Servers) -> None:
    certificate, key = cluster.authority.sign("engineer")
    lines = {
        "security_protocol": "SSL",
        "ssl_ca_location": cluster.authority.file,
        "ssl_certificate_location": certificate,
        "ssl_key_location": key,
    }
    await used(cluster.settings(cluster.certified, servers, "bycertificate", **lines))


async def test_a_broker_whose_certificate_another_signed_is_not_trusted(cluster: Cluster, servers: Servers) -> None:
    lines = {"security_protocol": "SSL", "ssl_ca_location": Authority(cluster.folder, "other").file}
    settings = cluster.settings(cluster.certified, servers, "untrusted", **lines)
    with pytest.raises(EmbeddedError, match=r"certificate of the broker at .* is not trusted"):
        await broker_answers(settings)

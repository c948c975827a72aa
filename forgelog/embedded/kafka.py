"""The real Apache Kafka broker (KRaft, one node being broker and controller) as a child process on local ports.

Must not know which topics there are or who uses them, nor who watches over the process.

Durability: a write is acknowledged once it is in the operating system's page cache, so kill -9 of the broker loses
nothing; a power cut may lose what was written since the last flush (every `FORGELOG_BROKER_FLUSH_MS`, 1,000 ms).
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from events.log.access import VARIABLE, client_options
from events.log.topics import MAX_RECORD_BYTES
from events.process.keys import FOLDER as KEYS
from events.process.settings import Settings, SettingsError, split_address
from forgelog.embedded import jars, java, shared_classes
from forgelog.embedded.kafka_users import PLAIN, PLATFORM, SCRAM, Users
from forgelog.embedded.ports import free_port, hold
from forgelog.embedded.process import EmbeddedError, Spec, answers, refuse_strangers, run_through, write_atomically

_MAIN = "kafka.Kafka"
_FORMAT = "kafka.tools.StorageTool"

_SMALL = len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)) <= 2

_FIXED = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "CLIENT",
    # Nobody comes in without a password, and nobody may do what no rule allows; see `forgelog.embedded.kafka_users`.
    "listener.security.protocol.map": "CLIENT:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT",
    "listener.name.client.sasl.enabled.mechanisms": f"{PLAIN},{SCRAM}",
    "listener.name.client.scram-sha-512.sasl.jaas.config": (
        "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    ),
    "listener.name.controller.sasl.enabled.mechanisms": PLAIN,
    "sasl.mechanism.inter.broker.protocol": PLAIN,
    "sasl.mechanism.controller.protocol": PLAIN,
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": f"User:{PLATFORM}",
    # There is one broker: every internal topic has one copy, and few partitions keep start-up and memory small.
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    # A topic's partition count can't be changed, so a mistyped name must not create a topic.
    "auto.create.topics.enable": "false",
    # The log is the truth: nothing ages out. Topics that may lose old records say so themselves.
    "log.retention.ms": "-1",
    "log.retention.bytes": "-1",
    "offsets.retention.minutes": "5256000",
    "message.max.bytes": str(MAX_RECORD_BYTES),
    "replica.fetch.max.bytes": str(MAX_RECORD_BYTES),
    # A service that starts gets its partitions at once, and a dead one's are given away soon.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # After kill -9 the controller waits this long before it lets the same broker register again (default 9 s). Shorter
    # still, and a machine that is busy for a moment would lose its only broker for that moment.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "400",
    # On two CPUs fewer threads mean fewer changes between them (a lone job: 12.6 ms of the broker's CPU, not 14.5).
    "num.network.threads": "1" if _SMALL else "2",
    "num.io.threads": "2" if _SMALL else "4",
    "background.threads": "2",
    "num.replica.fetchers": "1",
    "num.recovery.threads.per.data.dir": "2",
    "log.cleaner.threads": "1",
    "log.cleaner.dedupe.buffer.size": str(8 * 1024 * 1024),  # 128 MiB of heap by default; only offsets are compacted
    # A broker at rest stays at rest: by default the controller writes itself a record every 500 ms.
    "metadata.max.idle.interval.ms": "10000",
    "controlled.shutdown.enable": "true",  # it signs off, so that the next start need not wait for that timeout
}

_LOGGING = """\
status = error
appenders = stdout
appender.stdout.type = Console
appender.stdout.name = stdout
appender.stdout.layout.type = PatternLayout
appender.stdout.layout.pattern = %d{yyyy-MM-dd'T'HH:mm:ss.SSSXXX}{UTC} %-5p %c{1} - %m%n
rootLogger.level = WARN
rootLogger.appenderRefs = stdout
rootLogger.appenderRef.stdout.ref = stdout
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = INFO
logger.log.name = org.apache.kafka.storage.internals.log.LogManager
logger.log.level = INFO
"""


_LOCALE = {"LC_ALL": "C.UTF-8"}
"""Java reads the names of files by the locale; under plain C it can't open those that are not ASCII."""


def cluster_id(make: Callable[[], uuid.UUID] = uuid.uuid4) -> str:
    """As Kafka's ``random-uuid`` prints it: base 64, never with a '-' in front, which would be taken for an option."""
    while (id := base64.urlsafe_b64encode(make().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return id


def has_data(folder: Path) -> bool:
    """Whether a broker has ever written in its `folder`."""
    return (folder / "data" / "meta.properties").exists()


class Kafka:
    """One broker whose data, configuration and ports live in `folder`, and its users' files in `keys`."""

    name = "kafka"
    ready_seconds = 60.0

    def __init__(
        self,
        folder: Path,
        log: Path,
        *,
        cache: Path | None = None,
        flush_ms: int = 1000,
        keys: Path | None = None,
        prefix: str = "",
    ) -> None:
        """`keys`: by default beside the folder, where the data folder's secrets are. `prefix`: of the topics that its
        users may use."""
        self.folder = folder
        self.log = log
        self.users = Users(keys or folder.parent / KEYS)
        self._prefix = prefix
        self._admitted = False
        self._access: Settings | None = None
        self._cache = cache
        self._flush_ms = flush_ms
        self._ports = folder / "ports.json"

    @property
    def address(self) -> str:
        """Bootstrap servers. Raises EmbeddedError before the first `prepare`."""
        return f"127.0.0.1:{self._read_ports()['broker']}"

    @property
    def access(self) -> Settings:
        """Settings of a client that may do everything. Raises EmbeddedError before the first `prepare`."""
        if self._access is None or self._access.kafka != self.address:  # made anew at each probe, it costs most of that
            self._access = Settings(kafka=self.address, kafka_config=self.users.file(PLATFORM), prefix=self._prefix)
        return self._access

    def spec(self) -> Spec:
        """How the process is, or was, started; nothing is changed. Raises EmbeddedError before the first `prepare`."""
        self._read_ports()
        if not self.users.file(PLATFORM).exists():  # as the version before ran it: open to all
            raise EmbeddedError(f"the embedded broker in {self.folder} has no users yet; `forgelog up` makes them")
        return self._spec(self._java(java.find(), jars.folder(self._cache)))

    def prepare(self, progress: jars.Progress | None = None) -> Spec:
        """Everything up to starting the process: jars, ports, configuration, formatted storage. Blocks.

        Not to be called while the broker runs: it may move to other ports when its own are taken.
        """
        self._admitted = False  # what the broker knows of its users may have been lost with its data
        runtime = java.find()
        libraries = jars.fetch(progress, self._cache)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._choose_ports()
        self.users.write(self.address)
        properties = self._write_configuration()
        command = self._java(runtime, libraries)
        if not has_data(self.folder):
            self._format(command, properties)
        # those of a tool that reads the same configuration: more than half of what the broker loads
        told = [*command, _FORMAT, "info", "--config", str(properties)]
        shared_classes.keep(runtime, libraries, told, env={**os.environ, **_LOCALE}, cwd=self.folder)
        return self._spec(self._java(runtime, libraries))

    def _spec(self, command: list[str]) -> Spec:
        return Spec(
            name=self.name,
            argv=[*command, _MAIN, str(self.folder / "server.properties")],
            log=self.log,
            env=_LOCALE,
            cwd=self.folder,
            grace=20.0,
        )

    async def ready(self) -> bool:
        """Whether it answers a metadata request (only then are topics served) and knows its users. Raises EmbeddedError
        when it takes no users, or another user's program has its port."""
        await asyncio.to_thread(refuse_strangers, split_address(self.address))
        if not await asyncio.to_thread(answers, split_address(self.address)):
            return False
        access = self.access
        try:
            if not await broker_answers(access):
                return False
        except SettingsError as error:
            raise EmbeddedError(str(error)) from error
        if not self._admitted:
            try:
                await self.users.admit(access)
            except (KafkaError, OSError):
                return False
            self._admitted = True
        return True

    def hold_ports(self) -> None:
        """See that nobody is given the ports that it has, or had when it ran last."""
        if self._ports.exists():
            for port in self._read_ports().values():
                hold(port)

    def _choose_ports(self) -> None:
        known = self._read_ports() if self._ports.exists() else {"broker": 0, "controller": 0}
        broker = free_port(known["broker"])
        controller = free_port(known["controller"], avoid=(broker,))
        if known != (chosen := {"broker": broker, "controller": controller}):
            write_atomically(self._ports, json.dumps(chosen) + "\n")

    def _read_ports(self) -> dict[str, int]:
        try:
            ports: dict[str, int] = json.loads(self._ports.read_text())
        except FileNotFoundError as error:
            raise EmbeddedError(f"{self.folder} holds no embedded broker yet; `forgelog up` makes one") from error
        return ports

    def _write_configuration(self) -> Path:
        ports = self._read_ports()
        settings = {
            **_FIXED,
            "listeners": f"CLIENT://127.0.0.1:{ports['broker']},CONTROLLER://127.0.0.1:{ports['controller']}",
            "advertised.listeners": f"CLIENT://127.0.0.1:{ports['broker']}",
            "listener.name.client.plain.sasl.jaas.config": self.users.jaas(),
            "listener.name.controller.plain.sasl.jaas.config": self.users.jaas(),
            "controller.quorum.voters": f"1@127.0.0.1:{ports['controller']}",
            # Relative to the process's folder: Kafka takes a comma in a path for the beginning of another one.
            "log.dirs": "data",
            "log.flush.interval.ms": str(self._flush_ms),
            "log.flush.scheduler.interval.ms": str(self._flush_ms),
        }
        properties = self.folder / "server.properties"
        text = "".join(f"{key}={value}\n".replace("\\", "\\\\") for key, value in settings.items())
        write_atomically(properties, "# Written at every start by Forgelog; changes are lost.\n" + text, mode=0o600)
        write_atomically(self.folder / "log4j2.properties", _LOGGING)
        return properties

    def _java(self, runtime: java.Java, libraries: Path) -> list[str]:
        return [
            str(runtime.path),
            "-Xms96m",
            "-Xmx384m",
            "-XX:+UseSerialGC",
            # The quick compiler only: it starts sooner, and a broker of this size never earns the other one back
            # (600 batches of 100 records: 3-5 CPU seconds per million records against 7-10).
            "-XX:TieredStopAtLevel=1",
            "-XX:ReservedCodeCacheSize=64m",
            "-XX:MaxDirectMemorySize=128m",
            "-Xss512k",
            *shared_classes.options(runtime, libraries),
            *(
                ["--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow"]
                if runtime.major >= 24
                else []
            ),
            "-XX:+ExitOnOutOfMemoryError",
            "-Djava.awt.headless=true",
            "-Dlog4j2.configurationFile=log4j2.properties",  # relative, as above: log4j, too, splits at commas
            "-cp",
            str(libraries / "*"),
        ]

    def _format(self, command: list[str], properties: Path) -> None:
        data = self.folder / "data"
        if data.exists() and any(data.iterdir()):
            raise EmbeddedError(
                f"{data} holds files but no meta.properties: it is not a broker's folder, or was damaged. Move it "
                f"away, or choose another folder with --data."
            )
        ran = run_through(
            f"formatting the broker's storage in {data}",
            [*command, _FORMAT, "format", "--cluster-id", cluster_id(), "--config", str(properties)],
            env={**os.environ, **_LOCALE},
            cwd=self.folder,
        )
        if ran.returncode != 0:
            raise EmbeddedError(
                f"the broker's storage in {data} can't be formatted: {(ran.stderr or ran.stdout).strip()}"
            )


async def broker_answers(settings: Settings, seconds: float = 3.0) -> bool:
    """Whether a broker of these settings answers a metadata request. Raises EmbeddedError when it lets us not in or
    is not to be trusted, and SettingsError for credentials that can't be read: waiting would not help."""
    options = client_options(settings)
    untrusted: EmbeddedError | None = None
    for address in options.pop("bootstrap_servers").split(","):
        try:
            return await _answers(address.strip(), options, seconds)
        except (SaslAuthenticationFailed, AuthenticationFailedError, UnsupportedSaslMechanismError) as error:
            user = options.get("sasl_plain_username", "")
            raise EmbeddedError(
                f"the broker at {address} refuses user {user!r} ({options.get('sasl_mechanism')}): {error}. Check "
                f"{settings.kafka_config}"
            ) from None
        except ssl.SSLCertVerificationError as error:
            untrusted = EmbeddedError(
                f"the certificate of the broker at {address} is not trusted: {error.verify_message}. Check "
                f"ssl.ca.location in {settings.kafka_config}, and that the certificate names that address"
            )
        except (KafkaError, OSError, TimeoutError):
            continue
    if untrusted is not None:
        raise untrusted
    return False


async def _answers(address: str, options: dict[str, Any], seconds: float) -> bool:
    """Raises KafkaError, OSError and TimeoutError."""
    milliseconds = int(seconds * 1000)
    connection = await create_conn(
        *split_address(address), client_id="forgelog-probe", request_timeout_ms=milliseconds, **options
    )
    try:
        try:
            return bool((await connection.send(MetadataRequest([]))).brokers)
        except KafkaConnectionError:
            if "sasl_mechanism" in options:
                raise
            raise EmbeddedError(
                f"the broker at {address} ends connections that do not say who they are: name a file with user and "
                f"password by {VARIABLE} (the form is that of `kcat -F`)"
            ) from None
    finally:
        connection.close()

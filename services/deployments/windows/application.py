"""The application of Faust that makes the windows: it reads what routers and agents tell, and tells the windows.

At least once: what it had read and not committed when it was killed comes again, and `folding` knows what it has
counted. Its table is kept in Kafka (a compacted topic of Faust's own), so a process that takes its partitions over goes
on with the same windows. Nothing else reads that topic. It is made before the application starts: one that asks while
it is being made takes it for a topic without partitions, and keeps to that.

A record counts as read once the broker has acknowledged what became of it, also the table's change. Faust itself
commits earlier: its flush before a commit gives up after 0.1 s without a message sent, and does not see the one that
is being sent, so a process that was killed then had counts that no other one would ever make up.

It must not be Faust's `exactly_once`: with aiokafka 0.14 that fails (docs/decisions/0107-requests-of-deployments.md).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import faust
import orjson
from pydantic import ValidationError

from events.language.common import DEFAULT_PROJECT
from events.language.deployments.steering import ReportUsage
from events.language.deployments.traffic_records import TrafficRecord
from events.language.streams import TRAFFIC, WINDOWS
from events.log.access import client_options
from events.log.topics import commands
from events.process.settings import Settings
from services.deployments.windows.folding import Came, Change, Row, added, is_complete, of_traffic, of_usage, window_of

log = logging.getLogger("forgelog.windows")

NAME = "windows"
CHANGES = f"{NAME}-{NAME}-changelog"
"""The table's topic (without prefix), as Faust names it."""
SESSION_SECONDS = 10.0
"""After which the partitions of a process that was killed are given to another one; its successor of the same name
gets them at once."""
SWEEP_RECORDS = 1_000
"""Records of a partition after which its complete windows are put aside."""

_UNTOLD = 70
"""The exit status of a process that could not tell what it counted (EX_SOFTWARE of sysexits.h)."""

_USAGE = ReportUsage.type_name().encode()


@dataclass(frozen=True, slots=True)
class _New:
    """A window that changed."""

    key: str
    deployment: bytes
    told: bytes
    kept: bytes
    """Its row of the table."""


class Table(faust.Table):  # type: ignore[type-arg]  # Faust is not generic when it runs
    """One that knows which of its changes no broker has acknowledged yet."""

    changes: list[Any]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.changes = []

    def send_changelog(self, *args: Any, **options: Any) -> Any:
        change = super().send_changelog(*args, **options)
        self.changes.append(change)
        return change

    async def acknowledged(self) -> None:
        changes, self.changes = self.changes, []
        await asyncio.gather(*changes)


def application(settings: Settings, partitions: int) -> Any:
    """The application, not started. `partitions`: how many its topics have."""
    prefix = settings.prefix
    folder = settings.data / NAME
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    options = client_options(settings)
    app = faust.App(
        f"{prefix}{NAME}",
        broker=[f"kafka://{server}" for server in options["bootstrap_servers"].split(",")],
        broker_credentials=_credentials(options),
        consumer_group_instance_id=settings.instance.replace("{context}", "deployments") or None,
        broker_session_timeout=SESSION_SECONDS,
        broker_heartbeat_interval=3.0,
        broker_commit_interval=1.0,
        consumer_auto_offset_reset="earliest",
        datadir=str(folder),
        key_serializer="raw",
        value_serializer="raw",
        processing_guarantee="at_least_once",
        producer_acks=-1,
        stream_wait_empty=False,
        Table=Table,
        table_cleanup_interval=3600.0,
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_partitions=partitions,
        store="memory://",
        web_enabled=False,
        autodiscover=False,
    )
    told = app.topic(f"{prefix}{TRAFFIC.name}", f"{prefix}{commands('deployments')}", allow_empty=True, internal=False)
    windows = app.topic(f"{prefix}{WINDOWS.name}")
    table = cast(Table, app.Table(NAME, partitions=partitions, key_type=str, value_type=bytes))
    since = dict[int, int]()

    @app.on_rebalance_complete.connect
    async def wait_for_seek(*_: Any, **__: Any) -> None:
        """Faust lets records of the restored partitions in before it has sought where they go on; it lets them in again
        by itself once it has."""
        app.consumer.stop_flow()

    def counted(changes: Iterator[Change], came: Came) -> list[_New]:
        """The windows that change."""
        rows = dict[str, Row]()
        for change in changes:
            kept = table.get(change.key)
            row = rows.get(change.key) or (change.row if kept is None else orjson.loads(kept))
            if (new := added(row, change, came)) is not None:
                rows[change.key] = new
        return [
            _New(key, row["deployment_id"].encode(), orjson.dumps(window_of(row)), orjson.dumps(row))
            for key, row in rows.items()
        ]

    async def tell(changed: list[_New]) -> None:
        # windows first: what the table has counted is never told again
        await asyncio.gather(*[await windows.send(key=each.deployment, value=each.told) for each in changed])
        for each in changed:
            table[each.key] = each.kept
        await table.acknowledged()

    @app.agent(told, name="fold")
    async def fold(stream: Any) -> None:
        async for event in stream.events():
            message = event.message
            came = Came(message.partition, message.offset, message.timestamp)
            place = f"{message.topic}/{came.partition}@{came.offset}"
            try:
                changed = counted(_changes(message, came, prefix), came)
            except Exception:
                log.exception("%s can't be counted", place)
                continue
            try:
                await tell(changed)
            except Exception:
                # Faust would take the record for read: ended as by a kill, the process leaves it to its successor
                log.critical("%s: its counts can't be told", place, exc_info=True)
                os._exit(_UNTOLD)
            since[came.partition] = since.get(came.partition, 0) + 1
            if since[came.partition] >= SWEEP_RECORDS:
                since[came.partition] = 0
                for key in [key for key, row in table.items() if is_complete(orjson.loads(row), came)]:
                    del table[key]

    return app


def _changes(message: Any, came: Came, prefix: str) -> Iterator[Change]:
    """What a record changes. One that can't be read changes nothing: the context's own reader makes it a dead letter,
    if it is a command; routers write no others."""
    value = message.value or b""
    try:
        if message.topic == f"{prefix}{TRAFFIC.name}":
            yield from of_traffic(TrafficRecord.model_validate_json(value), came)
        elif (headers := dict(message.headers or ())).get("ce_type") == _USAGE:
            project = (headers.get("ce_project") or b"").decode(errors="replace") or DEFAULT_PROJECT
            yield from of_usage(ReportUsage.model_validate_json(value), project, came)
    except ValidationError as error:
        log.warning("%s/%d@%d can't be counted: %s", message.topic, came.partition, came.offset, error.error_count())


def _credentials(options: dict[str, Any]) -> Any:
    """What the broker is told of who asks."""
    protocol, context = options.get("security_protocol", "PLAINTEXT"), options.get("ssl_context")
    if protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            mechanism=options["sasl_mechanism"],
            ssl_context=context,
        )
    return None if context is None else faust.SSLCredentials(context)

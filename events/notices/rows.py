"""The table of what people are to be told. A context's projection puts a row for each event that they are told of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import Field

from events.language.base import Model
from events.language.common import Identifier, Timestamp
from events.language.deployments.alerts import AlertChannel
from events.language.jobs.spec_monitoring import AlertSeverity
from events.log.envelope import Recorded
from events.projections.projection import Row, Rows, Table
from events.projections.row_models import table_of


class Notice(Model):
    """What people are to be told of one event."""

    notice_id: Identifier
    """The event's."""
    project: str
    aggregate: str
    """What it is about, in a word: ``deployment``."""
    subject: Identifier
    """The id of that."""
    name: str
    """Its name."""
    type: str
    """Such as ``alert.fired``; what receivers of webhooks look at."""
    title: str
    """What has happened, in a few words: ``alert slow fires``."""
    severity: AlertSeverity
    summary: str
    """What has happened, in a sentence."""
    details: dict[str, Any] = Field(default_factory=dict)
    """Further values of a webhook, by their names."""
    command: str = ""
    """Of the command line: it tells more."""
    channels: tuple[AlertChannel, ...] = ()
    """As they were set then."""
    happened_at: Timestamp


NOTICES: Table = table_of(
    Notice,
    "notices",
    key=("notice_id",),
    indexes=("happened_at desc, notice_id desc", "subject, happened_at desc, notice_id desc"),
    born="happened_at",
)


def put(recorded: Recorded, rows: Rows, channels: Iterable[Mapping[str, Any]], **said: Any) -> None:
    """Have these channels told of an event; nothing where there are none. `said`: the row's other columns."""
    known = [{name: each[name] for name in AlertChannel.model_fields} for each in channels]
    if not known:
        return
    row: Row = NOTICES.first(notice_id=recorded.meta.id, happened_at=recorded.meta.time, channels=known, **said)
    rows.put(NOTICES, row)

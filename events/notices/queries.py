"""What became of notices: the list that each context with notices answers. Contexts differ in their messages alone."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import asyncpg
import grpc

from events.language.convert import to_message
from events.notices.deliveries import KEPT_DAYS, MOST_AGE, schema_of
from events.process.settings import Settings
from events.queries.listing import Listing
from events.queries.queries import QueryError, ReadModel, read_options
from forgelog_pb.common.v1.types_pb2 import NoticeDelivery

_HOURS = int(MOST_AGE.total_seconds() // 3600)

_SOURCE = """
    (select n.notice_id, c.name as channel, c.kind, n.project, n.aggregate, n.subject, n.name, n.type, n.severity,
        n.summary, n.happened_at, coalesce(d.tries, 0) as tries, coalesce(d.error, '') as error, d.tried_at,
        case when d.done_at is null then d.due end as due_at,
        case when d.error = '' then d.done_at end as delivered_at,
        case when d.done_at is not null and d.error = '' then 'delivered' when d.done_at is not null then 'given_up'
            when d.notice_id is null and n.happened_at < now() - interval '{hours} hours' then 'passed_over'
            else 'waiting' end as state
    from notices n cross join lateral jsonb_to_recordset(n.channels) as c(name text, kind text)
    left join {schema}.deliveries d on d.notice_id = n.notice_id and d.channel = c.name
    where n.happened_at >= now() - interval '{days} days') found
"""
"""What became of older ones is forgotten."""


class NoticeList:
    """Deliveries of a context's notices, newest first."""

    def __init__(self, read: ReadModel, settings: Settings, request: Any) -> None:
        """`request`: the class of the list's request."""
        self._read = read
        self._listing = Listing(
            request,
            _SOURCE.format(schema=schema_of(settings), hours=_HOURS, days=KEPT_DAYS),
            order={"happened_at": datetime, "notice_id": str, "channel": str},
            descending=True,
            filters={"subject": "subject", "project": "project", "states": "state", "channel": "channel"},
        )

    async def page(self, request: Any) -> tuple[list[NoticeDelivery], str]:
        """A page, and the cursor of the next. As of a time it has the notices that there were then, and what is known
        of them now. Raises QueryError."""
        options, query = read_options(request.options), self._listing.query(request)
        try:
            async with self._read.view(**options) as db:
                page = await query.fetch(db)
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.InvalidSchemaNameError):
            raise QueryError(grpc.StatusCode.UNAVAILABLE, "the service has just started; ask again") from None
        return [to_message(dict(row), NoticeDelivery) for row in page.rows], page.next_cursor

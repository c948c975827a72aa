"""The table of what became of notices: a row for each notice and channel. It is no projection: a rebuild leaves it."""

from __future__ import annotations

from datetime import timedelta

from events.process.settings import Settings
from events.projections.tables import quoted

MOST_AGE = timedelta(hours=24)
"""Nothing is sent that is older: after a loss of this table not all of history is told anew."""

KEPT_DAYS = 30
"""What is done is forgotten after so many days."""

MAKE = (
    """
    create table if not exists deliveries (notice_id text, channel text, tries int not null default 0,
    due timestamptz not null default now(), done_at timestamptz, error text not null default '',
    primary key (notice_id, channel))
    """,
    # Before there were others, all were of deployments, and an error that is done was given up.
    "alter table deliveries add column if not exists context text not null default 'deployments'",
    "alter table deliveries add column if not exists tried_at timestamptz",
    "create index if not exists deliveries_due on deliveries (context, due) where done_at is null",
)

FORGET = f"delete from deliveries where context = $1 and done_at < now() - interval '{KEPT_DAYS} days'"

ENTER = "insert into deliveries (notice_id, channel, context) values ($1, $2, $3) on conflict do nothing"

CLAIM = """
    update deliveries set tries = tries + 1, tried_at = now(), due = now() + make_interval(secs => $2)
    where (notice_id, channel) in (
        select notice_id, channel from deliveries where context = $1 and done_at is null and due <= now()
        order by due limit $3 for update skip locked)
    returning notice_id, channel, tries
"""
"""Those that are due, for this process to try: others leave them alone for so many seconds."""

TRIED = """
    update deliveries set done_at = case when $3 then now() end, error = $4, due = now() + make_interval(secs => $5)
    where notice_id = $1 and channel = $2
"""

NEXT = "select min(due) from deliveries where context = $1 and done_at is null"


def schema_of(settings: Settings) -> str:
    """Where the table is, as SQL has it."""
    return quoted(f"{settings.schema_}_notices")

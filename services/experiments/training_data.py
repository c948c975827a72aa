"""Which registered dataset a version of a model was trained on. Knows no decisions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from events.projections.tables import Db
from events.queries.queries import not_found

_READ = """
select d.* from run_inputs i join datasets d on d.name = i.name and d.digest = i.digest and d.project = $2
where i.run_id = $1 and (i.role = '' or i.role ilike 'train%')
order by i.role = '', i.logged_at, d.number desc limit 1
"""
"""Of what the run read: what it says was for training, else what it does not say what for."""

_NAMED = """
select * from datasets where project = $1 and name = $2 and ($3::bigint = 0 or number = $3) order by number desc limit 1
"""


async def training_of(db: Db, version: Any, request: Any, at: datetime | None) -> Any:
    """The row of the dataset; None where none is known. Raises QueryError for one that is named and is not there."""
    if not (named := request.training_dataset):
        return (
            await db.fetchrow(_READ, version["source_run_id"], version["project"]) if version["source_run_id"] else None
        )
    name, _, number = named.rpartition("/")
    numbered = bool(name) and number.isascii() and number.isdigit() and len(number) < 10  # a name may have a slash
    row = await db.fetchrow(_NAMED, version["project"], name if numbered else named, int(number) if numbered else 0)
    if row is None:
        raise not_found("dataset", named, at)
    return row

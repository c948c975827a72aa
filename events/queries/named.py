"""Aggregates that have an id and, within their project, a name: what their servicers share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from events.projections.tables import Db
from events.queries.listing import Listing, Page
from events.queries.queries import QueryError, ReadModel, invalid, not_found, read_options


@dataclass(frozen=True, slots=True)
class NamedRows:
    """A table with a row for each aggregate of a kind; requests and the table call its id ``KIND_id``."""

    table: str
    kind: str

    async def get(self, read: ReadModel, request: Any) -> Any:
        """The row that a request names, by id or by `project` and `name`. Raises QueryError."""
        options, id = read_options(request.options), self._id(request)
        if not id and not (request.project and request.name):
            raise invalid(f"{self._key}: is empty; give it, or project and name")
        async with read.view(**options) as db:
            if id:
                row = await db.fetchrow(f"select * from {self.table} where {self._key} = $1", id)
            else:
                of_name = f"select * from {self.table} where project = $1 and name = $2"
                row = await db.fetchrow(of_name, request.project, request.name)
        if row is None:
            raise not_found(self.kind, id or request.name, options["as_of"])
        return row

    async def page(self, read: ReadModel, listing: Listing, request: Any, hint: str | None = None) -> Page:
        """A page of what belongs to the aggregate that a request names by its id; `hint` is told where it does not, and
        without one a request may be about all of them. Raises QueryError, also if there is no such aggregate."""
        options, id = read_options(request.options), self._id(request)
        if not id and hint is not None:
            raise invalid(f"{self._key}: is empty; {hint}")
        query = listing.query(request)
        async with read.view(**options) as db:
            page = await query.fetch(db)
            if id and not page.rows:
                await self.check(db, id, options["as_of"])
        return page

    async def check(self, db: Db, id: str, as_of: datetime | None) -> None:
        """Raises QueryError if there is no such aggregate."""
        if await db.fetchval(f"select 1 from {self.table} where {self._key} = $1", id) is None:
            raise not_found(self.kind, id, as_of)

    async def lacks(self, db: Db, part: str, id: str, as_of: datetime | None) -> QueryError:
        """Why there is no such part, as ``revision 2``, of an aggregate: it lacks the part, or is not there itself."""
        await self.check(db, id, as_of)
        return not_found(f"{part} of {self.kind}", id, as_of)

    @property
    def _key(self) -> str:
        return f"{self.kind}_id"

    def _id(self, request: Any) -> str:
        return str(getattr(request, self._key))

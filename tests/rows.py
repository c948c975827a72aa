"""The rows of a projection, in memory."""

from __future__ import annotations

from events.projections.projection import Key, Projection, Row, Table


class HeldRows:
    """Rows without a past, as a projection is given them."""

    def __init__(self, projection: Projection) -> None:
        self.tables: dict[str, dict[Key, Row]] = {table.name: {} for table in projection.tables}

    def get(self, table: Table, key: Key) -> Row | None:
        return self.tables[table.name].get(key)

    def put(self, table: Table, row: Row) -> None:
        self.tables[table.name][table.key_of(row)] = row

    def delete(self, table: Table, key: Key) -> None:
        self.tables[table.name].pop(key, None)

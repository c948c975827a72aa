"""What the drivers of all databases share: how their errors are told, and how tables are named."""

from __future__ import annotations

import re

from forgelog.pipelines.io import sql
from forgelog.pipelines.problems import StageError


def table_name(table: str) -> str:
    """``schema.table`` as identifiers."""
    return ".".join(sql.name(part) for part in table.split("."))


_SAID = re.compile(r"\bERROR: +(.*)")
_DRIVERS = ("adbc_driver_manager", "sqlite3", "duckdb", "_duckdb", "pyarrow", "pymysql")
_LOST = (
    "Connection refused",
    "could not connect",
    "timeout",
    "Could not set lock",
    "is locked",
    "Can't connect",
    "Lost connection",
    "Deadlock found",
)


class explained:
    """Translates errors of a driver. They name tables and values; an address, which may have a password, is cut."""

    def __init__(self, field: str) -> None:
        self._field = field

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, StageError) or not isinstance(error, Exception):
            return
        if type(error).__module__.split(".")[0] not in _DRIVERS:
            raise error
        # PyMySQL's errors are a number and a text
        text = str(error.args[-1]) if type(error).__module__ == "pymysql.err" and error.args else str(error)
        said = re.sub(r"\w+://\S+@", "…@", text)
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        first = re.sub(r"^\w+: \[libpq\] ?", "", lines[0]) if lines else type(error).__name__
        if found := _SAID.search(said):  # behind the statement, which may be long
            first = found[1]
        lost = any(word in said for word in _LOST)
        remedy = "see whether the database runs, and what else uses it" if lost else "correct it, or the rights there"
        raise StageError(self._field, f"the database says: {first[:1_000]}", remedy, transient=lost) from None

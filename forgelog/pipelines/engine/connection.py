"""A DuckDB for one stage: bounded in memory, spilling to scratch space, and blind to all that is not declared."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from forgelog.pipelines.problems import StageError, needs_extra

MEMORY_SHARE = 0.8
"""Of the stage's memory: the rest is for Python, and for what DuckDB does not count."""

LEAST_MEMORY_BYTES = 64 << 20


def open_connection(memory_bytes: int, threads: int, scratch: Path, allowed_paths: Iterable[str] = ()) -> Any:
    """A DuckDB in memory that uses at most `MEMORY_SHARE` of `memory_bytes` and then spills to `scratch`.

    It may read and write below `scratch`, and the files `allowed_paths`; an allowed path that ends with a slash is a
    folder. It is not locked: attach inputs, then call `lock`.
    """
    try:
        import duckdb
    except ImportError:
        raise needs_extra("duckdb") from None
    spill = scratch / "duckdb"
    spill.mkdir(mode=0o700, parents=True, exist_ok=True)
    connection = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": f"{max(LEAST_MEMORY_BYTES, int(memory_bytes * MEMORY_SHARE))}B",
            "threads": max(1, threads),
            "temp_directory": str(spill),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,
        },
    )
    connection.execute("SET TimeZone = 'UTC'")  # refused in `config`: what knows time zones is loaded later
    allow(connection, [f"{scratch}/", *allowed_paths])
    return connection


def allow(connection: Any, paths: Iterable[str]) -> None:
    """Lets a connection that is not locked read and write more files; those that end with a slash are folders."""
    given = list(paths)
    folders, files = [path for path in given if path.endswith("/")], [path for path in given if not path.endswith("/")]
    for setting, more in (("allowed_directories", folders), ("allowed_paths", files)):
        if more:  # all at once: DuckDB takes the whole list, which may be of thousands
            (before,) = connection.execute("SELECT current_setting(?)", [setting]).fetchone()
            _set(connection, setting, [*before, *more])


def lock(connection: Any) -> None:
    """From here on nothing but the allowed paths can be read or written, and no setting can be changed."""
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def spilled_bytes(connection: Any) -> int:
    """How much is in scratch space now."""
    (size,) = connection.execute("SELECT coalesce(sum(size), 0) FROM duckdb_temporary_files()").fetchone()
    return int(size)


def _set(connection: Any, name: str, paths: list[str]) -> None:
    for path in paths:
        if "\0" in path:
            raise StageError("", f"{path!r} is no path", "give one without the character U+0000")
    listed = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
    connection.execute(f"SET {name} = [{listed}]")

"""What a stage without a sink hands on: its rows as Parquet, in its report where they are few and else as an object."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from events.language.objects import ObjectRef
from events.language.pipelines.columns import Column
from events.language.pipelines.work import MAX_INLINE, StageOutput
from forgelog.pipelines.engine.literals import literal
from forgelog.pipelines.engine.running import describe, execute
from forgelog.pipelines.engine.sql import quoted
from forgelog.pipelines.io.copying import file_digest
from forgelog.pipelines.problems import StageError

if TYPE_CHECKING:
    import duckdb


class Store(Protocol):
    """Holds objects: the platform's (`RemoteObjects`), or a folder."""

    def put(self, ref: ObjectRef, opened: Callable[[], BinaryIO]) -> None: ...
    def get(self, ref: ObjectRef, opened: Callable[[], BinaryIO]) -> None: ...


Objects = Callable[[], Store]
"""Objects, where they are needed."""


def hand_on(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    scratch: Path,
    objects: Objects,
    most_inline: int = MAX_INLINE,
) -> tuple[StageOutput, int]:
    """Keep a relation's rows for the stages that read them; and how many bytes they have. `scratch`: a folder that the
    connection may write to. More bytes than `most_inline` become an object. Raises StageError, RemoteError."""
    path = scratch / f"{relation[:100]}.handed-on.parquet"
    ((rows,),) = execute(
        connection, f"COPY (SELECT * FROM {quoted(relation)}) TO {literal(str(path))} (FORMAT parquet)"
    )
    columns = describe(connection, relation)
    size = path.stat().st_size
    if size <= most_inline:
        text = base64.b64encode(path.read_bytes()).decode()
        return StageOutput(rows=rows, columns=columns, inline=text), size
    ref = ObjectRef(digest=file_digest(path), size=size)
    objects().put(ref, lambda: path.open("rb"))
    return StageOutput(rows=rows, columns=columns, table=ref), size


def attach_handed_on(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    outputs: tuple[StageOutput, ...],
    scratch: Path,
    objects: Objects,
) -> tuple[tuple[Column, ...], int]:
    """Make the view `name` of what stages have handed on; its columns, and the bytes of it. Several outputs are one
    after the other, as the parts of a fan-out. Raises StageError, RemoteError."""
    paths: list[Path] = []
    for number, output in enumerate(outputs):
        path = scratch / f"{name}-{number}.parquet"
        _fetch(output, path, name, objects)
        paths.append(path)
    files = ", ".join(literal(str(path)) for path in paths)
    query = f"SELECT * FROM read_parquet([{files}], union_by_name := true)"
    execute(connection, f"CREATE VIEW {quoted(name)} AS {query}", f"inputs.{name}")
    return describe(connection, name), sum(path.stat().st_size for path in paths)


def _fetch(output: StageOutput, path: Path, name: str, objects: Objects) -> None:
    if output.table is not None:
        objects().get(output.table, lambda: path.open("wb"))
    elif output.inline:
        path.write_bytes(base64.b64decode(output.inline))
    else:
        raise StageError(f"inputs.{name}.stage", "it has handed on no rows", "name it in after, or let it give a table")

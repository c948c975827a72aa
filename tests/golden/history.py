"""The files of a recorded history: one folder under ``histories/`` for each recording, written once and never changed.

- ``about.json``: what the recording is of: versions, partitions, moments that were noted.
- ``log.jsonl.zst``: every record of every topic, a line each, by topic, partition and offset.
- ``states.json.zst``: what each context's writer knew at the end, as its snapshots have it.
- ``snapshots.json.zst``: the snapshots that its writers had stored by then, as they lie in the database.
- ``rows.json.zst``: the rows of every table at the end, by their primary keys.
- ``answers.json.zst``: what the gateway answered at the end, by path.
- ``postgres.sql.zst``: the Postgres schemas as SQL: tables, positions, snapshots, stored output. Their names begin with
  `SCHEMA`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import cramjam
import orjson

from events.log.wire import Raw

FOLDER = Path(__file__).parent / "histories"

SCHEMA = "schema_of_the_recording"

LEVEL = 19
"""Of zstd: recordings are written once and kept in the repository."""


class History:
    """A recording; its parts are read when they are asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name

    @cached_property
    def about(self) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads((self.folder / "about.json").read_bytes())
        return found

    @cached_property
    def records(self) -> list[Raw]:
        return [_raw(orjson.loads(line)) for line in self._unpacked("log.jsonl").splitlines()]

    def of(self, topic: str) -> list[Raw]:
        """A topic's records, by partition and offset."""
        return [raw for raw in self.records if raw.topic == topic]

    @cached_property
    def states(self) -> dict[str, Any]:
        found: dict[str, Any] = self._json("states")
        return found

    @cached_property
    def snapshots(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._json("snapshots")
        return found

    @cached_property
    def rows(self) -> dict[str, Any]:
        found: dict[str, Any] = self._json("rows")
        return found

    @cached_property
    def answers(self) -> dict[str, Any]:
        found: dict[str, Any] = self._json("answers")
        return found

    @cached_property
    def sql(self) -> str:
        return self._unpacked("postgres.sql").decode()

    def _json(self, name: str) -> Any:
        return orjson.loads(self._unpacked(f"{name}.json"))

    def _unpacked(self, name: str) -> bytes:
        return bytes(cramjam.zstd.decompress((self.folder / f"{name}.zst").read_bytes()))


def recorded() -> list[History]:
    """All recordings, the oldest first."""
    return [History(folder) for folder in sorted(FOLDER.iterdir()) if (folder / "about.json").exists()]


def files(
    about: dict[str, Any],
    records: Iterable[Raw],
    states: dict[str, Any],
    snapshots: list[dict[str, Any]],
    rows: dict[str, Any],
    answers: dict[str, Any],
    sql: str,
) -> dict[str, bytes]:
    """Name → content of a recording's files, not compressed yet."""
    return {
        "about.json": orjson.dumps(about, option=orjson.OPT_INDENT_2) + b"\n",
        "log.jsonl": b"".join(orjson.dumps(_line(raw)) + b"\n" for raw in records),
        "states.json": orjson.dumps(states),
        "snapshots.json": orjson.dumps(snapshots),
        "rows.json": orjson.dumps(rows),
        "answers.json": orjson.dumps(answers),
        "postgres.sql": sql.encode(),
    }


def write(folder: Path, made: dict[str, bytes]) -> int:
    """Write a recording's files into a new folder; their bytes. Raises FileExistsError where the folder is there."""
    folder.mkdir(parents=True)
    size = 0
    for name, content in made.items():
        if name == "about.json":
            path, packed = folder / name, content
        else:
            path, packed = folder / f"{name}.zst", bytes(cramjam.zstd.compress(content, LEVEL))
        path.write_bytes(packed)
        size += len(packed)
    return size


def _line(raw: Raw) -> dict[str, Any]:
    return {
        "topic": raw.topic,
        "partition": raw.partition,
        "offset": raw.offset,
        "timestamp": raw.timestamp,
        "key": _text(raw.key),
        "value": _text(raw.value),
        "headers": [[name, _text(value)] for name, value in raw.headers],
    }


def _raw(line: dict[str, Any]) -> Raw:
    headers = [(name, _bytes(value)) for name, value in line["headers"]]
    return Raw(
        line["topic"],
        line["partition"],
        line["offset"],
        line["timestamp"],
        _bytes(line["key"]),
        _bytes(line["value"]),
        headers,
    )


def _text(content: bytes | None) -> Any:
    """As text where it is some: a recording is compressed better so, and can be read."""
    if content is None:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}


def _bytes(text: Any) -> bytes | None:
    if isinstance(text, dict):
        return base64.b64decode(text["base64"])
    return None if text is None else text.encode()

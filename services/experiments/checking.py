"""Looks at the files of models' versions and of datasets: reads each and compares it with its digest.

A background of the context (`events.hosting.Background`). The table `checks` has a row for each look that was asked for
and not taken. What comes of it is a command: `ReportVersionChecked`, `ReportDatasetChecked`. Its id is derived from the
look, so that several processes, or one that was killed behind the publishing, report it once.

A store that can't be reached says nothing about a file: the look is taken again. A file that is missing, or has other
bytes, is damage.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from events.hosting import Answering
from events.language.experiments.datasets import ReportDatasetChecked
from events.language.experiments.registry import ModelFormat, ReportVersionChecked
from events.language.objects import ObjectRef
from events.log.publish import Outgoing, Publisher
from events.objects.manifest import MAX_MANIFEST_BYTES, BundleFile, NoManifest, parse_manifest
from events.objects.store import ObjectDamaged, ObjectMissing, Objects
from events.projections.stored import Positions
from events.queries.watching import changes
from services.experiments.background import again_and_again, own_order, tables_made
from services.experiments.model_files import compression_of, warnings_of
from services.experiments.registry_rows import CHECKS

_AGAIN = 5.0
"""Seconds before looks are taken again that could not be."""
_HEAD = 512
"""Bytes of a file's beginning that tell what it is."""

_OPEN = """
    select c.*, coalesce(v.bundle, d.bundle) as bundle, v.model_format from checks c
    left join model_versions v on c.is_model and v.version_id = c.subject_id
    left join datasets d on not c.is_model and d.version_id = c.subject_id
    order by c.requested_at, c.subject_id, c.number
"""


@dataclass(slots=True)
class Seen:
    """What files are like."""

    problem: str = ""
    """Why they are damaged."""
    files: int = 0
    size: int = 0
    beginnings: list[tuple[BundleFile, bytes]] = field(default_factory=list)


async def check_files(answering: Answering) -> None:
    """Take the looks that are asked for, one after the other, until cancelled."""
    trouble = "files of models and datasets can't be looked at now"
    await again_and_again(_Worker(answering).run, _AGAIN, trouble)


class _Worker:
    def __init__(self, answering: Answering) -> None:
        self._read = answering.read
        self._settings = answering.settings
        self._objects = Objects(answering.settings.objects_url)
        self._reported: set[tuple[str, int]] = set()
        """Looks whose reports Kafka has, and whose rows may not have gone yet."""

    async def run(self) -> None:
        """Take looks as they are asked for. Raises what keeps it from that."""
        await tables_made(self._read)

        async def look(_: Positions) -> tuple[Positions, Sequence[Any]]:
            async with self._read.snapshot() as (db, reached):
                return reached, await db.fetch("select subject_id from checks limit 1")

        with self._read.watching.joined(CHECKS) as watcher:
            async with Publisher(self._settings) as publisher, aclosing(changes(watcher, look)) as changed:
                async for _ in changed:
                    await self._take_all(publisher)

    async def _take_all(self, publisher: Publisher) -> None:
        async with self._read.view() as db:
            asked = await db.fetch(_OPEN)
        self._reported &= {(row["subject_id"], row["number"]) for row in asked}
        for row in asked:
            look = row["subject_id"], row["number"]
            if look not in self._reported:
                await publisher.publish_many([await self._taken(row)])
                self._reported.add(look)

    async def _taken(self, row: Any) -> Outgoing:
        """A look, as the command that reports it. Raises ObjectStoreError."""
        seen = await seen_in(self._objects, ObjectRef.model_validate(row["bundle"]))
        found = {
            "version_id": row["subject_id"],
            "check": row["number"],
            "intact": not seen.problem,
            "reason": seen.problem[:500],
            "files": seen.files,
            "size_bytes": seen.size,
        }
        command: ReportVersionChecked | ReportDatasetChecked
        if row["is_model"]:
            command = ReportVersionChecked(
                **found,
                compression=compression_of(seen.beginnings),
                warnings=warnings_of(ModelFormat(row["model_format"]), seen.beginnings),
            )
        else:
            command = ReportDatasetChecked(**found)
        return own_order(command, f"{row['subject_id']}.check{row['number']}", row["project"])


async def seen_in(objects: Objects, bundle: ObjectRef) -> Seen:
    """Read all files of a bundle. Raises ObjectStoreError."""
    seen = Seen()
    try:
        if bundle.size > MAX_MANIFEST_BYTES:
            raise NoManifest(f"it has {bundle.size} bytes; a manifest has at most {MAX_MANIFEST_BYTES}")
        files = parse_manifest(await objects.read(bundle)).files
    except (ObjectMissing, ObjectDamaged, NoManifest) as error:
        seen.problem = f"the list of its files can't be read: {error}"
        return seen
    intact: set[str] = set()
    for file in files:
        seen.files += 1
        seen.size += file.size
        if file.digest in intact:
            continue
        try:
            async with aclosing(_pieces(objects, file)) as pieces:
                beginning = (await anext(pieces, b""))[:_HEAD]
                async for _ in pieces:
                    pass
        except (ObjectMissing, ObjectDamaged) as error:
            seen.problem = seen.problem or f"{file.path}: {error}"
            continue
        intact.add(file.digest)
        seen.beginnings.append((file, beginning))
    return seen


async def _pieces(objects: Objects, file: BundleFile) -> AsyncGenerator[bytes, None]:
    async for piece in objects.open(file.ref):
        yield piece

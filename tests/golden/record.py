"""`python -m tests.golden.record NAME`: records what the present code writes, as a further recorded history.

A recording that exists is never written again: it is what a version that was in use has left on people's disks. Record
a new one when what is written has changed: a new type of event, another envelope, other tables. See `README.md`.

A platform of its own goes through all `scenes`. What is in its log and its tables at the end is kept, and what its
gateway answers. Nothing that tells of the machine or the user may be in it: that is looked for, and refused.
"""

from __future__ import annotations

import asyncio
import base64
import getpass
import os
import re
import socket
import subprocess
import sys
import tempfile
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import orjson
import psutil
from aiokafka import TopicPartition

from events.audit.audit import verify
from events.audit.signing import public_key
from events.language.registry import event_types
from events.log import topics
from events.log.connect import connected
from events.log.consumers import HASTY, new_consumer
from events.log.reading import read_to_end
from events.log.wire import Raw
from events.process.settings import Settings
from events.projections.rebuild import projection_of
from events.projections.tables import HISTORY, set_codecs
from forgelog.embedded.postgres import binaries_folder
from tests import PATIENCE
from tests.access import admit_users
from tests.conftest import own_settings, running_servers
from tests.golden import experiment_scenes, folding, history, scenes
from tests.golden.comparing import Comparison
from tests.integration.cluster import Cluster, served

PARTITIONS = 2
"""So few that there are snapshots of each, and more than one."""

LOST_SECONDS = 6.0

SNAPSHOT_EVENTS = 100
"""The fewest there may be."""

OUTPUT_BYTES = 4096
"""What is kept of an attempt's output: so little that there is output that was cut."""

SEAL_SECONDS = 0.5
"""So soon that the points of every run that has ended are sealed when the recording ends."""

PAGES = (
    "/v1/jobs",
    "/v1/queues",
    "/v1/queues/default",
    "/v1/queues/batch/entries",
    "/v1/queues/default/placements",
    "/v1/nodes",
    "/v1/nodes/n1",
    "/v1/allocations",
    "/v1/pools",
)
"""Asked as it is at the end, and as of every moment that was noted."""

EXPERIMENTS = (
    "/v1/experiments",
    "/v1/experiments/e-digits",
    "/v1/experiments/e-digits/results",
    "/v1/runs",
    "/v1/runs/r-first",
    "/v1/runs/r-first/artifacts",
    "/v1/runs/r-first/capture",
    "/v1/runs/r-first/points/digest",
    "/v1/runs/r-first/seal",
    "/v1/runs/r-launched-0",
    "/v1/inputs",
    "/v1/lineage/run/r-first",
    "/v1/logged-models/m-net",
    "/v1/models",
    "/v1/models/mo-figures/live",
    "/v1/model-versions",
    "/v1/promotions",
    "/v1/datasets",
    "/v1/templates",
    "/v1/tunings",
    "/v1/tunings/t-study/trials",
)
"""Asked as it is at the end, and as of the moments that the scenes of experiments noted."""

JOBS = (
    "single",
    "array",
    "of-a-lab",
    "prints-much",
    "third",
    "in-vain",
    "cancelled-in-part",
    "moves",
    "runs-again",
    "keeps",
    scenes.RUNNING,
)
"""Jobs whose own pages are asked for."""

Kept = tuple[list[Raw], dict[str, Any], list[dict[str, Any]], str]


class Recorded(Cluster):
    """A platform whose agents tell of a machine that is made up."""

    def _run(self, name: str, module: str, extra: dict[str, str], *argv: str) -> None:
        module = "tests.golden.machine" if module == "services.resources.agent" else module
        own = {
            "FORGELOG_SNAPSHOT_EVENTS": str(SNAPSHOT_EVENTS),
            "FORGELOG_OUTPUT_BYTES": str(OUTPUT_BYTES),
            "FORGELOG_SEAL_SECONDS": str(SEAL_SECONDS),
        }
        super()._run(name, module, {**extra, **own}, *argv)


@asynccontextmanager
async def running(settings: Settings, folder: Path) -> AsyncIterator[Recorded]:
    """A platform without nodes."""
    await topics.ensure_topics(settings)
    await admit_users(settings)
    async with served(Recorded(settings, folder, LOST_SECONDS)) as platform:
        yield platform


async def record(name: str) -> None:
    """Make the recording. Raises FileExistsError where there is one of that name."""
    target = history.FOLDER / name
    if target.exists():
        raise FileExistsError(f"{target} is a recording already, which is never changed; give the new one another name")
    with tempfile.TemporaryDirectory(prefix="forgelog-recording-") as scratch:
        folder = Path(scratch)
        async with running_servers() as servers, own_settings(servers, folder) as own:
            settings = own.model_copy(update={"partitions": PARTITIONS, "data": folder})
            async with running(settings, folder) as platform:
                stage = await scenes.play(platform)
                await experiment_scenes.play(stage)
                _tell_missing(platform)
                await _stored(settings)
                answers = await _answers(platform, stage)
                await _signed(settings)
            about = {
                "version": version("forgelog"),
                "partitions": PARTITIONS,
                "contexts": list(topics.CONTEXTS),
                "topics": await topics.existing(settings),
                "head_key": public_key(settings).hex(),
                "stored_as": folding.versions(),
                "columns": folding.columns(),
                "jobs": stage.jobs,
                "moments": stage.moments,
            }
            records, rows, snapshots, sql = await _kept(settings)
            scratched = Scratched(settings, folder)
        made = history.files(about, records, {}, snapshots, rows, answers, scratched.renamed(sql))
        history.write(folder / "made", made)
        read = history.History(folder / "made")
        # What a live writer knows can't be read from outside: it is folded here, and must agree with its snapshots.
        states = folding.states(read)
        _check(read, states)
        about["undecodable"] = folding.undecodable(read)
        about["chains"] = {place: folding.told(found) for place, found in folding.chains(read).items()}
        made = history.files(about, records, states, snapshots, rows, answers, scratched.renamed(sql))
        scratched.check(made)
        size = history.write(target, made)
    print(f"recorded {target}: {len(records)} records, {len(snapshots)} snapshots, {size} bytes")


def _tell_missing(platform: Recorded) -> None:
    seen = {record.meta.type for record in platform.seen}
    print("types of events that were not seen:", ", ".join(sorted(event_types().keys() - seen)) or "none")


async def _stored(settings: Settings) -> None:
    """Wait until the tables have all that is in the log."""
    db = await asyncpg.connect(settings.postgres_required)
    try:
        async with asyncio.timeout(PATIENCE):
            while behind := await _behind(settings, db):
                print("waiting for", ", ".join(behind))
                await asyncio.sleep(0.5)
    finally:
        await db.close()


async def _signed(settings: Settings) -> None:
    """Wait until every partition has a signed head of its newest event."""
    async with asyncio.timeout(PATIENCE):
        while overdue := [each.place for each in await verify(settings) if each.unsigned]:
            print("waiting for signed heads of", ", ".join(overdue))
            await asyncio.sleep(1)


async def _behind(settings: Settings, db: Any) -> list[str]:
    async with connected(new_consumer(settings, **HASTY)) as consumer:
        places = [
            TopicPartition(settings.prefix + topic, number)
            for topic in (*map(topics.events, topics.CONTEXTS), topics.LOGS)
            for number in range(PARTITIONS)
        ]
        ends = await consumer.end_offsets(places)
    found = []
    for context in topics.CONTEXTS:
        schema = f"{settings.schema_}_{context}"
        rows = await db.fetch(f"select context, partition, off from {schema}.positions")
        for row in rows:
            place = TopicPartition(settings.prefix + topics.events(row["context"]), row["partition"])
            if row["off"] < ends[place]:
                found.append(f"tables of {context}: {topics.events(row['context'])}/{row['partition']}")
    rows = await db.fetch(f"select partition, off from {settings.schema_}_jobs_logs.positions where context = 'logs'")
    stored = {row["partition"]: row["off"] for row in rows}
    for number in range(PARTITIONS):
        if stored.get(number, 0) < ends[TopicPartition(settings.prefix + topics.LOGS, number)]:
            found.append(f"output: {topics.LOGS}/{number}")
    return found


async def _answers(platform: Recorded, stage: scenes.Stage) -> dict[str, Any]:
    """Path → status and answer (text where it is no JSON)."""
    paths = [*PAGES, "/v1/log/jobs/deadletters", f"/v1/jobs/{stage.jobs[scenes.WAITING]}/why"]
    paths += [f"{page}?as_of={quote(moment)}" for page in PAGES for moment in stage.moments.values()]
    paths += EXPERIMENTS
    paths += [
        f"{page}?as_of={quote(stage.moments[name])}" for page in EXPERIMENTS for name in ("datasets", "experiments")
    ]
    for name in JOBS:
        job = f"/v1/jobs/{stage.jobs[name]}"
        paths += [job, f"{job}/tasks", f"{job}/attempts", f"{job}/outputs", f"{job}/logs"]
        paths += [f"/v1/log/{context}/{stage.jobs[name]}/history" for context in ("jobs", "scheduling")]
    paths += [f"/v1/log/{context}/history?limit=1000" for context in topics.CONTEXTS]
    found: dict[str, Any] = {}
    async with platform.http() as client:
        for path in paths:
            found[path] = folding.answer(await client.get(path))
    return found


async def _kept(settings: Settings) -> Kept:
    """All records, the rows of all tables, the snapshots, the schemas as SQL."""
    records: list[Raw] = []
    counts = await topics.existing(settings)
    places = {TopicPartition(settings.prefix + name, n): 0 for name, count in counts.items() for n in range(count)}
    async with connected(new_consumer(settings, **HASTY)) as consumer:
        async for _, raws in read_to_end(consumer, places):
            records += raws
    records.sort(key=lambda raw: raw.position)
    db = await asyncpg.connect(settings.postgres_required)
    try:
        await set_codecs(db)
        rows: dict[str, Any] = {}
        for context in topics.CONTEXTS:
            projection, schema = projection_of(context), f"{settings.schema_}_{context}"
            for table in projection.tables:
                columns = ", ".join(f'"{column}"' for column in table.columns)
                found = await db.fetch(f"select {columns} from {schema}.{table.name}")
                rows[f"{context}/{table.name}"] = folding.keyed(table, map(dict, found))
            told = await db.fetch(f"select * from {schema}.{HISTORY.name} where context = $1", context)
            rows[f"{context}/{HISTORY.name}"] = folding.keyed(HISTORY, map(dict, told))
        stored = await db.fetch(
            "select context, partition, next_offset, version, data "
            f"from {settings.schema_}_log.snapshots order by context, partition, next_offset"
        )
        snapshots = [{**row, "data": base64.b64encode(row["data"]).decode()} for row in map(dict, stored)]
    finally:
        await db.close()
    command = [str(binaries_folder() / "pg_dump"), "--no-owner", "--no-privileges", "--no-comments", "--inserts"]
    command += ["--rows-per-insert=1000", f"--schema={settings.schema_}*", settings.postgres_required]
    told = {**os.environ, "PGTZ": "UTC"}
    dump = await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, text=True, env=told)
    return records, rows, snapshots, dump.stdout


def _check(read: history.History, states: dict[str, Any]) -> None:
    """A recording that does not agree with itself is none."""
    comparison = Comparison(read.name, ())
    comparison.whole("rows", read.rows, folding.rows(read))
    found = 0
    for _place, known in folding.stored_snapshots(read):
        comparison.whole("states", folding.in_records(known, states), states)
        found += 1
    assert not comparison.differences, comparison.told("The recording does not agree with itself.")
    assert found == len(read.snapshots)
    for verified in folding.chains(read).values():
        assert verified.intact, verified
        assert not verified.unsigned, verified


class Scratched:
    """What the recording's own platform was called, and what may be in no recording."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._schema = settings.schema_
        secrets = [*folder.rglob("*.key"), *folder.rglob("keys/*")]
        if settings.kafka_config is not None:
            secrets += settings.kafka_config.parent.iterdir()
        self._names = {
            settings.schema_,
            str(folder),
            tempfile.gettempdir() + "/",
            str(Path.home()),
            str(Path.cwd()),
            socket.gethostname(),
            *_addresses(),
            *(_secrets(secrets)),
        }
        if (user := getpass.getuser()) != "root":
            self._names.add(user)

    def renamed(self, sql: str) -> str:
        """SQL with the recording's name for the schemas, and only what any client can execute."""
        lines = [line for line in sql.splitlines() if not line.startswith(("--", "\\"))]
        return re.sub(r"\n\n+", "\n", "\n".join(lines)).replace(self._schema, history.SCHEMA)

    def check(self, made: dict[str, bytes]) -> None:
        """Raises ValueError where something of the machine, the user or the platform's secrets is in it."""
        readable = dict(made)
        stored = orjson.loads(readable.pop("snapshots.json"))
        readable["snapshots"] = b" ".join(zlib.decompress(base64.b64decode(each["data"])[4:]) for each in stored)
        words = re.compile(rb"(?<![A-Za-z0-9])(" + b"|".join(re.escape(name.encode()) for name in self._names) + b")")
        wrong = [
            f"{name}: {content[max(0, found.start() - 40) : found.end() + 40]!r}"
            for name, content in readable.items()
            for found in words.finditer(content)
        ]
        if wrong:
            raise ValueError("the recording tells of the machine it was made on: " + "; ".join(wrong[:10]))


def _addresses() -> Iterator[str]:
    for found in psutil.net_if_addrs().values():
        for one in found:
            address = one.address.partition("%")[0]
            if address and not address.startswith(("127.", "::1", "00:00:00:00:00:00")):
                yield address


def _secrets(files: list[Path]) -> Iterator[str]:
    """The words of files with keys and passwords that nobody could guess."""
    for file in files:
        if file.is_file():
            text = file.read_text(errors="ignore")
            yield from (word for word in re.split(r"[\s=\"';,]+", text) if len(word) >= 20 and "PRIVATE" not in word)


if __name__ == "__main__":
    if len(sys.argv) != 2 or not re.fullmatch(r"[a-z0-9.-]+", sys.argv[1]):
        sys.exit("usage: python -m tests.golden.record NAME (lower-case letters, digits, '.', '-')")
    os.nice(10)
    asyncio.run(record(sys.argv[1]))

"""Reproduces a run: asks the platform for it, restores what the plan says, runs it as another run, and compares."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from events.process.instants import instant
from forgelog.client.job_runs import RUN
from forgelog.errors import InvalidInput, NotFound
from forgelog.reproduce import code, here, packages, results
from forgelog.reproduce.plan import Plan, command_of, for_pip, planned
from forgelog.tracking.sender import LINGER
from forgelog.tracking.spool import FOLDER as SPOOL
from forgelog.tracking.spool import Destination, Spool
from forgelog.tracking.syncing import sync

if TYPE_CHECKING:
    from events.language.jobs.spec import JobSpec
    from forgelog.client.aio import AsyncClient

Say = Callable[[str], None]
AGAIN = 0.2
"""Seconds between looks at what is still to be sent."""
GRACE = 10.0
"""Seconds that a program has to end."""
ENDED = ("finished", "failed", "killed")
CODE, PATCH, REQUIREMENTS, VENV = "code", "changes.patch", "packages.txt", "venv"
"""In the folder that a run is restored into."""


class Reproduced(NamedTuple):
    """What became of it."""

    run_id: str
    status: str
    reason: str
    results: results.Results


async def plan(
    client: AsyncClient, run_id: str, *, repository: str = "", venv: bool = False, by_job: bool = False
) -> Plan:
    """What can be restored of a run. Raises `NotFound`, `Unavailable`, `InvalidInput` for a purged one."""
    from events.language.experiments.capture import RunCapture

    run = await client.runs.get(run_id)
    if run.purged_at is not None:
        raise InvalidInput(f"run {run_id} was purged at {instant(run.purged_at)}: what was captured of it is gone")
    capture, lines = RunCapture(), ""
    with contextlib.suppress(NotFound):
        capture = RunCapture.model_validate((await client.captures.get(run_id)).capture)
    if not by_job and capture.packages is not None and capture.packages.installed is not None:
        lines = (await client.captures.read(capture.packages.installed.model_dump())).decode()
    job, bundle = await _job(client, run["job_id"])
    looked = await asyncio.to_thread(here.look, capture, repository=repository, venv=venv, packages=lines)
    return planned(
        run,
        capture,
        await client.runs.inputs(run_id),
        looked,
        packages=lines,
        venv=venv,
        job=job,
        bundle=bundle,
        by_job=by_job,
    )


async def _job(client: AsyncClient, job_id: str) -> tuple[JobSpec | None, tuple[str, int] | None]:
    """The spec of a run's job, and its uploaded code."""
    from events.language.convert import from_message
    from events.language.jobs.spec import JobSpec
    from forgelog_pb.jobs.v1 import queries_pb2 as pb
    from forgelog_pb.jobs.v1 import queries_pb2_grpc as rpc

    if not job_id:
        return None, None
    core = client._core
    stub: Any = rpc.JobQueriesStub(core.channel)
    request = pb.GetJobRequest(job_id=job_id, options=core.options("jobs", None))
    try:
        answer = await core.ask(stub.GetJob, request, f"job {job_id}")
    except NotFound:
        return None, None
    spec = from_message(answer.spec, JobSpec)
    bundle = spec.environment.bundle
    return spec, (bundle.digest, bundle.size) if bundle is not None else None


# On this machine


async def restore(client: AsyncClient, found: Plan, into: Path, *, venv: bool, say: Say) -> list[str]:
    """Restore a run into a new folder; the command that runs it. Raises ForgelogError, `InvalidInput`."""
    if found.obstacles:
        raise InvalidInput(f"run {found.run_id} can't be reproduced: {'; '.join(found.obstacles)}")
    _make(into)
    await _restored_code(client, found, into, say)
    captured = found.capture.code
    folder = captured.folder if captured else ""
    interpreter = await _restored_packages(client, found, into, folder, venv, say)
    return command_of(found.argv, folder, str(into / CODE), interpreter)


async def _restored_code(client: AsyncClient, found: Plan, into: Path, say: Say) -> None:
    captured = found.capture.code
    if found.bundle is not None:
        from forgelog.client.artifacts import bundle_files, get_files

        files = await bundle_files(client._core, *found.bundle)
        await get_files(client._core, files, into / CODE, force=False)
        return
    assert captured is not None, "the plan has an obstacle otherwise"
    patch = await client.captures.read(captured.changes.model_dump()) if captured.changes else b""
    if patch:
        _write(into / PATCH, patch)
    for lacking in await asyncio.to_thread(code.restore, captured.commit, found.here.source, patch, into / CODE):
        say(f"not restored: {lacking}")


async def _restored_packages(client: AsyncClient, found: Plan, into: Path, folder: str, venv: bool, say: Say) -> str:
    """Writes the list of packages, and makes the environment. `folder`: that of the repository then. The Python to run
    with."""
    wanted, lines = found.capture.packages, ""
    if wanted is not None and wanted.installed is not None:
        lines = for_pip((await client.captures.read(wanted.installed.model_dump())).decode(), folder, str(into / CODE))
    _write(into / REQUIREMENTS, lines.encode())
    if not venv:
        return found.here.interpreter
    say(f"making an environment with {wanted.count if wanted else 0} packages; pip may take minutes")
    return str(await asyncio.to_thread(packages.make, found.here.for_venv, into / REQUIREMENTS, into / VENV))


def _make(into: Path) -> None:
    """A new or empty folder, its user's alone. Raises `InvalidInput`."""
    try:
        into.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(into.iterdir()):
            raise InvalidInput(f"--into: {into} is not empty; name a folder that does not exist")
    except OSError as error:
        raise InvalidInput(f"--into: {into}: {error.strerror or error}") from None


def _write(path: Path, data: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


async def run_here(client: AsyncClient, found: Plan, argv: Sequence[str], into: Path, *, quiet: bool, say: Say) -> str:
    """Run a restored program as a run that reproduces the first; the run's id. `quiet`: its output goes to standard
    error. Raises `Refused`."""
    run_id = await client.runs.create(experiment_id=found.experiment_id, name=found.name, reproduces=found.run_id)
    say(f"run {run_id}")
    folder = into / CODE
    if found.capture.program is not None and not found.here.no_folder:
        folder = folder / found.capture.program.working_directory
    core = client._core.connection
    told = {RUN: run_id, "FORGELOG_GATEWAY": core.address, "FORGELOG_TOKEN": core.key, SPOOL: str(into / "spool")}
    status, reason = "killed", "the reproduction was stopped"
    try:
        status, reason = await _ran(argv, folder, {**os.environ, **found.settings, **told}, quiet)
    finally:
        await _drained(Spool(into / "spool"), core.address, say)
        if (await client.runs.get(run_id))["status"] not in ENDED:
            await client.runs.end(run_id, status, reason=reason)
    return run_id


async def _drained(spool: Spool, address: str, say: Say) -> None:
    """Wait until the platform has all that the program kept of its run. The process beside it may be at it still."""
    until = time.monotonic() + LINGER
    while spool.sessions():
        done = await sync(spool, Destination(gateway=address), any_destination=True)
        if not (done.left or done.running):
            return
        if time.monotonic() > until:
            say(f"not all that the program logged is sent: {'; '.join(done.left.values()) or 'it still logs'}")
            return
        await asyncio.sleep(AGAIN)


async def _ran(argv: Sequence[str], folder: Path, variables: Mapping[str, str], quiet: bool) -> tuple[str, str]:
    """How a program's run ends, and why. Ctrl-C reaches the program too; it has some seconds to end."""
    if not await asyncio.to_thread(folder.is_dir):
        return "failed", f"its working directory {folder} is not there"
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, cwd=folder, env=variables, stdout=sys.stderr if quiet else None
        )
    except OSError as error:
        return "failed", f"{argv[0]} can't be started: {error.strerror or error}"
    try:
        code = await process.wait()
    except asyncio.CancelledError:
        try:
            async with asyncio.timeout(GRACE):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        raise
    if code == 0:
        return "finished", ""
    return ("killed", f"signal {-code}") if code < 0 else ("failed", f"exit code {code}")


# As a job


async def run_as_job(client: AsyncClient, found: Plan, *, say: Say) -> str:
    """Submit the same job as a run that reproduces the first, with the code of then, and wait for it; the run's id.
    Raises `InvalidInput`, `Refused`, ForgelogError."""
    if found.obstacles:
        raise InvalidInput(f"run {found.run_id} can't be reproduced: {'; '.join(found.obstacles)}")
    spec = await _spec(client, found, say)
    from forgelog.client.job_runs import submit_spec

    run_id, job_id = await submit_spec(
        client, spec, {"experiment_id": found.experiment_id, "name": found.name, "reproduces": found.run_id}
    )
    say(f"run {run_id}")
    say(f"job {job_id}")
    await client.jobs.wait([job_id])
    await _ended(client, run_id)
    return run_id


async def _ended(client: AsyncClient, run_id: str) -> None:
    """Wait until a run has ended."""
    rows: Any = client.runs.watch([run_id])
    async with contextlib.aclosing(rows):
        async for row in rows:
            if row["ended_at"] is not None:
                return


async def _spec(client: AsyncClient, found: Plan, say: Say) -> JobSpec:
    """The job's spec, without what it waited for; its code is uploaded if it was restored."""
    assert found.job is not None, "the plan has an obstacle otherwise"
    spec = found.job.model_copy(update={"depends_on": ()})
    captured = found.capture.code
    if found.bundle is not None or captured is None or (captured.commit and not found.here.source):
        if found.bundle is None:
            say(f"the job runs in {spec.environment.working_directory or 'an empty folder'} as that is now")
        return spec
    with tempfile.TemporaryDirectory(prefix="forgelog-reproduce-") as scratch:
        await _restored_code(client, found, Path(scratch), say)
        bundle = await client.upload(Path(scratch) / CODE)
    environment = spec.environment.model_copy(
        update={"bundle": bundle, "working_directory": "", "working_directory_id": ""}
    )
    command, args = spec.command, spec.args
    program = found.capture.program
    if program is not None and (inside := program.working_directory):
        if Path(inside).is_absolute():
            raise InvalidInput(f"the job ran in {inside}, outside of the repository; leave --job out")
        command, args = "sh", ("-c", 'cd "$0" && exec "$@"', inside, command, *args)
    moved = [_in_place(each, captured.folder) for each in args]
    return spec.model_copy(update={"environment": environment, "command": command, "args": tuple(moved)})


def _in_place(word: str, folder: str) -> str:
    """A word whose path leads into the repository, relative to that."""
    return word[len(folder) + 1 :] if folder and word.startswith(f"{folder}/") else word


# The comparison


async def compared(
    client: AsyncClient, then: str, now: str, *, ignore: Sequence[str] = (), tolerance: float = 0.0
) -> Reproduced:
    """Compare two runs, once all points that the log has of them can be read. Raises `NotFound`, `Unavailable`."""
    for each in (then, now):
        await client.runs.digest(each, complete=True)
    one, other = await client.runs.get(then), await client.runs.get(now)
    inputs = await client.runs.inputs(then), await client.runs.inputs(now)
    metrics = await client.runs.metrics([then, now])
    found = results.compare(one, other, metrics, inputs, ignore=ignore, tolerance=tolerance)
    return Reproduced(now, other["status"], other["reason"], found)

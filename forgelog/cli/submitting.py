"""`submit` and `run`: submit the jobs of a manifest or a command line; `run` follows its job to the end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli import complete
from forgelog.cli.common import OutputOption, guarded, shown
from forgelog.cli.common import run as run_work
from forgelog.cli.describing import described_by, folder
from forgelog.cli.interrupts import Interrupts
from forgelog.cli.nodes import pairs
from forgelog.cli.output import show_pieces
from forgelog.cli.progress import Progress
from forgelog.cli.render import Format, column, note, show_data, show_rows, write
from forgelog.cli.service_options import (
    DrainOption,
    LiveOption,
    PortOption,
    ReadyOption,
    ServiceOption,
    StartupOption,
    described_service,
)
from forgelog.errors import ForgelogError, InvalidInput, Timeout, Unavailable, exit_status

if TYPE_CHECKING:
    from events.language.objects import ObjectRef
    from forgelog.client.aio import AsyncClient
    from forgelog.client.jobs import AsyncJob
    from forgelog.client.plain import Answer

PRIORITIES = ("scavenger", "best_effort", "low", "normal", "high", "urgent", "critical")

MOST_LEFT_OUT = 10
"""Most files that are named because they were not uploaded."""

NameOption = Annotated[str, typer.Option("--name", help="Name, for people [default: the program's name].")]
IdOption = Annotated[
    str, typer.Option("--id", help="Id of the command: a repeat of it submits nothing again.", show_default=False)
]
JobIdOption = Annotated[str, typer.Option("--job-id", help="The job's id [default: assigned].")]
CpusOption = Annotated[str | None, typer.Option("--cpus", "-c", help="CPUs of each task: 2, 0.5, 500m [default: 1].")]
MemoryOption = Annotated[
    str | None,
    typer.Option(
        "--memory", "-m", help="Memory of each task: 512Mi, 4G [default: 256Mi]. A task that uses more is ended."
    ),
]
GpusOption = Annotated[int | None, typer.Option("--gpus", "-g", help="Of each task.")]
GpuTypeOption = Annotated[str | None, typer.Option("--gpu-type", help="Part of the GPU's name, such as H200.")]
ArrayOption = Annotated[int | None, typer.Option("--array", help="Run this many tasks, numbered by FORGELOG_TASK.")]
ParallelOption = Annotated[
    int | None, typer.Option("--max-parallel", help="Most tasks of an array that run at the same time.")
]
EnvOption = Annotated[list[str] | None, typer.Option("--env", "-e", help="NAME=value (repeatable).")]
LabelOption = Annotated[list[str] | None, typer.Option("--label", "-l", help="key=value (repeatable).")]
QueueOption = Annotated[
    str | None,
    typer.Option(
        "--queue", "-q", help="The queue, and with it the pool of nodes [default: default].",
        autocompletion=complete.queues,
    ),
]  # fmt: skip
PriorityOption = Annotated[
    str | None,
    typer.Option(
        "--priority", help="scavenger to critical [default: normal].", autocompletion=complete.words(PRIORITIES)
    ),
]
AfterOption = Annotated[
    list[str] | None,
    typer.Option("--after", help="Wait for this job's success (repeatable).", autocompletion=complete.jobs),
]
AfterAnyOption = Annotated[
    list[str] | None,
    typer.Option("--after-any", help="Wait for this job's end, however it ends.", autocompletion=complete.jobs),
]
AfterNotOkOption = Annotated[
    list[str] | None,
    typer.Option("--after-not-ok", help="Run only if this job fails or is cancelled.", autocompletion=complete.jobs),
]
RetriesOption = Annotated[
    int | None, typer.Option("--retries", min=0, help="Most restarts of a failed task [default: 0].")
]
BackoffOption = Annotated[
    str | None,
    typer.Option("--backoff", metavar="DURATION", help="Pause before a retry, doubled each time [default: 1s]."),
]
MaxBackoffOption = Annotated[
    str | None, typer.Option("--max-backoff", metavar="DURATION", help="Longest pause before a retry [default: 5m].")
]
TimeLimitOption = Annotated[
    str | None, typer.Option("--max-runtime", metavar="DURATION", help="Stop each task after this time: 90s, 12h.")
]
GraceOption = Annotated[
    str | None,
    typer.Option("--grace", metavar="DURATION", help="Time between TERM and KILL when stopped [default: 10s]."),
]
DirectoryOption = Annotated[
    str | None, typer.Option("--chdir", metavar="DIR", help="Run in this folder [default: the current one].")
]
NoDirectoryOption = Annotated[bool, typer.Option("--no-chdir", help="Run in an empty folder of the job's own.")]
UploadOption = Annotated[
    bool,
    typer.Option(
        "--upload", help="Upload that folder (without what .gitignore says), and run in a copy of it, on any node."
    ),
]
KeepOption = Annotated[
    list[str] | None,
    typer.Option(
        "--keep",
        metavar="PATTERN",
        help="Keep these files of each task when it has ended: 'results/**' (repeatable); see `forgelog fetch`.",
    ),
]
ExperimentOption = Annotated[
    str,
    typer.Option(
        "--experiment", help="Make the job a run of this experiment, and capture its code and command.",
        show_default=False,
    ),
]  # fmt: skip
ParamOption = Annotated[
    list[str] | None,
    typer.Option("--param", help="lr=0.1: a parameter of the run, told the program in FORGELOG_CONFIG (repeatable)."),
]
SelectorOption = Annotated[list[str] | None, typer.Option("--node-label", help="Only on nodes with key=value.")]
WordsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="FILE | -- COMMAND [ARG...]", help="A manifest (- is standard input), or what to run."),
]


def submit(
    words: WordsArgument = None,
    name: NameOption = "",
    id: IdOption = "",
    job_id: JobIdOption = "",
    cpus: CpusOption = None,
    memory: MemoryOption = None,
    gpus: GpusOption = None,
    gpu_type: GpuTypeOption = None,
    array: ArrayOption = None,
    max_parallel: ParallelOption = None,
    env: EnvOption = None,
    label: LabelOption = None,
    queue: QueueOption = None,
    priority: PriorityOption = None,
    after: AfterOption = None,
    after_any: AfterAnyOption = None,
    after_not_ok: AfterNotOkOption = None,
    retries: RetriesOption = None,
    backoff: BackoffOption = None,
    max_backoff: MaxBackoffOption = None,
    max_runtime: TimeLimitOption = None,
    grace: GraceOption = None,
    chdir: DirectoryOption = None,
    no_chdir: NoDirectoryOption = False,
    upload: UploadOption = False,
    keep: KeepOption = None,
    node_label: SelectorOption = None,
    service: ServiceOption = False,
    port: PortOption = None,
    ready: ReadyOption = None,
    live: LiveOption = None,
    startup: StartupOption = None,
    drain: DrainOption = None,
    experiment: ExperimentOption = "",
    param: ParamOption = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when they have ended, with the exit code; services: are ready.")
    ] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Submit the jobs of a manifest, or one command, and print their ids."""
    described = guarded(
        lambda: described_by(
            words, name=name, job_id=job_id, cpus=cpus, memory=memory, gpus=gpus, gpu_type=gpu_type, array=array,
            max_parallel=max_parallel, env=env, label=label, queue=queue, priority=priority, after=after,
            after_any=after_any, after_not_ok=after_not_ok, retries=retries, backoff=backoff, max_backoff=max_backoff,
            max_runtime=max_runtime, grace=grace, chdir=folder(chdir, no_chdir, upload), upload=upload,
            keep=keep, node_label=node_label, service=described_service(service, port, ready, live, startup, drain),
        )
    )  # fmt: skip

    async def work() -> int:
        from forgelog.client.aio import AsyncClient

        async with AsyncClient() as client:
            jobs = await _submit(client, described, id, output, not no_chdir, experiment, param)
            rows = [{"name": job.name, "job_id": job.id} for job in jobs]
            if output is Format.TABLE and len(jobs) == 1:
                write(f"{jobs[0].id}\n")
            elif output is Format.TABLE:
                show_rows(rows, [column("Name"), column("Job", "job_id")], output)
            else:
                show_data(rows, output)
            write("", flush=True)  # so that the ids are shown even if the wait is interrupted
            await shown(client)
            if not wait:
                return 0
            return await _waited(client, jobs)

    if code := run_work(work):
        raise typer.Exit(code)


def run(
    words: WordsArgument = None,
    name: NameOption = "",
    id: IdOption = "",
    job_id: JobIdOption = "",
    cpus: CpusOption = None,
    memory: MemoryOption = None,
    gpus: GpusOption = None,
    gpu_type: GpuTypeOption = None,
    array: ArrayOption = None,
    max_parallel: ParallelOption = None,
    env: EnvOption = None,
    label: LabelOption = None,
    queue: QueueOption = None,
    priority: PriorityOption = None,
    after: AfterOption = None,
    after_any: AfterAnyOption = None,
    after_not_ok: AfterNotOkOption = None,
    retries: RetriesOption = None,
    backoff: BackoffOption = None,
    max_backoff: MaxBackoffOption = None,
    max_runtime: TimeLimitOption = None,
    grace: GraceOption = None,
    chdir: DirectoryOption = None,
    no_chdir: NoDirectoryOption = False,
    upload: UploadOption = False,
    keep: KeepOption = None,
    node_label: SelectorOption = None,
    service: ServiceOption = False,
    port: PortOption = None,
    ready: ReadyOption = None,
    live: LiveOption = None,
    startup: StartupOption = None,
    drain: DrainOption = None,
    experiment: ExperimentOption = "",
    param: ParamOption = None,
    keep_running: Annotated[
        bool, typer.Option("--keep-running", help="Ctrl-C only stops watching; the job goes on.")
    ] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Submit one job, show its output, and exit with its code. Ctrl-C cancels it, a second Ctrl-C exits at once."""
    described = guarded(
        lambda: described_by(
            words, name=name, job_id=job_id, cpus=cpus, memory=memory, gpus=gpus, gpu_type=gpu_type, array=array,
            max_parallel=max_parallel, env=env, label=label, queue=queue, priority=priority, after=after,
            after_any=after_any, after_not_ok=after_not_ok, retries=retries, backoff=backoff, max_backoff=max_backoff,
            max_runtime=max_runtime, grace=grace, chdir=folder(chdir, no_chdir, upload), upload=upload,
            keep=keep, node_label=node_label, service=described_service(service, port, ready, live, startup, drain),
        )
    )  # fmt: skip

    async def work() -> int:
        from forgelog.client.aio import AsyncClient

        async with AsyncClient() as client:
            with Interrupts(keep=keep_running) as interrupts:
                jobs = await interrupts.during(_submit(client, described, id, output, not no_chdir, experiment, param))
                if len(jobs) != 1:
                    problem = f"{words[0] if words else ''} has {len(jobs)} jobs; 'run' takes one, 'submit' all"
                    raise InvalidInput(problem)
                note(f"job {jobs[0].id}")
                return await interrupts.watching(jobs[0], _until_end(client, jobs[0], output))

    if code := run_work(work):
        raise typer.Exit(code)


async def _waited(client: AsyncClient, jobs: list[AsyncJob]) -> int:
    """The exit code of the first that failed, once all have ended, but for services, which are ready then."""
    services = [job for job in jobs if (await job.spec()).service is not None]
    others = [job.id for job in jobs if job not in services]
    ended = await client.jobs.wait(others) if others else []
    for each in ended:
        _say_end(each)
    for service in services:
        await service.wait_ready()
    return next((status for each in ended if (status := exit_status(each.status, each.exit_code))), 0)


async def _submit(
    client: AsyncClient,
    described: Any,
    id: str,
    output: Format,
    here: bool,
    experiment: str,
    params: list[str] | None,
) -> list[AsyncJob]:
    if params and not experiment:
        raise InvalidInput("--param: goes with --experiment, whose run has it; --env sets a variable of any job")
    if isinstance(described, dict):
        code = Path(described.get("upload") or described.get("working_directory") or ".")
        if named := described.pop("upload", None):
            described["bundle"] = (await _upload(client, named, output)).model_dump()
        for dependency in described.get("depends_on", ()):
            dependency["job"] = await client.jobs.find(dependency["job"])
        if experiment:
            return [await _as_run(client, described, id, here, experiment, pairs(params, "--param"), code)]
        return [await client.submit(described, id=id, in_current_folder=here)]
    from forgelog.manifest import load

    if experiment:
        raise InvalidInput("--experiment: goes with a command, and not with a manifest")
    if id and len(load(described)) > 1:
        raise InvalidInput("--id names one command, and the manifest has several jobs; give each its own job_id")
    if id:
        return [await client.submit(described, id=id, in_current_folder=here)]
    return await client.jobs.submit_many(described, in_current_folder=here)


async def _as_run(
    client: AsyncClient,
    described: dict[str, Any],
    id: str,
    here: bool,
    experiment: str,
    params: dict[str, str],
    code: Path,
) -> AsyncJob:
    """Submit a job that is a run. If it is refused, the run has failed."""
    from forgelog.client.job_runs import begin

    begun = await begin(client, described, experiment, folder=code, id=id, fields={"params": params})
    note(f"run {begun.id}")
    try:
        return await client.submit(begun.job, id=begun.command_id, in_current_folder=here)
    except ForgelogError as error:
        if not isinstance(error, Timeout | Unavailable):  # else it may be submitted
            await client.runs.end(begun.id, "failed", reason=f"its job was refused: {error}"[:500])
        raise


async def _upload(client: AsyncClient, folder: str, output: Format) -> ObjectRef:
    left: list[str] = []
    with Progress("upload:", output, bytes=True) as bar:
        ref = await client.upload(folder, progress=bar.at, left_out=lambda path, why: left.append(f"{path}: {why}"))
    for line in left[:MOST_LEFT_OUT]:
        note(f"not uploaded: {line}")
    if len(left) > MOST_LEFT_OUT:
        note(f"and {len(left) - MOST_LEFT_OUT} more were not uploaded")
    return ref


async def _until_end(client: AsyncClient, job: AsyncJob, output: Format) -> int:
    several = (await client.jobs.get(job.id)).job.tasks.total > 1
    waiting = asyncio.ensure_future(_say_why(job))
    try:
        await show_pieces(job.logs(follow=True), output, prefixed=several)
    finally:
        waiting.cancel()
    ended = await job.wait()
    _say_end(ended)
    return exit_status(ended.status, ended.exit_code)


def _say_end(job: Answer) -> None:
    """Print why a job has not completed."""
    if job.status != "completed":
        note(f"job {job.job_id} {_ENDED[job.status]}" + (f": {job.reason}" if job.reason else ""))


_ENDED = {"failed": "failed", "cancelled": "was cancelled"}


async def _say_why(job: AsyncJob) -> None:
    """Print what the job waits for if it has not started after two seconds."""
    await asyncio.sleep(2)
    try:
        if (await job.refresh()).status in ("queued", "pending"):
            note((await job.why()).message)
    except ForgelogError as error:  # the job's output matters more
        note(f"it is unknown why it waits: {error}")


COMMANDS = {"submit": submit, "run": run}

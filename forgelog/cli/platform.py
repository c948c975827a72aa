"""`forgelog up`, `down`, `status` and `doctor`. Must not know how the platform is started: see forgelog.embedded."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli import render
from forgelog.cli.common import OutputOption, run
from forgelog.cli.render import Format

if TYPE_CHECKING:
    from forgelog.embedded.layout import PlatformState
    from forgelog.embedded.platform import Platform

BEHIND_SECONDS = 5.0
"""Seconds behind from which on a lag is shown; a busy platform is always slightly behind."""

_COMPILED = {
    "compiled": "in use",
    "partly": "partly in use; 'forgelog doctor' says what is not",
    "pure": "not in use: Python does their work; see 'forgelog doctor'",
}

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Folder of the platform's data [default: $FORGELOG_DATA, else the nearest .forgelog, else ~/.forgelog].",
        show_default=False,
    ),
]


def up(
    agents: Annotated[
        int | None,
        typer.Option(
            min=0, max=64, help="Node agents on this machine [default: as last time, else 1].", show_default=False
        ),
    ] = None,
    servers_only: Annotated[bool, typer.Option("--servers-only", help="Only Kafka and Postgres.")] = False,
    servers: Annotated[
        str, typer.Option(help="auto, docker or embedded; given ones (FORGELOG_KAFKA, FORGELOG_POSTGRES) go first.")
    ] = "auto",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Return when everything is ready.")] = True,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="How long to wait [default: while what starts lives and nothing fails, 15 minutes at most].",
            show_default=False,
        ),
    ] = None,
    data: DataOption = None,
) -> None:
    """Start the platform, or change a running one to the given options."""

    async def work() -> None:
        import time

        from forgelog.cli.up_progress import UpProgress
        from forgelog.embedded.platform import Choice, Options, Platform
        from forgelog.errors import InvalidInput

        if servers not in list(Choice):
            raise InvalidInput(f"--servers: {servers!r} is not one of {', '.join(Choice)}")
        platform = Platform(data)
        began = time.monotonic()
        with UpProgress() as progress:
            options = Options(Choice(servers), False if servers_only else None, agents)
            await platform.up(options, progress.download, timeout, progress.waiting)
            _say_what_stays(platform)
            _say_what_lacks(platform)
            if not wait:
                await _say_what_fails(platform)
                return
            left = None if timeout is None else max(0.0, timeout - (time.monotonic() - began))
            state = await platform.wait(left, progress.children)
        _greet(platform, state, time.monotonic() - began)

    run(work)


def _say_what_stays(platform: Platform) -> None:
    """Name the variables that a platform which ran before does not take from this `up`."""
    from forgelog.embedded.environment import changed_since_start

    state = platform.state()
    if state is not None and (names := changed_since_start(state.supervisor, os.environ)):
        render.note(
            f"the running platform keeps the environment that it was started with; other here: {', '.join(names)}. "
            f"'forgelog down', then 'up', gives it these"
        )


def _say_what_lacks(platform: Platform) -> None:
    """Say that deployments have no router, and how to get it. The rest of the platform runs without."""
    from forgelog.embedded.router import MISSING, ROUTER, RouterPlace

    wanted, state = platform.folder.read_wanted(), platform.state()
    if state is not None and any(child.kind == ROUTER for child in state.children):
        return  # one runs since before Envoy was removed, or says itself what is wrong
    if wanted is not None and wanted.services and RouterPlace(platform.folder.path).lacks_envoy:
        render.note(f"{MISSING}. The rest of the platform runs without it")


async def _say_what_fails(platform: Platform) -> None:
    """Say what is wrong already with a platform that nobody waits for."""
    from forgelog.embedded.waiting import not_up_already

    state = platform.state()
    if state is not None and (told := not_up_already(state)):
        render.note(told)
    for line in stops(await platform.contexts(platform.report())):
        render.note(line)


def down(
    keep_jobs: Annotated[
        bool, typer.Option("--keep-jobs", help="Leave jobs' processes running; the next `up` finds them again.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="End running jobs without asking (on a terminal).")] = False,
    data: DataOption = None,
) -> None:
    """Stop the platform; its data stays. Names running jobs first: they end, and start again at the next `up`."""

    async def work() -> None:
        platform = _platform(data)
        await _say_what_ends(platform, keep=keep_jobs, ask=not yes)
        stopped = await platform.down(keep_jobs=keep_jobs)
        render.note(f"{'stopped' if stopped else 'nothing was running'}; the data is in {platform.folder.path}")

    run(work)


def _platform(data: Path | None) -> Platform:
    """The platform of the folder. It can be shown and stopped even if `FORGELOG_CONTEXTS` is invalid."""
    from events.language.contexts import VARIABLE, ContextsError, contexts

    try:
        from forgelog.embedded.platform import Platform

        if os.environ.get(VARIABLE):
            import_module("events.language.registry")  # which imports the languages of added contexts
    except ContextsError as error:
        render.note(f"{error}; going on without {VARIABLE}")
        os.environ.pop(VARIABLE, None)
        contexts.cache_clear()
        from forgelog.embedded.platform import Platform
    return Platform(data)


async def _say_what_ends(platform: Platform, *, keep: bool, ask: bool) -> None:
    """Name the jobs that `down` ends or leaves running. On a terminal, ask before they end."""
    import sys

    from events.language.contexts import ContextsError
    from forgelog.cli.going_down import running_on
    from forgelog.errors import ForgelogError

    try:
        running = await running_on(platform)
    except (ForgelogError, ContextsError) as error:
        render.note(f"it is unknown which jobs run: {error}")
        return
    if running is None:
        return
    if keep:
        render.note(f"left running: {running}\nthe next 'forgelog up' continues to watch them")
        return
    render.note(f"ending {running}\nthey start again at the next 'forgelog up'; 'down --keep-jobs' leaves them running")
    if ask and sys.stdin.isatty() and not typer.confirm("End them?", err=True):
        render.note("nothing was stopped")
        raise typer.Exit(1)


def status(output: OutputOption = Format.TABLE, data: DataOption = None) -> None:
    """Show the platform's processes and their progress. Exits with 3 if it is not up or not ready."""

    async def work() -> None:
        platform = _platform(data)
        from events.language.contexts import ContextsError
        from forgelog.embedded.compiled import in_use

        report = platform.report()
        if report["state"] != "down":
            try:
                report["contexts"] = await platform.contexts(report)
            except ContextsError as error:
                render.note(f"the state of the services is unknown: {error}")
                report["contexts"] = []
            report["compiled_parts"] = in_use(report["contexts"])
            if report["state"] == "up" and not all(each["ready"] for each in report["contexts"]):
                report["state"] = "unready"
        if output is Format.TABLE:
            _show(report)
        else:
            render.show_data(report, output)
        _say_where_commands_go(report.get("gateway"))
        if report["state"] != "up":
            raise typer.Exit(3)  # as systemctl's `status` does

    run(work)


def doctor(
    output: OutputOption = Format.TABLE,
    data: DataOption = None,
    security: Annotated[
        bool, typer.Option("--security", help="Check files, keys, ports and servers for what is not secure.")
    ] = False,
) -> None:
    """Check what the platform needs on this machine, and say how to get it. Exits with 1 if a check fails."""

    async def work() -> None:
        from forgelog.embedded import doctor

        if security:
            import logging

            from forgelog.embedded import security as doors

            logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # that it is refused is what is hoped for

            checks = await doors.examine(data)
        else:
            checks = await doctor.examine(data)
        rows = [{"check": each.name, "result": each.result, "found": each.found, "fix": each.fix} for each in checks]
        columns = [
            render.column("Check"),
            render.column("Result", style=True),
            render.column("Found", least=12, wrap=True),
            render.column("Fix", rank=1, least=16, wrap=True),
        ]
        render.show_rows(rows, columns, output)
        if any(each.result == "failed" for each in checks):
            raise typer.Exit(1)

    run(work)


def _greet(platform: Platform, state: PlatformState, seconds: float) -> None:
    import shlex

    from forgelog.embedded.passfile import without_password

    what = f"the platform is up ({seconds:.1f} s)" if state.gateway else f"the servers are up ({seconds:.1f} s)"
    render.note(what)
    if state.gateway:
        render.note(f"  gateway   {state.gateway}")
    render.note(f"  kafka     {state.kafka}   (kcat -F {shlex.quote(str(platform.folder.path / 'kcat.conf'))})")
    render.note(f"  postgres  {without_password(state.postgres)}")
    render.note(f"  data      {platform.folder.path}")
    if state.gateway:
        _say_where_commands_go(state.gateway)


def _show(report: dict[str, Any]) -> None:
    from datetime import UTC, datetime

    fields = {
        "state": report["state"],
        "gateway": report.get("gateway"),
        "kafka": f"{report['kafka']} ({report['kafka_source']})" if report.get("kafka") else None,
        "data": report["data"],
        "memory": _mib(report.get("rss_bytes")),
        "compiled parts": _COMPILED.get(report.get("compiled_parts", "")),
    }
    render.show_fields(fields)
    columns = [
        render.column("Name"),
        render.column("State", style=True),
        render.column("Pid", right=True),
        render.age_column("Started", "since", datetime.now(UTC), rank=4),
        render.column("Restarts", right=True, rank=3),
        render.column("Last exit", rank=2, least=8),
        render.Column("Memory", lambda row: _mib(row["rss_bytes"]), right=True, rank=5),
        render.column("Address", rank=6, least=21),
    ]
    if report["children"]:
        render.write("\n")
        render.print_table(report["children"], columns)
    for child in report["children"]:
        if child["problem"] and child["state"] not in ("ready", "running"):
            render.note(f"{child['name']}: {child['problem']}")
    for line in fares(report.get("contexts", ())):
        render.note(line)


def fares(contexts: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Messages about the contexts' work: why one is not ready, what is behind, and notices."""
    from forgelog.embedded.standing import position_in

    contexts = list(contexts)
    yield from stops(contexts)
    for each in contexts:
        name = each["context"]
        for place, why in each["waits"].items():
            if position_in(why, each["stopped"]):
                continue  # said above, once for all that stand there
            yield f"{name} is not ready: {place}: {why}"
        for lag in each["lags"]:
            if lag["left"] and lag["oldest_seconds"] >= BEHIND_SECONDS and not lag["cause"]:
                place, left = f"{lag['kind']} {lag['place']}", lag["left"]
                yield f"{name} is behind: {place}: {left} to be read, the oldest for {lag['oldest_seconds']:.0f} s"
        for place, notice in each["notices"].items():
            yield f"{name}: {place}: {notice}"
        for late in each.get("late", ()):
            yield (
                f"job {late['job']} was placed on node {late['node']} {late['seconds']:.0f} s ago and was not started: "
                f"the node's agent stands still, or is away; see its log"
            )


def stops(contexts: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Messages about the records at which contexts stand still."""
    from forgelog.embedded.standing import standstills

    for one in standstills(contexts):
        yield "\n".join(
            (
                f"{one.position} stops {len(one.places)} {'place' if len(one.places) == 1 else 'places'}:",
                *render.listed(one.places),
                *render.within(f"{one.record}: {one.cause}" if one.record else one.cause),
                *render.within(f"to decide: forgelog repair {one.position}, then with --skip or --retry"),
            )
        )


def _say_where_commands_go(gateway: str | None) -> None:
    """Print a note if commands such as `ps` use another platform than the one at `gateway`, which is shown."""
    import os

    from forgelog.where import DATA, GATEWAY

    address = os.environ.get(GATEWAY)
    if address and address.removeprefix("http://").rstrip("/") != gateway:
        render.note(
            f"commands such as 'ps' go to {address}, as {GATEWAY} says: that is not this platform; "
            f"unset it, or give --data (or {DATA}) before the command"
        )


def _mib(count: int | None) -> str:
    return f"{count / 1024**2:.0f} MiB" if count else ""


COMMANDS = {"up": up, "down": down, "status": status, "doctor": doctor}

"""`deploy` and `deployments`: models that are served, their revisions and replicas."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli import complete
from forgelog.cli.common import AtOption, LimitOption, OutputOption, ReasonOption, moment, with_client
from forgelog.cli.deployment_drift import drift
from forgelog.cli.deployment_requests import metrics, requests
from forgelog.cli.deployment_waits import TimeoutOption, arrived, waited
from forgelog.cli.nodes import pairs, parsed
from forgelog.cli.render import (
    Column,
    Format,
    age_column,
    column,
    note,
    print_table,
    show_data,
    show_done,
    show_fields,
    show_line,
    show_rows,
    write,
)
from forgelog.cli.scaling import MaxOption, MinOption, NameArgument, ScaleOption, policy, without_none
from forgelog.cli.services import ports_text
from forgelog.cli.tables import cut
from forgelog.errors import InvalidInput

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient
    from forgelog.client.deployments import Deployed

app = typer.Typer(no_args_is_help=True, help="Show deployments, their revisions and replicas; scale or end one.")

STATUSES = (
    "pending", "deploying", "running", "updating", "scaling", "degraded", "failed", "terminating", "terminated",
)  # fmt: skip
STRATEGIES = ("rolling", "blue_green", "canary")

_MOST_SHOWN = 60
"""Columns of a command that are shown."""

WAIT_SECONDS = 900.0
WaitOption = Annotated[bool, typer.Option("--wait", help="Return when it runs; exit code 1 if it will not.")]


def deploy(
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="NAME, NAME/3, NAME@ALIAS or NAME:ENVIRONMENT.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", metavar="FILE", help="Deployments of a manifest; - for stdin.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="The deployment's name [default: the model's].")] = "",
    replicas: Annotated[int | None, typer.Option("--replicas", "-r", min=0, max=1000, help="[default: 1]")] = None,
    strategy: Annotated[
        str | None,
        typer.Option("--strategy", help=f"{', '.join(STRATEGIES)}.", autocompletion=complete.words(STRATEGIES)),
    ] = None,
    scale: ScaleOption = None,
    least: MinOption = None,
    most: MaxOption = None,
    cpus: Annotated[str | None, typer.Option("--cpus", "-c", help="CPUs of each replica [default: 1].")] = None,
    memory: Annotated[str | None, typer.Option("--memory", "-m", help="Of each replica [default: 256Mi].")] = None,
    gpus: Annotated[int | None, typer.Option("--gpus", "-g", min=0, help="Of each replica.")] = None,
    queue: Annotated[
        str | None, typer.Option("--queue", "-q", help="The queue.", autocompletion=complete.queues)
    ] = None,
    env: Annotated[list[str] | None, typer.Option("--env", "-e", help="NAME=value (repeatable).")] = None,
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="Load files that run what their author wrote.")
    ] = False,
    trusted_type: Annotated[
        list[str] | None,
        typer.Option("--trusted-type", metavar="TYPE", help="A type of skops that may be made (repeatable)."),
    ] = None,
    follow: Annotated[
        bool | None,
        typer.Option("--follow/--no-follow", help="Update it whenever the alias or environment means another version."),
    ] = None,
    message: Annotated[str, typer.Option("--note", help="What is changed and why; the revision shows it.")] = "",
    wait: WaitOption = False,
    timeout: TimeoutOption = WAIT_SECONDS,
    output: OutputOption = Format.TABLE,
) -> None:
    """Serve a model: create its deployment, or update it. What is not given stays as it is.

    With a file, deployments become what the file says.
    """
    options = {
        "replicas": replicas, "strategy": strategy, "cpus": cpus, "memory": memory, "gpus": gpus, "queue": queue,
        "env": pairs(env, "--env"), "trust_pickle": trust_pickle, "scale": scale, "min": least, "max": most,
        "trusted_types": trusted_type, "follow": follow,
    }  # fmt: skip

    async def work(client: AsyncClient) -> list[tuple[Any, int]]:
        if file is not None:
            if model is not None or name or any(options.values()):
                raise InvalidInput("--file says all of a deployment; give it alone, or a model with options")
            made = await client.deployments.apply(file, note=message)
        elif model is None:
            raise InvalidInput("give a model, such as digits@champion, or a manifest with --file")
        else:
            made = [await _deployed(client, model, name, options, message)]
        if not wait:
            return [(await client.deployments.get(id), revision) for id, revision in made]
        return await waited(client, made, timeout)

    found = with_client(work)
    if output is not Format.TABLE:
        show_data([row for row, _ in found], output)
    else:
        for row, _ in found:
            note(_told(row))
    if wait and not all(arrived(row, revision) for row, revision in found):
        raise typer.Exit(1)


async def _deployed(client: AsyncClient, model: str, name: str, options: dict[str, Any], message: str) -> Deployed:
    """The deployment that serves a model, with what there was of it and these options."""
    from forgelog.client.model_refs import parse_ref
    from forgelog.errors import NotFound
    from forgelog.units import parse_bytes, parse_cpus

    ref = parse_ref(model)
    await client.models.version(model)  # raises: a deployment of what there is not would be refused later, unseen
    name = name or "".join(sign if sign.isascii() and sign.isalnum() else "-" for sign in ref.model.lower()).strip("-")
    spec: dict[str, Any] = {}
    try:
        known = await client.deployments.get(name)
        if known.status != "terminated":
            spec = without_none(known.spec)
    except NotFound:
        pass
    followed = (spec.get("model") or {}).get("follow", False) if options["follow"] is None else options["follow"]
    spec["model"] = {**ref.choice(), **({"follow": True} if followed else {})}
    if options["replicas"] is not None:
        spec["replicas"] = options["replicas"]
    places = (
        ("rollout", "strategy", options["strategy"]),
        ("target", "queue", options["queue"]),
        ("resources", "gpus", options["gpus"]),
        ("resources", "cpus", parsed(options["cpus"], "--cpus", parse_cpus)),
        ("resources", "memory_bytes", parsed(options["memory"], "--memory", parse_bytes)),
        ("serving", "trust_pickle", options["trust_pickle"] or None),
    )
    for group, field, value in places:
        if value is not None:
            spec[group] = {**spec.get(group, {}), field: value}
    if options["trusted_types"]:
        serving = spec.get("serving", {})
        types = dict.fromkeys((*serving.get("trusted_types", ()), *options["trusted_types"]))
        spec["serving"] = {**serving, "trusted_types": list(types)}
    if any(options[name] is not None for name in ("scale", "min", "max")):
        spec["scaling"] = policy(spec.get("scaling"), options)
    if options["env"]:
        environment = spec.get("environment", {})
        variables = {**environment.get("variables", {}), **options["env"]}
        spec["environment"] = {**environment, "variables": variables}
    return await client.deployments.deploy(name, spec, note=message)


def _told(row: Any) -> str:
    """``digits: running 2/2, revision 3``"""
    text = f"{row.name}: {row.status} {row.ready}/{row.wanted}"
    if row.rollout_revision:
        text += f", revision {row.rollout_revision} is rolled out ({row.rollout_strategy})"
    elif row.revision:
        text += f", revision {row.revision}"
    reason = row.reason or (row.rollout_reason if row.newest_revision != row.revision else "")
    return f"{text}: {reason}" if reason else text


def served(row: Any) -> str:
    """What a deployment or a revision serves: ``digits/3``, or its command."""
    if row["model"] is not None:
        return f"{row['model']['name']}/{row['model']['number']}"
    model = row["spec"].get("model")
    if model:
        return str(model["name"])
    return cut(" ".join([row["spec"].get("command", ""), *row["spec"].get("args", ())]), _MOST_SHOWN)


def runtime_text(row: Any) -> str:
    """What runs the model of a deployment or a revision; empty where a command does."""
    from events.language.deployments.serving import RuntimeSettings, runtime_by_format
    from events.language.experiments.registry.models import ModelFormat

    model, spec = row["model"], row["spec"]
    if model is None or spec.get("command"):
        return ""
    options = (spec.get("serving") or {}).get("runtime") or {}
    settings = RuntimeSettings.model_construct(name=options.get("name"), class_name=options.get("class_name", ""))
    if (spec.get("serving") or {}).get("file"):
        return runtime_by_format(settings, ModelFormat.OTHER) or "by the file's name"
    return runtime_by_format(settings, ModelFormat(model["model_format"] or "other")) or "by its files' names"


@app.command("ls")
def ls(
    status: Annotated[
        list[str] | None,
        typer.Option("--status", help=f"{', '.join(STATUSES)}.", autocompletion=complete.words(STATUSES)),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="A part of the name.")] = "",
    model: Annotated[str, typer.Option("--model", help="Only what serves a version of this model.")] = "",
    label: Annotated[list[str] | None, typer.Option("--label", "-l", help="key=value (repeatable).")] = None,
    limit: LimitOption = 50,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """List deployments, newest first; terminated ones with --status terminated."""
    moved, labels = moment(at), pairs(label, "--label")
    rows = with_client(
        lambda client: client.deployments.list(
            status=status or (), name=name, model=model, labels=labels, at=moved, limit=limit
        )
    )
    columns = [
        column("Name", least=8),
        column("Status", style=True),
        Column("Ready", lambda row: f"{row['ready']}/{row['wanted']}", right=True),
        column("Revision", right=True),
        Column("Serves", served, rank=1),
        Column("Rollout", rollout_text, rank=2),
        column("Why", "reason", rank=3, least=12),
        age_column("Made", "created_at", moved or datetime.now(UTC), rank=4),
    ]
    show_rows(rows, columns, output, empty="there are no such deployments")


def rollout_text(row: Any) -> str:
    """``revision 3, canary 10%``; empty if nothing is rolled out."""
    if not row["rollout_revision"]:
        return ""
    paused = ", paused" if row["rollout_paused"] else ""
    share = f" {row['rollout_weight'] / 100:g}%" if row["rollout_step"] else ""
    return f"revision {row['rollout_revision']}, {row['rollout_strategy']}{share}{paused}"


_REPLICAS = [
    column("Replica", right=True),
    column("Revision", right=True),
    column("Status", style=True),
    column("Node", "node_id", rank=2),
    Column("Called at", lambda row: ports_text(row["address"], row["ports"]), rank=1),
    column("Crashes", right=True, rank=3),
    column("Job", "job_id", rank=4),
    column("Why", "reason", rank=1, least=12),
]


@app.command("show")
def show(name: NameArgument, at: AtOption = None, output: OutputOption = Format.TABLE) -> None:
    """Show a deployment with its replicas and where requests go."""
    moved = moment(at)

    async def work(client: AsyncClient) -> Any:
        found = await client.deployments.get(name, at=moved)
        replicas = await client.deployments.replicas(name, at=moved)
        routing = await client.deployments.routing(name, at=moved)
        return found, [each for each in replicas if each.status != "ended"], routing

    found, replicas, routing = with_client(work)
    if output is not Format.TABLE:
        show_data({**found, "replicas": replicas, "routing": routing["routing"]}, output)
        return
    spec = found["spec"]
    shares = {each["revision"]: each["weight"] for each in routing["routing"]["revisions"]}
    fields = {
        "status": f"{found['status']}, {found['ready']} of {found['wanted']} ready",
        "why": found["reason"],
        "serves": served(found),
        "runtime": runtime_text(found),
        "revision": found["revision"] or "",
        "rollout": rollout_text(found)
        or (found["rollout_reason"] if found["rollout_reason"] != found["reason"] else ""),
        "requests": [f"{weight / 100:g}% to revision {number}" for number, weight in shares.items()],
        "description": spec["description"],
        "labels": spec["labels"],
        "owner": found["owner"],
        "project": found["project"],
    }
    show_fields(fields, title=found["name"])
    if replicas:
        write("\n")
        print_table(replicas, _REPLICAS)


@app.command("revisions")
def revisions(
    name: NameArgument, limit: LimitOption = 50, at: AtOption = None, output: OutputOption = Format.TABLE
) -> None:
    """List a deployment's revisions, newest first."""
    moved = moment(at)
    rows = with_client(lambda client: client.deployments.revisions(name, at=moved, limit=limit))
    columns = [
        column("#", "revision", right=True),
        column("Status", style=True),
        Column("Serves", served),
        Column("Runtime", runtime_text, rank=3),
        Column("Changed", lambda row: ", ".join(row["changed"]), rank=1, least=12),
        Column("Repeats", lambda row: row["source_revision"] or "", right=True, rank=3),
        column("By", "deployer", rank=2),
        column("Note", rank=2, least=8),
        column("Why", "reason", rank=1, least=12),
        age_column("Made", "created_at", moved or datetime.now(UTC), rank=2),
    ]
    show_rows(rows, columns, output, empty="there are no revisions")


@app.command("replicas")
def replicas(
    name: NameArgument,
    ended: Annotated[bool, typer.Option("--all", "-a", help="Those that have ended too.")] = False,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """List a deployment's replicas, by number."""
    rows = with_client(lambda client: client.deployments.replicas(name, at=moment(at)))
    there = [row for row in rows if ended or row["status"] != "ended"]
    show_rows(there, _REPLICAS, output, empty="there are no replicas")


@app.command("scale")
def scale(
    name: NameArgument,
    replicas: Annotated[int, typer.Argument(metavar="REPLICAS", min=0, max=1000, help="How many there are to be.")],
    reason: ReasonOption = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Change how many replicas there are to be."""
    outcome = with_client(lambda client: client.deployments.scale(name, replicas, reason=reason))
    show_done(outcome, f"{name} is to have {replicas} replicas", output)


@app.command("terminate")
def terminate(name: NameArgument, reason: ReasonOption = "", output: OutputOption = Format.TABLE) -> None:
    """Stop all replicas of a deployment; its history stays."""
    outcome = with_client(lambda client: client.deployments.terminate(name, reason=reason))
    show_done(outcome, f"{name} is being terminated", output)


@app.command("wait")
def wait_for(
    name: NameArgument,
    timeout: TimeoutOption = WAIT_SECONDS,
) -> None:
    """Wait until the newest revision runs; exit code 1 if it will not."""
    ((row, revision),) = with_client(lambda client: waited(client, [(name, 0)], timeout))
    note(_told(row))
    if not arrived(row, revision):
        raise typer.Exit(1)


@app.command("watch")
def watch() -> None:
    """Show deployments as they change, one JSON object a line, until Ctrl-C."""

    async def work(client: AsyncClient) -> None:
        async for row in client.deployments.watch():
            show_line(row)

    with_client(work)


app.command("requests")(requests)
app.command("metrics")(metrics)
app.command("drift")(drift)

COMMANDS = {"deploy": deploy, "deployments": app}

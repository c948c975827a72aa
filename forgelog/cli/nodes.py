"""`nodes`: shows the cluster's nodes, and the operator's commands on them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from forgelog.cli import complete
from forgelog.cli.common import AtOption, OutputOption, moment, with_client
from forgelog.cli.render import Column, Format, age_column, column, note, show_data, show_fields, show_rows, write
from forgelog.errors import InvalidInput
from forgelog.units import format_bytes, parse_duration

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient

T = TypeVar("T")

STATUSES = ("ready", "cordoned", "draining", "drained", "lost")
"""The statuses that nodes can have in this version."""
EFFECTS = ("no_schedule", "prefer_no_schedule", "no_execute")

nodes_app = typer.Typer(invoke_without_command=True, help="Show nodes; cordon, drain, label, taint or remove one.")


NodeArgument = Annotated[
    str, typer.Argument(help="The node's id, or the beginning of it.", autocompletion=complete.nodes)
]
PoolOption = Annotated[str, typer.Option("--pool", help="The node's pool; needed only if two pools have such a node.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for those who look at the node later.")]


@nodes_app.callback()
def nodes(
    context: typer.Context,
    pool: Annotated[str, typer.Option("--pool", help="Only this pool's.")] = "",
    status: Annotated[
        list[str] | None,
        typer.Option(
            "--status",
            "-s",
            help=f"Only these (repeatable): {', '.join(STATUSES)}.",
            autocompletion=complete.words(STATUSES),
        ),
    ] = None,
    label: Annotated[list[str] | None, typer.Option("--label", "-l", help="key=value (repeatable).")] = None,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    if context.invoked_subcommand is not None:
        return

    async def work(client: AsyncClient) -> list[Any]:
        return await client.nodes.list(pool=pool, status=status or (), labels=pairs(label, "--label"), at=moment(at))

    rows = with_client(work)
    empty = "there are no nodes" + (f" as of {at}" if at else "")
    show_rows(rows, node_columns(datetime.now(UTC)), output, empty=empty)


def node_columns(now: datetime) -> list[Column]:
    return [
        column("Node", "node_id"),
        column("Status", style=True),
        Column("CPUs free", lambda row: _of(row, "cpus"), right=True, rank=1),
        Column("Memory free", lambda row: _of(row, "memory_bytes", format_bytes), right=True, rank=2),
        Column("GPUs free", lambda row: _of(row, "gpus"), right=True, rank=3),
        column("Tasks", "running_tasks", right=True, rank=4),
        column("Address", rank=8),
        column("Labels", rank=6, least=10),
        Column("Taints", lambda row: [taint_text(item) for item in row["taints"]], rank=5, least=10),
        age_column("Agent since", "registered_at", now, rank=7),
    ]


def _of(row: Mapping[str, Any], kind: str, form: Callable[[Any], str] | None = None) -> str:
    """``3.5/4``: free of all."""
    show = form or (lambda value: f"{value:g}")
    return f"{show((row['free'] or {}).get(kind, 0))}/{show((row['capacity'] or {}).get(kind, 0))}"


def _ports(given: Mapping[str, Any] | None) -> str:
    return f"{given['first']}-{given['last']} for services" if given else ""


def taint_text(taint: Mapping[str, Any]) -> str:
    """``gpu=reserved:no_schedule``."""
    value = f"={taint['value']}" if taint["value"] else ""
    return f"{taint['key']}{value}:{taint['effect']}"


def _holder(row: Mapping[str, Any]) -> str:
    return f"{row['job_id']}/{row['task']}" if row["job_id"] else ""


GPU_COLUMNS = [
    Column("GPU", lambda row: row["gpu"]["index"], right=True),
    Column("Model", lambda row: row["gpu"]["name"], rank=1, least=8),
    Column("Memory", lambda row: format_bytes(row["gpu"]["memory_bytes"]), right=True, rank=3),
    Column("MIG", lambda row: [part["profile"] for part in row["gpu"]["mig_instances"]], rank=4, least=6),
    Column("Health", lambda row: row["gpu"]["health"], style=True),
    Column("Task", _holder, rank=2),
]


@nodes_app.command("show")
def show(node: NodeArgument, pool: PoolOption = "", at: AtOption = None, output: OutputOption = Format.TABLE) -> None:
    """Show a node: its inventory, its devices, and the allocations on it."""

    async def work(client: AsyncClient) -> Any:
        when = moment(at)
        return await client.nodes.get(await client.nodes.find(node, pool=pool, at=when), pool=pool, at=when)

    found = with_client(work)
    if output is not Format.TABLE:
        show_data(found, output)
        return
    short = found["node"]
    show_fields(
        {
            "node": short["node_id"],
            "pool": short["pool"],
            "status": short["status"],
            "reason": short["hold_reason"],
            "host": short["hostname"],
            "address": short["address"],
            "ports": _ports(short["port_range"]),
            "role": short["role"],
            "cpus": _of(short, "cpus") + " free",
            "memory": _of(short, "memory_bytes", format_bytes) + " free",
            "gpus": _of(short, "gpus") + " free",
            "labels": short["labels"],
            "taints": [taint_text(item) for item in short["taints"]],
            "exclusive": short["exclusive_job"],
            "agent since": short["registered_at"],
            "lost at": short["lost_at"],
        }
    )
    if found["gpus"]:
        write("\n")
        show_rows(found["gpus"], GPU_COLUMNS, Format.TABLE)
    if found["allocations"]:
        write("\n")
        columns = [
            column("Allocation", "allocation_id"),
            column("Job", "job_id"),
            column("Tasks", "rest", rank=2, least=6),
            column("Attempt", right=True, rank=4),
            column("Status", style=True, rank=1),
            age_column("Since", "created_at", datetime.now(UTC), rank=3),
        ]
        show_rows(found["allocations"], columns, Format.TABLE)


@nodes_app.command("cordon")
def cordon(
    node: NodeArgument, reason: ReasonOption = "", pool: PoolOption = "", output: OutputOption = Format.TABLE
) -> None:
    """Start no new tasks on a node; running ones go on."""
    _act(node, pool, lambda client, id: client.nodes.cordon(id, reason=reason, pool=pool), "is cordoned", output)


@nodes_app.command("uncordon")
def uncordon(
    node: NodeArgument, reason: ReasonOption = "", pool: PoolOption = "", output: OutputOption = Format.TABLE
) -> None:
    """Start tasks on a cordoned or drained node again."""
    _act(node, pool, lambda client, id: client.nodes.uncordon(id, reason=reason, pool=pool), "takes work again", output)


@nodes_app.command("drain")
def drain(
    node: NodeArgument,
    reason: ReasonOption = "",
    grace: Annotated[
        str | None,
        typer.Option("--grace", metavar="DURATION", help="Time between TERM and KILL [default: each job's own]."),
    ] = None,
    pool: PoolOption = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Cordon a node and stop its tasks, which run again elsewhere."""

    def act(client: AsyncClient, id: str) -> Coroutine[Any, Any, Any]:
        return client.nodes.drain(id, reason=reason, grace=duration(grace, "--grace"), pool=pool)

    _act(node, pool, act, "is draining", output)


@nodes_app.command("remove")
def remove(
    node: NodeArgument, reason: ReasonOption = "", pool: PoolOption = "", output: OutputOption = Format.TABLE
) -> None:
    """Remove a node without tasks, such as a lost one. An agent that still runs registers it again."""
    _act(node, pool, lambda client, id: client.nodes.remove(id, reason=reason, pool=pool), "is removed", output)


@nodes_app.command("label")
def label_node(
    node: NodeArgument,
    labels: Annotated[list[str], typer.Argument(metavar="KEY=VALUE|KEY-...", help="Set, or remove with a minus.")],
    pool: PoolOption = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Set labels of a node (zone=a), or remove them (zone-)."""

    def act(client: AsyncClient, id: str) -> Coroutine[Any, Any, Any]:
        wanted: dict[str, str | None] = {}
        for text in labels:
            if text.endswith("-") and "=" not in text:
                wanted[text[:-1]] = None
            else:
                wanted.update(pairs([text], "labels"))
        return client.nodes.label(id, wanted, pool=pool)

    _act(node, pool, act, "is labelled", output)


@nodes_app.command("taint")
def taint_node(
    node: NodeArgument,
    taints: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY[=VALUE][:EFFECT]...]", help="All taints of the node.")
    ] = None,
    pool: PoolOption = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Replace the taints of a node (gpu=reserved:no_schedule); none given removes them all."""

    def act(client: AsyncClient, id: str) -> Coroutine[Any, Any, Any]:
        return client.nodes.taint(id, [parse_taint(text) for text in taints or ()], pool=pool)

    _act(node, pool, act, "is tainted" if taints else "has no taints", output)


def parse_taint(text: str) -> dict[str, str]:
    """Parse ``key[=value][:effect]``. Raises `InvalidInput`."""
    rest, _, effect = text.partition(":")
    key, _, value = rest.partition("=")
    effect = (effect or EFFECTS[0]).lower().replace("-", "_")
    if not key or effect not in EFFECTS:
        raise InvalidInput(f"{text!r} is not a taint; write key=value:effect with one of {', '.join(EFFECTS)}")
    return {"key": key, "value": value, "effect": effect}


def pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    """The ``key=value`` of an option as a dict. Raises `InvalidInput`."""
    found = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise InvalidInput(f"{option}: {text!r} is not key=value; write for example key=1")
        found[key] = value
    return found


def duration(text: str | None, option: str) -> float | None:
    """An option's duration in seconds. Raises `InvalidInput`."""
    return parsed(text, option, parse_duration)


def parsed(text: str | None, option: str, parse: Callable[[str], T]) -> T | None:
    """An option's value, if it is given. Raises `InvalidInput`."""
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError as error:
        raise InvalidInput(f"{option}: {error}") from None


def _act(
    node: str, pool: str, act: Callable[[AsyncClient, str], Coroutine[Any, Any, Any]], done: str, output: Format
) -> None:
    """Call a command on the node that is named, and report the outcome."""

    async def work(client: AsyncClient) -> tuple[str, Any]:
        id = await client.nodes.find(node, pool=pool)
        return id, await act(client, id)

    id, outcome = with_client(work)
    if output is not Format.TABLE:
        show_data(outcome, output)
    elif outcome["result"] == "unchanged":
        note("nothing to change: it was like that already")
    else:
        note(f"{id} {done}")


COMMANDS = {"nodes": nodes_app}

"""`queue`: shows queues and their waiting jobs, and the operator's commands on a queue."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli import complete
from forgelog.cli.common import AtOption, OutputOption, moment, with_client
from forgelog.cli.groups import ShowFirst
from forgelog.cli.render import Column, Format, age_column, column, show_data, show_done, show_rows, write
from forgelog.cli.show import wants
from forgelog.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient

POLICIES = ("fifo", "priority")
QUEUE_STATUSES = ("active", "paused", "draining", "closed")


queues_app = typer.Typer(cls=ShowFirst, help="Show queues and what waits in them; create, change or delete one.")

QueueArgument = Annotated[str, typer.Argument(metavar="QUEUE", help="Its name.", autocompletion=complete.queues)]


@queues_app.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="QUEUE", help="Its name: a-z, 0-9, '.', '_', '-'.")],
    policy: Annotated[
        str,
        typer.Option("--policy", help="fifo or priority [default: priority].", autocompletion=complete.words(POLICIES)),
    ] = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Create a queue. Its nodes are those whose agents are started with its name as their pool."""
    outcome = with_client(lambda client: client.queues.create(name, policy=policy))
    show_done(outcome, f"queue {name} is created", output)


@queues_app.command("delete")
def delete(name: QueueArgument, output: OutputOption = Format.TABLE) -> None:
    """Delete a queue that has no jobs and whose pool has no nodes."""
    outcome = with_client(lambda client: client.queues.delete(name))
    show_done(outcome, f"queue {name} is deleted", output)


@queues_app.command("show")
def show(
    name: Annotated[
        str, typer.Argument(metavar="[QUEUE]", help="Only this queue.", autocompletion=complete.queues)
    ] = "",
    policy: Annotated[
        str,
        typer.Option("--policy", help="Set its policy: fifo or priority.", autocompletion=complete.words(POLICIES)),
    ] = "",
    status: Annotated[
        str,
        typer.Option(
            "--status",
            help="Set it: active, paused, draining or closed.",
            autocompletion=complete.words(QUEUE_STATUSES),
        ),
    ] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="Most entries shown.")] = 50,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show waiting jobs in the order of placement; or set a queue's policy or status. `show` may be left out."""
    if policy or status:
        if not name:
            raise InvalidInput("name the queue to change")
        if at is not None:
            raise InvalidInput("--policy and --status change the queue now; leave --at out")
        outcome = with_client(lambda client: client.queues.configure(name, policy=policy, status=status))
        show_done(outcome, f"queue {name}: {', '.join(filter(None, (policy, status)))}", output)
        return

    async def work(client: AsyncClient) -> Any:
        known = await client.queues.list(at=moment(at))
        queues = [item for item in known if name in ("", item.queue)]
        if not queues:
            raise NotFound(f"there is no queue {name!r}; there are: {', '.join(item.queue for item in known)}")
        return {"queues": queues, "entries": await client.queues.entries(name, at=moment(at), limit=limit)}

    found = with_client(work)
    if output is not Format.TABLE:
        show_data(found, output)
        return
    show_rows(found["queues"], QUEUE_COLUMNS, Format.TABLE)
    if found["entries"]:
        write("\n")
        show_rows(found["entries"], entry_columns(moment(at) or datetime.now(UTC)), Format.TABLE)


QUEUE_COLUMNS = [
    column("Queue"),
    column("Policy", rank=2),
    column("Status", style=True),
    column("Waiting jobs", right=True, rank=3),
    column("Waiting tasks", right=True, rank=1),
    column("Placed tasks", right=True, rank=4),
]


def entry_columns(now: datetime) -> list[Column]:
    return [
        column("#", "position", right=True),
        column("Job", "job_id"),
        column("Name", rank=3, least=8),
        column("Priority", rank=4),
        column("Tasks", "task_count", right=True, rank=5),
        column("Attempt", right=True, rank=7),
        Column("Wants", lambda row: wants(row["resources"]), rank=2),
        age_column("Since", "queued_at", now, rank=6),
        column("Why", "message", rank=1, least=20),
    ]


COMMANDS = {"queue": queues_app}

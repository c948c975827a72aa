"""`rollout`: how a revision takes another one's place; `traffic`: which requests go to which revision."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from forgelog.cli.common import AtOption, OutputOption, ReasonOption, moment, with_client
from forgelog.cli.deployments import rollout_text
from forgelog.cli.render import Column, Format, column, show_data, show_done, show_fields, show_rows
from forgelog.cli.scaling import NameArgument
from forgelog.errors import InvalidInput

app = typer.Typer(no_args_is_help=True, help="Show, pause, resume, promote or undo a deployment's rollout.")
traffic_app = typer.Typer(no_args_is_help=True, help="Show or set which requests go to which revision.")


@app.command("status")
def status(name: NameArgument, at: AtOption = None, output: OutputOption = Format.TABLE) -> None:
    """Show the rollout under way, or how the last one ended."""
    moved = moment(at)

    async def work(client: Any) -> Any:
        found = await client.deployments.get(name, at=moved)
        number = found["rollout_revision"] or found["newest_revision"]
        return found, await client.deployments.revision(name, number, at=moved)

    found, revision = with_client(work)
    if output is not Format.TABLE:
        show_data({**{key: found[key] for key in found if key.startswith("rollout")}, "revision": revision}, output)
        return
    fields = {
        "rollout": rollout_text(found) or "none is under way",
        "revision": f"{revision['revision']}: {revision['status'].replace('_', ' ')}",
        "why": revision["reason"] or found["rollout_reason"],
        "changed": revision["changed"],
        "crashes": revision["crashes"] or "",
        "began": revision["started_at"],
        "ended": revision["ended_at"],
        "replicas": f"{found['ready']} of {found['wanted']} ready",
    }
    show_fields(fields, title=found["name"])


@app.command("pause")
def pause(name: NameArgument, reason: ReasonOption = "", output: OutputOption = Format.TABLE) -> None:
    """Let the rollout take no further step."""
    outcome = with_client(lambda client: client.deployments.pause_rollout(name, reason=reason))
    show_done(outcome, f"the rollout of {name} is paused", output)


@app.command("resume")
def resume(name: NameArgument, output: OutputOption = Format.TABLE) -> None:
    """Go on with a rollout that is paused."""
    outcome = with_client(lambda client: client.deployments.resume_rollout(name))
    show_done(outcome, f"the rollout of {name} goes on", output)


@app.command("promote")
def promote(
    name: NameArgument,
    whole: Annotated[bool, typer.Option("--whole", help="All steps of a canary that are left.")] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Take a rollout's next step now."""
    outcome = with_client(lambda client: client.deployments.promote_rollout(name, whole=whole))
    show_done(outcome, f"the rollout of {name} is promoted", output)


@app.command("undo")
def undo(
    name: NameArgument,
    to: Annotated[int, typer.Option("--to", min=0, metavar="REVISION", help="[default: the one before]")] = 0,
    reason: ReasonOption = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Go back: roll back the rollout under way, or roll out an earlier revision again."""
    outcome = with_client(lambda client: client.deployments.undo_rollout(name, to_revision=to, reason=reason))
    show_done(outcome, f"{name} goes back", output)


@traffic_app.command("show")
def show(name: NameArgument, at: AtOption = None, output: OutputOption = Format.TABLE) -> None:
    """Show which share of requests each revision gets, and its replicas that are ready."""
    found = with_client(lambda client: client.deployments.routing(name, at=moment(at)))
    if output is not Format.TABLE:
        show_data(found, output)
        return
    columns = [
        column("Revision", right=True),
        Column("Requests", lambda row: f"{row['weight'] / 100:g}%", right=True),
        Column("Serves", lambda row: f"{row['model']}/{row['version']}"),
        Column("Ready", lambda row: len(row["replicas"]), right=True),
    ]
    show_rows(found["routing"]["revisions"], columns, output, empty="no replica is ready, so no request is answered")


@traffic_app.command("set")
def set_weights(
    name: NameArgument,
    weights: Annotated[
        list[str], typer.Argument(metavar="REVISION=PERCENT...", help="Such as 2=10; the other one gets the rest.")
    ],
    output: OutputOption = Format.TABLE,
) -> None:
    """Give a canary's revisions their shares of requests. The rollout is paused by that."""
    shares = dict(_share(each) for each in weights)
    outcome = with_client(lambda client: client.deployments.set_traffic(name, shares))
    show_done(outcome, f"requests to {name} are shared so, and its rollout is paused", output)


def _share(text: str) -> tuple[int, int]:
    """``2=10`` as revision and basis points. Raises InvalidInput."""
    revision, _, percent = text.partition("=")
    try:
        share = round(float(percent) * 100)
        number = int(revision)
    except (ValueError, OverflowError):
        number, share = 0, -1
    if number < 1 or not 0 <= share <= 10_000:
        raise InvalidInput(f"{text!r} is no revision with a percentage; write for example 2=10, with 0 to 100 percent")
    return number, share


COMMANDS = {"rollout": app, "traffic": traffic_app}

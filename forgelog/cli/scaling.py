"""`autoscale`: how a deployment's number of replicas follows its load; and why a deployment is as it is, for `why`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli import complete
from forgelog.cli.common import OutputOption, with_client
from forgelog.cli.render import Format, plain, show_done, show_fields
from forgelog.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from datetime import datetime

    from forgelog.client.aio import AsyncClient
    from forgelog.client.rows import ReplicaRow

_NOT_READY = ("requested", "started", "unready")
_MOST_WAITING = 10
"""Replicas whose reasons are asked for."""

METRICS = ("cpu", "memory", "gpu", "rps", "latency")

NameArgument = Annotated[
    str,
    typer.Argument(metavar="NAME", help="The deployment's name, or its id.", autocompletion=complete.deployments),
]
ScaleOption = Annotated[
    list[str] | None,
    typer.Option(
        "--scale",
        metavar="METRIC=TARGET",
        help=f"{', '.join(METRICS)} (percent, requests/s a replica, ms), or the replicas' own metric (repeatable).",
    ),
]
MinOption = Annotated[int | None, typer.Option("--min", min=0, max=1000, help="Least replicas; 0 while idle.")]
MaxOption = Annotated[int | None, typer.Option("--max", min=1, max=1000, help="Most replicas.")]


def autoscale(
    name: NameArgument,
    scale: ScaleOption = None,
    least: MinOption = None,
    most: MaxOption = None,
    idle: Annotated[
        float | None,
        typer.Option("--idle", min=1, metavar="SECONDS", help="Without a request before the last one goes."),
    ] = None,
    predictive: Annotated[
        bool | None, typer.Option("--predictive/--no-predictive", help="Replicas ahead of the load of past days.")
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Let the number stay as it is.")] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Let the number of replicas follow the load. What is not given stays as it is set."""
    options = {"scale": scale, "min": least, "max": most, "idle": idle, "predictive": predictive}

    async def work(client: Any) -> Any:
        if off:
            if any(value is not None for value in options.values()):
                raise InvalidInput("--off takes the policy away; give it alone")
            return await client.deployments.set_scaling(name, None)
        spec = (await client.deployments.get(name))["spec"]
        return await client.deployments.set_scaling(name, policy(spec.get("scaling"), options))

    outcome = with_client(work)
    follows = "stays as it is" if off else "follows the load"
    show_done(outcome, f"the number of {name}'s replicas {follows}", output)


def policy(known: dict[str, Any] | None, options: dict[str, Any]) -> dict[str, Any]:
    """A policy as a command takes it: the known one with these options. Raises InvalidInput."""
    found: dict[str, Any] = without_none(known or {})
    if options.get("scale"):
        found["targets"] = [_target(text) for text in options["scale"]]
    for field, option in (("min_replicas", "min"), ("max_replicas", "max"), ("idle_seconds", "idle")):
        if options.get(option) is not None:
            found[field] = options[option]
    if options.get("predictive") is not None:
        found.pop("predictive", None)
        if options["predictive"]:
            found["predictive"] = {}
    if "max_replicas" not in found:
        raise InvalidInput("--max: is missing; give the most replicas that there may be")
    return found


def _target(text: str) -> dict[str, Any]:
    metric, sign, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not (sign and metric and 0 < number < math.inf):
        raise InvalidInput(f"--scale: {text!r} is no target; give METRIC=NUMBER, such as rps=50")
    return {"metric": metric, "value": number} if metric in METRICS else {
        "metric": "custom", "custom": metric, "value": number
    }  # fmt: skip


def without_none(value: Any) -> Any:
    """A row's part as a command takes it: without what has no value."""
    if isinstance(value, dict):
        return {key: without_none(each) for key, each in value.items() if each is not None}
    return [without_none(each) for each in value] if isinstance(value, list | tuple) else value


async def reasons(client: AsyncClient, name: str, at: datetime | None) -> dict[str, Any]:
    """Why a deployment is as it is, with what its replicas wait for that are not ready (``waiting``). Raises
    `NotFound`."""
    found = await client.deployments.why(name, at=at)
    waiting = await client.deployments.replicas(name, status=_NOT_READY, at=at, limit=_MOST_WAITING)
    return {**found, "waiting": [await _wait(client, each, at) for each in waiting]}


async def _wait(client: AsyncClient, replica: ReplicaRow, at: datetime | None) -> dict[str, Any]:
    """What one of them waits for; of a job that has no process its own word."""
    why, job = replica.reason, replica.job_id
    if not why and replica.status == "requested":
        try:
            why = (await client.jobs.why(job, at=at)).message
        except NotFound:
            why = "its job is on its way"
    why = why or f"it runs and says not that it is ready; 'forgelog logs {job}' shows its output"
    return {"replica": replica.replica, "job_id": job, "status": replica.status, "why": why}


def show_reasons(found: Any) -> None:
    """Why a deployment has as many replicas as it has, and why its last rollout went as it did."""
    fields = {
        "replicas": found["replicas_reason"],
        "changed": found["replicas_changed_at"],
        "standing": found["standing_summary"],
        "as of": found["observed_at"],
        "rollout": found["rollout_reason"],
        "happened": found["rollout_changed_at"],
        "canary": found["judgement_summary"],
        "judged": found["judged_at"],
        "waiting": [f"replica {each['replica']}: {each['why']}" for each in found["waiting"]],
        "crash": found["crash_reason"],
        "crashed": found["crashed_at"],
        "alerts": [
            f"{alert['summary']}, since {plain(alert['since'].replace(microsecond=0))}" for alert in found["firing"]
        ],
    }
    show_fields(fields, title=found["deployment_id"])


COMMANDS = {"autoscale": autoscale}

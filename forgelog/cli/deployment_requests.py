"""`deployments requests` and `deployments metrics`: what became of each request to a deployment, and of all."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from forgelog.cli import complete
from forgelog.cli.common import AtOption, LimitOption, OutputOption, moment, with_client
from forgelog.cli.log import SinceOption, UntilOption
from forgelog.cli.nodes import parsed
from forgelog.cli.render import Column, Format, age_column, column, show_rows
from forgelog.cli.scaling import NameArgument
from forgelog.errors import InvalidInput
from forgelog.units import parse_duration

OUTCOMES = ("succeeded", "failed", "refused", "cancelled")
ERRORS = (
    "invalid", "unauthenticated", "forbidden", "not_found", "too_large", "rate_limited", "overloaded", "not_ready",
    "unreachable", "timeout", "model_failed", "cancelled",
)  # fmt: skip


def requests(
    name: NameArgument,
    outcome: Annotated[
        list[str] | None,
        typer.Option("--outcome", help=f"{', '.join(OUTCOMES)}.", autocompletion=complete.words(OUTCOMES)),
    ] = None,
    error: Annotated[
        list[str] | None,
        typer.Option("--error", help=f"{', '.join(ERRORS)}.", autocompletion=complete.words(ERRORS)),
    ] = None,
    revision: Annotated[list[int] | None, typer.Option("--revision", min=0, help="0: before one was chosen.")] = None,
    endpoint: Annotated[str, typer.Option("--endpoint", help="Of this name.")] = "",
    replica: Annotated[str, typer.Option("--replica", help="Answered by the replica with this job.")] = "",
    request: Annotated[str, typer.Option("--id", help="The one with this id.")] = "",
    batch: Annotated[str, typer.Option("--batch", help="Those of one batch.")] = "",
    trace: Annotated[str, typer.Option("--trace", help="Those of the trace with this id.")] = "",
    slower: Annotated[float, typer.Option("--slower", min=0, metavar="MS", help="At least so many milliseconds.")] = 0,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: LimitOption = 50,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """List requests to a deployment, newest first."""
    moved = moment(at)
    rows = with_client(
        lambda client: client.deployments.requests(
            name,
            outcome=outcome or (),
            error=error or (),
            revision=revision or (),
            endpoint=endpoint,
            replica=replica,
            request=request,
            batch=batch,
            trace=trace,
            slower_than=slower,
            since=moment(since, "--since"),
            until=moment(until, "--until"),
            at=moved,
            limit=limit,
        )
    )
    columns = [
        age_column("Began", "started_at", moved or datetime.now(UTC)),
        column("Outcome", style=True),
        column("Status", right=True),
        Column("ms", lambda row: f"{row['latency_ms']:.1f}", right=True),
        Column("Model ms", lambda row: _milliseconds(row["inference_ms"]), right=True, rank=2),
        column("Revision", right=True, rank=1),
        column("Endpoint", rank=3),
        Column("Batch", lambda row: row["batch_requests"] or "", right=True, rank=4),
        Column("Bytes", lambda row: f"{row['request_bytes']}/{row['response_bytes']}", right=True, rank=4),
        Column("Why", _why, rank=1, least=12),
        column("Request", "request_id", rank=5),
        column("Trace", "trace_id", rank=6),
    ]
    show_rows(rows, columns, output, empty="there are no such requests")


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _why(row: Any) -> str:
    return ": ".join(filter(None, (row["error_type"], row["error_message"])))


def metrics(
    name: NameArgument,
    every: Annotated[
        str, typer.Option("--every", metavar="DURATION", help="Length of a window: whole minutes, such as 5m or 1h.")
    ] = "1m",
    revision: Annotated[list[int] | None, typer.Option("--revision", min=0, help="Only of this one.")] = None,
    by_revision: Annotated[bool, typer.Option("--by-revision", help="Each revision for itself.")] = False,
    since: SinceOption = None,
    until: UntilOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show counts, latencies, use and costs of a deployment by windows of time, newest first."""
    window = parsed(every, "--every", parse_duration)
    if window is None or window % 60 or window < 60:
        raise InvalidInput(f"--every: {every} is not whole minutes; give for example 5m or 1h")
    rows = with_client(
        lambda client: client.deployments.metrics(
            name,
            window=int(window),
            revision=revision or (),
            by_revision=by_revision,
            since=moment(since, "--since"),
            until=moment(until, "--until"),
        )
    )
    columns = [
        age_column("Began", "window_start", datetime.now(UTC)),
        *([column("Revision", right=True)] if by_revision else []),
        column("Requests", "total_requests", right=True),
        Column("rps", lambda row: f"{row['requests_per_second']:.1f}", right=True, rank=1),
        Column("Failed", lambda row: _share(row["error_rate"]), right=True),
        column("Refused", "refused_requests", right=True, rank=4),
        Column("p50 ms", lambda row: _milliseconds(row["p50_latency_ms"]), right=True, rank=1),
        Column("p95 ms", lambda row: _milliseconds(row["p95_latency_ms"]), right=True),
        Column("p99 ms", lambda row: _milliseconds(row["p99_latency_ms"]), right=True, rank=2),
        Column("Model ms", lambda row: _milliseconds(row["average_inference_ms"]), right=True, rank=3),
        Column("CPU", lambda row: _percent(row["cpu_percent"]), right=True, rank=3),
        Column("Memory", lambda row: _percent(row["memory_percent"]), right=True, rank=4),
        Column("GPU", lambda row: _percent(row["gpu_percent"]), right=True, rank=5),
        Column("Replicas", lambda row: f"{row['replica_seconds'] / row['window_seconds']:.1f}", right=True, rank=4),
        Column("Cost", lambda row: _cost(row["estimated_cost"]), right=True, rank=2),
        Column("Drift", lambda row: _cost(row["drift"]), right=True, rank=4),
    ]
    show_rows(rows, columns, output, empty="there were no requests and no replicas")


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}%"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}%"


def _cost(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"

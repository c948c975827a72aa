"""Which runs a command is about: those that are named, or those of an experiment that a filter lets through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from forgelog.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient
    from forgelog.client.frames import Rows
    from forgelog.client.rows import ExperimentRow, ExperimentRunRow

MOST = 200
"""Most runs of one drawing or table."""

RunsArgument = Annotated[list[str] | None, typer.Argument(metavar="[RUN]...", help="The runs' ids.")]
ExperimentOption = Annotated[
    str, typer.Option("--experiment", "-e", metavar="EXPERIMENT", help="Runs of this one: its name or its id.")
]
FilterOption = Annotated[
    str, typer.Option("--filter", "-f", help="Only runs that it lets through, such as \"params.depth = '3'\".")
]


@dataclass(frozen=True, slots=True)
class Selection:
    """What was given on the command line. Raises `InvalidInput` unless it names runs or an experiment, one of both."""

    ids: Sequence[str]
    experiment: str
    filter: str
    limit: int
    at: datetime | None

    def __post_init__(self) -> None:
        if self.ids and (self.experiment or self.filter):
            raise InvalidInput("--experiment, --filter: choose runs by themselves; leave them out, or the runs' ids")
        if not self.ids and not self.experiment:
            raise InvalidInput("RUN: is missing; name runs, or an experiment with --experiment")
        if len(self.ids) > MOST:
            raise InvalidInput(f"RUN: {len(self.ids)} runs are too many to see; name at most {MOST}")

    async def runs(self, client: AsyncClient) -> Rows[ExperimentRunRow]:
        """The runs with their `params`, `tags` and `metrics`: in the order in which they were named, or those that
        began last first. Raises `NotFound`, also if there are none."""
        if not self.ids:
            id = await experiment_id(client, self.experiment, self.at)
            found = await client.runs.search(self.filter, experiments=[id], at=self.at, limit=self.limit)
            if not found:
                raise NotFound(f"experiment {self.experiment} has no such runs")
            return found
        wanted = list(dict.fromkeys(self.ids))
        if bad := next((id for id in wanted if "'" in id), ""):
            raise NotFound(f"there is no run {bad!r}; `forgelog runs list` shows them")
        listed = ", ".join(f"'{id}'" for id in wanted)
        rows = await client.runs.search(f"run_id in ({listed})", deleted=None, at=self.at)
        by_id = {row.run_id: row for row in rows}
        if missing := [id for id in wanted if id not in by_id]:
            raise NotFound(f"there is no run {', '.join(missing)}; `forgelog runs list` shows them")
        return type(rows)(by_id[id] for id in wanted)


async def experiment_named(client: AsyncClient, given: str, at: datetime | None = None) -> ExperimentRow:
    """An experiment, by its name in the client's project, or by its id. Raises `NotFound`."""
    try:
        return await client.experiments.get(name=given, at=at)
    except NotFound:
        return await client.experiments.get(given, at=at)


async def experiment_id(client: AsyncClient, given: str, at: datetime | None = None) -> str:
    """The id of an experiment, by its name or by itself. Raises `NotFound`."""
    return (await experiment_named(client, given, at)).experiment_id

"""`pipeline run --stage`: one stage tried on a sample, on this machine. Writes and publishes nothing."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from forgelog.cli.common import guarded, with_client
from forgelog.cli.pipeline_failures import told_failure
from forgelog.cli.render import Format, column, note, plain, show_data, show_rows
from forgelog.errors import InvalidInput

if TYPE_CHECKING:
    from events.language.pipelines.pipeline import PipelineSpec
    from events.language.pipelines.quality import RuleOutcome
    from events.language.pipelines.stages import StageSpec
    from forgelog.client.aio import AsyncClient
    from forgelog.worker.job import Ask
    from forgelog.worker.sampling import Sample

ROWS = 20
"""Of a sample, if no other number is asked for."""

MOST_ROWS = 10_000

Interval = tuple[datetime, datetime] | None


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be tried."""

    target: str
    file: Path | None
    stage: str
    rows: int
    parameters: Mapping[str, Any]
    version: int
    interval: Interval
    debug: bool


class _Failed(Exception):
    """The stage has failed: with the fields of a `StageFailure`, in which secrets are masked."""

    def __init__(self, failure: Mapping[str, Any]) -> None:
        super().__init__(failure)
        self.failure = failure


def show_sample(asked: Asked, output: Format) -> None:
    """Try it, and show its rows; exit code 1 if it fails."""
    try:
        found = _tried(asked)
    except _Failed as failed:
        of_user = "" if failed.failure.get("field") else asked.stage
        for line in told_failure(failed.failure, of_user):
            note(line)
        raise typer.Exit(1) from None
    if output is Format.TABLE:
        columns = [column(each.name, each.name, least=8) for each in found.columns]
        show_rows([_told_row(row) for row in found.rows], columns, output, empty="it gives no rows")
        for line in map(_told_rule, found.outcomes):
            note(line)
        number = len(found.rows)
        note(f"{asked.stage}: {number} {'row' if number == 1 else 'rows'} of a sample; nothing was written")
    else:
        told = [{"name": each.name, "type": each.type} for each in found.columns]
        rules = [each.model_dump(mode="json") for each in found.outcomes]
        rows = [{name: _told(value) for name, value in row.items()} for row in found.rows]
        show_data({"stage": asked.stage, "columns": told, "rows": rows, "rules": rules}, output)
    if found.problem is not None:
        note(f"{asked.stage}: {found.problem}")
        raise typer.Exit(1)


def _tried(asked: Asked) -> Sample:
    if asked.file is None:
        return with_client(lambda client: _of_name(client, asked))
    spec, code = guarded(lambda: described_only(asked.target))
    if not any(_reads_dataset(stage) for stage in spec.stages):
        return guarded(lambda: _sample(asked, spec, code, "local/default", _no_platform))
    return with_client(lambda client: _beside(client, asked, spec, code))


def described_only(target: str) -> tuple[PipelineSpec, str]:
    """The only pipeline of a file, and the folder of its code."""
    from forgelog.pipelines.declaring.files import described

    made = described(target)
    if len(made) != 1:
        raise InvalidInput(f"{target} has {len(made)} pipelines; give a file with one")
    return made[0].spec, made[0].upload


def _reads_dataset(stage: StageSpec) -> bool:
    """Whether the platform has to be asked where its input is."""
    return any(given.source is not None and given.source.dataset for given in stage.inputs.values())


def _no_platform(question: Any) -> Any:
    raise LookupError(f"no platform is asked for {question['ask']}")


async def _of_name(client: AsyncClient, asked: Asked) -> Sample:
    from events.language.pipelines.pipeline import PipelineSpec
    from forgelog.pipelines.declaring.files import SUFFIXES

    row = await client.pipelines.get(asked.target)
    found = await client.pipelines.version(asked.target, asked.version or row.version)
    spec = PipelineSpec.model_validate(found.spec)
    if spec.code is not None:
        raise InvalidInput(f"the code of {asked.target} is on the platform; give its file ({', '.join(SUFFIXES)})")
    return await _beside(client, asked, spec, "")


async def _beside(client: AsyncClient, asked: Asked, spec: PipelineSpec, code: str) -> Sample:
    """The sample, in a thread: what it asks of the platform is answered here."""
    from forgelog.worker.asking import Asking
    from forgelog.worker.versions import Versions
    from forgelog.worker.working import Order

    core, loop = client._core, asyncio.get_running_loop()
    asking = Asking(core, client.project, Versions(core))

    def ask(question: Any) -> Any:
        order = Order(("", "", 0, ""), {}, None)
        answer = asyncio.run_coroutine_threadsafe(asking.answer(order, question), loop).result()
        if problem := answer.get("problem"):
            raise LookupError(problem)
        return answer["answer"]

    return await asyncio.to_thread(_sample, asked, spec, code, client.project, ask)


def _sample(asked: Asked, spec: PipelineSpec, code: str, project: str, ask: Ask) -> Sample:
    from forgelog.pipelines.checking import can_check
    from forgelog.worker import sampling
    from forgelog.worker.failing import failure_of
    from forgelog.worker.starting import SECRETS

    if not can_check():
        raise InvalidInput("the libraries of pipelines are missing here: pip install 'forgelog[pipelines]'")
    if asked.stage not in (known := [stage.id for stage in spec.stages]):
        from events.language.common import shown

        raise InvalidInput(f"--stage: there is no stage {shown(asked.stage)}; there are: {', '.join(known[:50])}")
    texts = bound_texts(spec, asked.parameters)
    with tempfile.TemporaryDirectory(prefix="forgelog-sample-", ignore_cleanup_errors=True) as folder:
        bench = sampling.Bench(
            spec=spec,
            rows=asked.rows,
            scratch=Path(folder).resolve(),
            code=Path(code) if code else None,
            texts=texts,
            interval=asked.interval or latest(spec),
            secrets=Path(given) if (given := os.environ.get(SECRETS)) else None,
            ask=ask,
            project=project,
            debug=asked.debug,
        )
        try:
            return sampling.sample(bench, asked.stage)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - anybody's code
            raise _Failed(failure_of(error)) from None


def bound_texts(spec: PipelineSpec, given: Mapping[str, Any]) -> dict[str, str]:
    """All parameters that have a value. Raises InvalidInput."""
    from events.language.pipelines.parameters import bound

    texts, errors = bound(spec.parameters, {name: str(value) for name, value in given.items()})
    if errors:
        raise InvalidInput("; ".join(f"{each.field}: {each.problem}; {each.hint}" for each in errors))
    return texts


def latest(spec: PipelineSpec) -> Interval:
    """What a run by hand is about, if nothing else is said."""
    from events.language.pipelines.clock.ticks import latest_interval

    found = latest_interval(spec.schedule, datetime.now(UTC)) if spec.schedule is not None else None
    return (found.start, found.end) if found is not None else None


def _told_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: "" if value is None else str(_told(value)) for name, value in row.items()}


def _told(value: Any) -> Any:
    """A value of DuckDB's as JSON has it; what JSON has no type for as text."""
    if isinstance(value, Mapping):
        return {str(name): _told(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_told(each) for each in value]
    known = plain(value)
    return known if isinstance(known, str | int | float | bool | None) else str(known)


def _told_rule(outcome: RuleOutcome) -> str:
    what = f"rule {outcome.rule_id}: {outcome.failed} of {outcome.rows} rows fail"
    return f"{what}, {outcome.quarantined} would go to the quarantine" if outcome.quarantined else what

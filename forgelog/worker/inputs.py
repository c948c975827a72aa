"""What a stage reads, as relations of its DuckDB."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from events.language.pipelines.columns import Column
from events.language.pipelines.connections import FILE_PLACES, DataSourceType
from events.language.pipelines.lineage import LineageInput
from events.language.pipelines.quality import RuleOutcome
from events.language.pipelines.sources import DataSource
from events.language.pipelines.windows import StreamState
from events.language.pipelines.work import StageOutput
from events.log.ids import named_id
from forgelog.pipelines import io, quality
from forgelog.pipelines.engine import allow
from forgelog.pipelines.engine.running import describe, execute
from forgelog.pipelines.engine.sql import quoted
from forgelog.pipelines.problems import StageError
from forgelog.worker import windowing
from forgelog.worker.counting import Counting
from forgelog.worker.handing_on import attach_handed_on, hand_on
from forgelog.worker.job import StageJob

FILES = (FILE_PLACES | {DataSourceType.HTTP}) - {DataSourceType.DATASET}
"""Sources whose files may be taken one by one."""

_HELD_INLINE = 4 << 10
"""Most bytes of held rows that an event has; more are an object."""

Narrow = Callable[[io.Resolved], io.Resolved]


@dataclass(slots=True)
class Inputs:
    """What was attached."""

    counting: Counting
    """The connection."""
    schemas: dict[str, tuple[Column, ...]] = field(default_factory=dict)
    read: list[LineageInput] = field(default_factory=list)
    outcomes: list[RuleOutcome] = field(default_factory=list)
    """Of the rules of sources."""
    taken: dict[str, StageOutput] = field(default_factory=dict)
    """Of inputs that stages have handed on: the first part, which says what the rows are computed from."""
    bytes: int = 0
    known_rows: int = 0
    """Of inputs that are no text: text is counted when it is read."""
    streams: list[StreamState] = field(default_factory=list)
    """Of inputs with windows: what is left to the next batch."""
    aside: list[quality.OfInput] = field(default_factory=list)
    """Rows that rules of sources have set aside, and those that came after their windows, where they go aside."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """Of windows: see `StageMetrics`."""
    rejected: int = 0
    """Rows that the rules of sources have set aside."""

    @property
    def rows(self) -> int:
        """That the inputs have; of text, those that queries have read by now."""
        return self.known_rows + self.counting.rows_of_text()


def attach(connection: Counting, job: StageJob) -> Inputs:
    """Make each input a relation. For a task, the one that it is done for each of has its own part alone. Raises
    StageError."""
    inputs = Inputs(connection)
    for name in job.stage.inputs:
        try:
            _attach(connection, job, name, inputs)
        except StageError as error:
            raise error if error.field.startswith("inputs.") else error.below(f"inputs.{name}") from None
    return inputs


def _attach(connection: Any, job: StageJob, name: str, inputs: Inputs) -> None:
    task, source = job.task, _source(job, name)
    mine = task is not None and job.stage.for_each is not None and job.stage.for_each.input == name
    if source is None:
        whole = f"{name} whole" if mine else name
        outputs = job.handed_on(name)
        columns, size = attach_handed_on(connection, whole, outputs, job.scratch, job.objects)
        inputs.taken[name] = outputs[0]
        inputs.known_rows += 1 if mine else sum(output.rows for output in outputs)
    else:
        resolved = io.resolve(source, job.context())
        by_file = mine and by_files(source)
        if by_file:
            resolved = _one_file(resolved, str(job.item))
        whole = f"{name} whole" if mine and not by_file else name
        allow(connection, io.allowed_paths(resolved))
        read = whole
        hidden: tuple[str, ...] = ()
        if windows := _has_windows(source):
            read = f"{whole} records"
            source, hidden = windowing.with_places(source)
            resolved = replace(resolved, source=source)
        counted = not job.most_rows and whole == name  # no one asks for the figures of a sample
        columns, size = _attach_source(connection, name, read, resolved, inputs, job.most_rows, counted), resolved.bytes
        inputs.known_rows += whole != name
        if windows:
            columns = _windowed(connection, job, name, read, resolved, inputs, hidden)
        inputs.read.append(_lineage_input(name, source, resolved, job.project))
    if whole != name:
        execute(connection, f"CREATE VIEW {quoted(name)} AS SELECT * FROM {quoted(whole)} LIMIT 1 OFFSET {task}")
    inputs.schemas[name] = columns
    inputs.bytes += size


def _windowed(
    connection: Any,
    job: StageJob,
    name: str,
    records: str,
    resolved: io.Resolved,
    inputs: Inputs,
    hidden: Sequence[str] = (),
) -> tuple[Column, ...]:
    """The relation of a source with windows: the rows of those that are complete now. See `windowing.compute`. Raises
    StageError."""
    source = resolved.source
    assert source.streaming is not None
    given = next((each for each in job.streams if each.input == name), None)
    if job.most_rows:
        return windowing.all_windows(connection, name, records, source.streaming, hidden)
    if (source.connection.url, source.topic) not in job.context().topics:
        problem = "has windows, and the run was given no batch of the topic by a trigger"
        raise StageError("streaming.windows", problem, "activate the pipeline: its trigger's runs compute them")
    before = None
    if given is not None and given.held.rows:
        before = f"{name} held"
        attach_handed_on(connection, before, (given.held,), job.scratch, job.objects)
    made = windowing.compute(
        connection, name, records, before, source.streaming, given, tuple(resolved.offsets), hidden=hidden
    )
    held = StageOutput()
    if made.state is not None:
        if made.held_rows:
            held, _ = hand_on(connection, made.held, job.scratch, job.objects, most_inline=_HELD_INLINE)
        inputs.streams.append(made.state.model_copy(update={"input": name, "held": held}))
        marks = [each.watermark for each in inputs.streams if each.watermark is not None]
        inputs.metrics["late_rows"] = inputs.metrics.get("late_rows", 0) + made.late_rows
        inputs.metrics["held_rows"] = inputs.metrics.get("held_rows", 0) + made.held_rows
        inputs.metrics["watermark"] = min(marks).isoformat() if marks else None
    if made.late is not None:
        rules, reasons = f"['{windowing.LATE_RULE}']", f"['{windowing.LATE_REASON}']"
        inputs.aside.append(quality.rows_of_input(name, made.late, describe(connection, made.late), rules, reasons))
    return made.columns


def identities(job: StageJob) -> dict[str, tuple[str, ...]] | None:
    """What each input is now; None if nothing can tell of one. Raises StageError."""
    found: dict[str, tuple[str, ...]] = {}
    for name, given in job.stage.inputs.items():
        if given.source is None:
            found[name] = tuple(map(_identity, job.handed_on(name)))
            continue
        try:
            found[name] = () if _has_windows(given.source) else io.resolve(given.source, job.context()).identity
        except StageError as error:
            raise error.below(f"inputs.{name}") from None
        if not found[name]:
            return None
    return found


def _has_windows(source: DataSource) -> bool:
    """Then its rows also depend on what the batches before have left."""
    return source.streaming is not None and source.streaming.windows is not None


def by_files(source: DataSource) -> bool:
    """Whether tasks are done for each of its files, and not of its rows."""
    return source.type in FILES


def _source(job: StageJob, name: str) -> DataSource | None:
    """The source of an input; None of rows that a stage has handed on."""
    given = job.stage.inputs[name]
    if given.source is not None:
        return given.source
    made = job.handed_on(name)[0]
    if not made.dataset_id:
        return None
    return DataSource(type=DataSourceType.DATASET, dataset=made.dataset_id, version=made.dataset_version)


def _one_file(resolved: io.Resolved, url: str) -> io.Resolved:
    files = tuple(file for file in resolved.files if file.url == url)
    if not files:
        raise StageError("path", f"{url} was there when the tasks were planned, and is gone", "run the stage again")
    return replace(resolved, files=files)


def _attach_source(
    connection: Any,
    input: str,
    name: str,
    resolved: io.Resolved,
    inputs: Inputs,
    most_rows: int,
    counted: bool,
) -> tuple[Column, ...]:
    """The relation `name` of an input's source: of the rows that its rules let pass. `counted`: count those before."""
    source = resolved.source
    read = f"{name} read" if source.rules else name
    full = f"{name} full" if most_rows else read
    columns, text = io.attach(connection, full, resolved)
    if counted and text and resolved.rows is None:
        inputs.counting.count_input(text)
    elif counted:
        inputs.known_rows += io.rows_of(connection, full, resolved)
    if most_rows:
        query = f"SELECT * FROM {quoted(full)} LIMIT {most_rows}"
        execute(connection, f"CREATE VIEW {quoted(read)} AS {query}")
    if not source.rules:
        return columns
    checked = quality.check(connection, read, source.rules)
    inputs.outcomes += checked.outcomes
    inputs.rejected += checked.quarantined
    if checked.quarantine is not None:
        inputs.aside.append(quality.rows_of_source(input, checked, columns))
    if (error := checked.error()) is not None:
        raise error
    execute(connection, f"CREATE VIEW {quoted(name)} AS SELECT * FROM {quoted(checked.clean)}")
    return columns


def _identity(output: StageOutput) -> str:
    if output.dataset_id:
        return f"{output.dataset_id}@{output.dataset_version}"
    return output.table.digest if output.table is not None else output.inline


def _lineage_input(name: str, source: DataSource, resolved: io.Resolved, project: str) -> LineageInput:
    if resolved.dataset_id:
        return LineageInput(name=name, dataset_id=resolved.dataset_id, version=resolved.version)
    location = source.table or source.topic or next(iter(source.patterns), "") or source.query[:200]
    if source.connection.url:
        location = f"{source.connection.url.rstrip('/')}/{location.lstrip('/')}"
    id = named_id(source.id, project) if source.id else ""
    return LineageInput(name=name, dataset_id=id, location=location[:2_000])

"""An event of OpenLineage (https://openlineage.io/spec/2-0-2/OpenLineage.json) as the commands that it leads to. Pure.

Read is what lineage needs: the job, its run, its inputs and outputs with their facets ``schema`` and ``columnLineage``.
All else may be in it. An event of a run that has not completed, or that names no output, leads to no command.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from events.language.common import FieldError
from events.language.pipelines.columns import MAX_COLUMNS
from events.language.pipelines.commits import DatasetLabel, place_label
from events.language.pipelines.lineage import MAX_EDGES, MAX_LINEAGE_INPUTS
from events.language.pipelines.openlineage import DatasetNaming, location_of, own_dataset
from events.log.ids import named_id

MAX_OUTPUTS = 100
_RECORDED = frozenset({"COMPLETE", "RUNNING", "OTHER", ""})
"""Kinds of events whose outputs are there; that of a job without a run has none."""

Text = Annotated[str, StringConstraints(min_length=1, max_length=2_000)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Transformation(_Part):
    type: str = "DIRECT"


class _InputField(_Part):
    namespace: Text
    name: Text
    field: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    transformations: tuple[_Transformation, ...] = Field(default=(), max_length=100)

    @property
    def direct(self) -> bool:
        """Whether values come from it; others only decide which rows there are, or their order."""
        return not self.transformations or any(each.type == "DIRECT" for each in self.transformations)


class _Field(_Part):
    inputFields: tuple[_InputField, ...] = Field(default=(), max_length=MAX_EDGES)


class _ColumnLineage(_Part):
    fields: dict[Annotated[str, StringConstraints(min_length=1, max_length=255)], _Field] = Field(
        max_length=MAX_COLUMNS
    )


class _SchemaField(_Part):
    name: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    type: Annotated[str, StringConstraints(max_length=10_000)] = ""


class _Schema(_Part):
    fields: tuple[_SchemaField, ...] = Field(default=(), max_length=MAX_COLUMNS)


class _Facets(_Part):
    schema_: _Schema = Field(default=_Schema(), alias="schema")
    columnLineage: _ColumnLineage | None = None


class _Dataset(_Part):
    namespace: Text
    name: Text
    facets: _Facets = _Facets()

    @property
    def naming(self) -> DatasetNaming:
        return DatasetNaming(self.namespace, self.name)


class _Job(_Part):
    namespace: Annotated[str, StringConstraints(min_length=1, max_length=249)]
    name: Annotated[str, StringConstraints(min_length=1, max_length=250)]


class _Run(_Part):
    runId: Annotated[str, StringConstraints(min_length=1, max_length=200)]


class LineageEvent(_Part):
    """A RunEvent or a JobEvent."""

    eventType: Annotated[str, StringConstraints(max_length=50)] = ""
    job: _Job
    run: _Run | None = None
    inputs: tuple[_Dataset, ...] = Field(default=(), max_length=MAX_LINEAGE_INPUTS)
    outputs: tuple[_Dataset, ...] = Field(default=(), max_length=MAX_OUTPUTS)


_EVENT: TypeAdapter[LineageEvent] = TypeAdapter(LineageEvent)
_LABEL: TypeAdapter[str] = TypeAdapter(DatasetLabel)


class WrongEvent(ValueError):
    """The body is no event; `errors` say which fields are wrong."""

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__(errors[0].problem)
        self.errors = errors


def commands_of(body: Any, project: str) -> list[dict[str, Any]]:
    """The bodies of `RecordLineage`, one for each output. Raises WrongEvent."""
    try:
        event = _EVENT.validate_python(body)
    except ValidationError as error:
        raise WrongEvent([*_errors(error)]) from None
    if event.eventType.upper() not in _RECORDED:
        return []
    return [_command(event, output, project) for output in event.outputs]


def _errors(error: ValidationError) -> Iterator[FieldError]:
    for each in error.errors(include_url=False)[:20]:
        field = ".".join(map(str, each["loc"])) or "the body"
        yield FieldError(
            field=field, problem=each["msg"], hint="see https://openlineage.io/spec/2-0-2/OpenLineage.json"
        )


def _command(event: LineageEvent, output: _Dataset, project: str) -> dict[str, Any]:
    inputs = _Inputs(project)
    for each in event.inputs:
        inputs.name(each.naming)
    edges: dict[tuple[str, str, str], None] = {}
    told = output.facets.columnLineage
    for column, origin in (told.fields if told is not None else {}).items():
        for source in origin.inputFields:
            name = inputs.name(DatasetNaming(source.namespace, source.name))
            if source.direct:
                edges[column, name, source.field] = None
    unresolved = "" if told is not None else "the event has no facet columnLineage"
    if len(edges) > MAX_EDGES:
        unresolved = f"there are {len(edges)} edges between columns, more than {MAX_EDGES}"
    return {
        "dataset_id": dataset_of(output.naming, project),
        "location": location_of(output.naming),
        "job": f"{event.job.namespace}/{event.job.name}",
        "run": event.run.runId if event.run is not None else "",
        "columns": [
            {"name": each.name, "type": each.type.strip() or "unknown"} for each in output.facets.schema_.fields
        ],
        "inputs": inputs.told(),
        "lineage": {
            "tables": [*inputs.names.values()],
            "columns": []
            if unresolved
            else [dict(zip(("column", "dataset", "source"), edge, strict=True)) for edge in edges],
            "unresolved": unresolved,
        },
    }


class _Inputs:
    """The inputs of an event, each with a name for its edges."""

    def __init__(self, project: str) -> None:
        self.names: dict[DatasetNaming, str] = {}
        self._project = project

    def name(self, naming: DatasetNaming) -> str:
        return self.names.setdefault(naming, f"in{len(self.names) + 1}")

    def told(self) -> list[dict[str, str]]:
        return [
            {"name": name, "dataset_id": dataset_of(naming, self._project), "location": location_of(naming)}
            for naming, name in self.names.items()
        ]


def dataset_of(naming: DatasetNaming, project: str) -> str:
    """The id of the dataset of the project that OpenLineage calls so."""
    own = own_dataset(naming, project)
    try:
        label = _LABEL.validate_python(own)
    except ValidationError:
        label = place_label(location_of(naming))
    return named_id(label, project)

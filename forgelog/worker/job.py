"""One piece of work of an executor, and what it has around it: from the message of its worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from events.language.pipelines.arrivals import ArrivedFiles, TopicBatch
from events.language.pipelines.commits import place_label
from events.language.pipelines.manifests import CommitManifest
from events.language.pipelines.parameters import ParameterSpec, typed
from events.language.pipelines.quality import DataQualityRule
from events.language.pipelines.stages import StageSpec
from events.language.pipelines.windows import StreamState
from events.language.pipelines.work import StageOutput, WorkerSpec
from events.objects.remote import RemoteObjects
from forgelog.pipelines.problems import StageError
from forgelog.where import find_gateway
from forgelog.worker.framing import Message
from forgelog.worker.starting import secret_of

if TYPE_CHECKING:
    from forgelog.pipelines.io import DatasetAt, IoContext
    from forgelog.worker.handing_on import Store

Ask = Callable[[Message], Any]
"""Asks the worker. Raises LookupError if it has no answer."""


class DatasetRules(NamedTuple):
    """What a dataset asks of each of its versions, whichever pipeline makes them."""

    rules: tuple[tuple[DataQualityRule, int], ...]
    """Each with its revision."""
    required: tuple[str, ...]
    """Columns that must have a value in each row, as its contract says."""


@dataclass(frozen=True, slots=True)
class StageJob:
    """What is to be done of an attempt of a stage."""

    phase: str
    run_id: str
    attempt: int
    stage: StageSpec
    worker: WorkerSpec
    project: str
    scratch: Path
    """A folder of its own, which exists."""
    secrets: Path | None
    parameters: dict[str, Any]
    interval: tuple[datetime, datetime] | None
    inputs: dict[str, tuple[StageOutput, ...]]
    """Of the inputs that are stages: what they have handed on, in parts where it was made in parts."""
    manifest: CommitManifest | None
    """Of the phase `publish`."""
    quarantine: CommitManifest | None
    dataset_version: int
    ask: Ask
    texts: dict[str, str]
    """The parameters as they were given."""
    memory: int
    """Bytes that the work may hold."""
    topics: tuple[TopicBatch, ...] = ()
    """What it reads of topics that the pipeline watches."""
    arrived: tuple[ArrivedFiles, ...] = ()
    """The files of sources that name a trigger."""
    streams: tuple[StreamState, ...] = ()
    """Of inputs with windows: what the batch before has left."""
    debug: bool = False
    """Whether it writes down what it reads and runs."""
    task: int | None = None
    """Of a stage that is done for each of something: which one."""
    item: str | None = None
    """What the task is for, where that is a text."""
    most_rows: int = 0
    """Of each source that are read, where the stage is tried on a sample; 0: all."""
    store: Store | None = None
    """Objects, where they are not those of the platform."""

    @classmethod
    def of(cls, work: Message, scratch: Path, ask: Ask) -> StageJob:
        interval = work.get("interval")
        return cls(
            phase=work["phase"],
            run_id=work["run_id"],
            attempt=work["attempt"],
            stage=StageSpec.model_validate(work["stage"]),
            worker=WorkerSpec.model_validate(work["worker"]),
            project=work["project"],
            scratch=scratch,
            secrets=Path(work["secrets"]) if work.get("secrets") else None,
            parameters=typed(_specs(work.get("parameter_specs") or {}), work.get("parameters") or {}),
            interval=(_time(interval[0]), _time(interval[1])) if interval else None,
            inputs=_by_name(work.get("inputs") or ()),
            manifest=_manifest(work.get("manifest")),
            quarantine=_manifest(work.get("quarantine")),
            dataset_version=work.get("dataset_version") or 0,
            ask=ask,
            texts=work.get("parameters") or {},
            memory=work["limit"],
            topics=tuple(map(TopicBatch.model_validate, work.get("topics") or ())),
            arrived=tuple(map(ArrivedFiles.model_validate, work.get("files") or ())),
            debug=bool(work.get("debug")),
            streams=tuple(map(StreamState.model_validate, work.get("streams") or ())),
        )

    @property
    def name(self) -> str:
        """Of the attempt: what it writes aside is called so."""
        return f"{self.run_id}.{self.stage.id}.{self.attempt}"

    def handed_on(self, name: str) -> tuple[StageOutput, ...]:
        """What an input is that is a stage. Raises StageError if that has handed on nothing, such as one that was
        skipped."""
        found = self.inputs.get(name, ())
        if not found:
            stage = self.stage.inputs[name].stage
            raise StageError(
                f"inputs.{name}.stage",
                f"{stage} has handed on nothing",
                "let this stage run only after it has completed, or name it in after and not as an input",
            )
        return found

    def objects(self) -> Store:
        """What stages hand on through: the platform's objects."""
        if self.store is not None:
            return self.store
        gateway = find_gateway()
        return RemoteObjects(gateway.address, gateway.key)

    def dataset_rules(self) -> DatasetRules:
        """What the dataset which it writes asks of each version."""
        if self.stage.sink is None:
            return DatasetRules((), ())
        from forgelog.pipelines.io.places import place_of

        sink = self.stage.sink
        name = sink.dataset or sink.id or place_label(place_of(sink, self.context()).base)
        found = self.ask({"ask": "rules", "name": name})
        rules = tuple((DataQualityRule.model_validate(rule), revision) for rule, revision in found["rules"])
        return DatasetRules(rules, tuple(found["required"]))

    def values(self) -> dict[str, Any]:
        """What ``$name`` in SQL means, and a function's arguments may be."""
        start, end = self.interval or (None, None)
        values = {"interval_start": start, "interval_end": end, **self.parameters}
        return values if self.task is None else {**values, "task": self.task, "item": self.item}

    def context(self) -> IoContext:
        """What reading and writing are told."""
        from forgelog.pipelines.io import IoContext

        start, end = self.interval or (None, None)
        return IoContext(
            scratch=self.scratch,
            parameters=self.values(),
            interval_start=start,
            interval_end=end,
            secrets=lambda name: secret_of(self.secrets, name),
            datasets_url=self.worker.datasets_url,
            project=self.project,
            dataset_versions=self._dataset,
            topics={
                (batch.url, batch.topic): {each.partition: (each.start, each.end) for each in batch.ranges}
                for batch in self.topics
            },
            arrived={each.trigger: each.files for each in self.arrived},
        )

    def _dataset(self, name: str, version: int) -> DatasetAt:
        """A published version of a dataset. Raises LookupError."""
        from events.language.pipelines.columns import Column
        from events.language.pipelines.connections import Connection, DataSourceType
        from forgelog.pipelines.io import DatasetAt
        from forgelog.pipelines.quality import quarantine_columns

        found = self.ask({"ask": "dataset", "name": name, "version": version})
        empty = tuple(Column.model_validate(each) for each in found.get("empty") or ())
        return DatasetAt(
            found["dataset_id"],
            found["version"],
            DataSourceType(found["type"]),
            found["base"],
            Connection.model_validate(found.get("connection") or {}),
            found.get("stored") or 0,
            quarantine_columns(empty) if empty else (),
        )


def _by_name(given: Iterable[Message]) -> dict[str, tuple[StageOutput, ...]]:
    found: dict[str, tuple[StageOutput, ...]] = {}
    for each in given:
        found[each["name"]] = (*found.get(each["name"], ()), StageOutput.model_validate(each["output"]))
    return found


def _specs(given: Message) -> dict[str, ParameterSpec]:
    return {name: ParameterSpec.model_validate(spec) for name, spec in given.items()}


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _manifest(given: Any) -> CommitManifest | None:
    return CommitManifest.model_validate(given) if given else None

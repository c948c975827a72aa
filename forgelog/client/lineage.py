"""Lineage through all contexts, through the client: from what was served back to the rows that it was learned from.

Each kind of thing has one question that says what it was made of. `AsyncLineage.trace` asks it of the thing where the
lineage begins, then of what was found, and so on: a request → the revision that answered it → the version of a model →
the run that trained it → the datasets that the run has read → the stages that wrote these → what the stages have read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

from forgelog.client.core import Namespace
from forgelog.client.deployments import AsyncDeployments
from forgelog.client.jobs import AsyncJobs
from forgelog.client.models import AsyncModels
from forgelog.client.pipeline_data import AsyncPipelineData, dataset_id
from forgelog.client.pipeline_runs import AsyncPipelineRuns
from forgelog.client.pipelines import AsyncPipelines
from forgelog.client.plain import Answer
from forgelog.client.runs import AsyncRuns
from forgelog.errors import InvalidInput, NotFound
from forgelog.units import counted

KINDS = ("request", "deployment", "model", "run", "dataset")
"""What a lineage can begin with."""
DEPTH = 30
MOST_NODES = 2_000
"""Nodes that are told."""
_RECENT_RUNS = 200
"""Runs of a pipeline among which that one is looked for in which a run of an experiment was made."""


class Node(NamedTuple):
    """A thing in a lineage. `kind`: one of those of experiments' lineage, or ``request``, ``deployment_revision``,
    ``data_version`` (of a dataset that pipelines make), ``data`` (a place outside, or a dataset of which no version is
    known) and ``stage_run``."""

    kind: str
    id: str


class Source(NamedTuple):
    """What a thing was made of, and how."""

    node: Node
    relation: str


class AsyncLineage(Namespace):
    """Lineage across contexts: of requests, deployments, models, runs and datasets."""

    async def trace(
        self,
        kind: str,
        name: str,
        *,
        request: str = "",
        revision: int = 0,
        depth: int = DEPTH,
        at: datetime | None = None,
    ) -> Answer:
        """What a thing was made of, as far back as is known: `nodes`, the nearest first, and `edges`, each with
        `source`, `relation` and `target`. `cut`: there is more than was asked for.

        `kind`: ``request`` (`name` is the deployment, `request` the request's id), ``deployment`` (its `revision`, else
        the one in place), ``model`` (``name/3`` or ``name@alias``), ``run``, or ``dataset`` (of a pipeline: ``name`` or
        ``name/3``). Raises `NotFound`, `InvalidInput`.
        """
        if kind not in KINDS:
            raise InvalidInput(f"kind: {kind!r} is none of {', '.join(KINDS)}")
        if kind == "request" and not request:
            raise InvalidInput("request: is empty; give its id, which deployments.requests lists")
        if not 0 < depth <= 100:
            raise InvalidInput(f"depth: is {depth}; give 1 to 100")
        trail = _Trail(self._core, at)
        start = await trail.start(kind, name, request, revision)
        return await trail.follow(start, depth)


class _Trail:
    """One walk."""

    def __init__(self, core: Any, at: datetime | None) -> None:
        self._core, self._at = core, at
        self._deployments, self._models, self._runs = AsyncDeployments(core), AsyncModels(core), AsyncRuns(core)
        self._data, self._pipelines = AsyncPipelineData(core), AsyncPipelines(core)
        self._pipeline_runs, self._jobs = AsyncPipelineRuns(core), AsyncJobs(core)
        self._known: dict[Node, list[Source]] = {}
        """What nodes were made of, as far as it was told along with others."""
        self._told: dict[Node, dict[str, Any]] = {}
        """Of nodes: `label`, `detail` and `time`."""

    async def start(self, kind: str, name: str, request: str, revision: int) -> Node:
        """The node that is meant. Raises `NotFound`, `InvalidInput`."""
        match kind:
            case "request":
                found = await self._deployments.requests(name, request=request, at=self._at, limit=1)
                if not found:
                    problem = f"there is no request {request} of deployment {name}"
                    raise NotFound(f"{problem}; records come some seconds after the answer, and are kept for a time")
                answered = found[0]
                said = f"{answered.outcome} {answered.status}, {answered.latency_ms:.1f} ms"
                node = self._note(Node("request", request), request, said, answered.started_at)
                self._known[node] = []
                if answered.revision:
                    self._known[node].append(Source(await self._revision(name, answered.revision), "answered by"))
                return node
            case "deployment":
                if not revision:
                    deployment = await self._deployments.get(name, at=self._at)
                    revision = deployment.revision or deployment.rollout_revision
                return await self._revision(name, revision)
            case "model":
                version = await self._models.version(name, at=self._at)
                return self._note(Node("model_version", version.version_id), f"{version.name}/{version.number}")
            case "run":
                run = await self._runs.get(name, at=self._at)
                return Node("run", run.run_id)
        named, _, number = name.partition("/")
        if number and not number.isdecimal():
            raise InvalidInput(f"name: {name!r} is no version; write for example {named}/3")
        row = await self._data.version(named, int(number or 0), at=self._at)
        return Node("data_version", f"{row.dataset_id}/{row.version}")

    async def follow(self, start: Node, depth: int) -> Answer:
        """The answer."""
        depths, edges, cut = {start: 0}, list[Answer](), False
        near = [start]
        while near:
            further: list[Node] = []
            for node in near:
                sources = await self._sources(node)
                if depths[node] >= depth or len(depths) > MOST_NODES:
                    cut = cut or bool(sources)
                    continue
                for source, relation in dict.fromkeys(sources):
                    edges.append(_edge(source, relation, node))
                    if source not in depths:
                        depths[source] = depths[node] + 1
                        further.append(source)
            near = further
        nodes = [
            Answer(kind=node.kind, id=node.id, depth=at, **(self._told.get(node) or _nothing(node)))
            for node, at in depths.items()
        ]
        return Answer(nodes=nodes, edges=edges, cut=cut)

    async def _sources(self, node: Node) -> list[Source]:
        """What a node was made of."""
        ask: Callable[[Node], Awaitable[list[Source]]] | None = {
            "run": self._of_run,
            "dataset": self._of_dataset,
            "data_version": self._of_data,
            "data": self._of_data,
            "stage_run": self._of_stage,
        }.get(node.kind)
        if node not in self._known and node.kind in _OF_EXPERIMENTS:
            await self._tell_of_experiments(node)
        found = list(self._known.get(node, ()))
        return found + (await ask(node) if ask is not None else [])

    async def _revision(self, name: str, number: int) -> Node:
        row = await self._deployments.revision(name, number, at=self._at)
        node = Node("deployment_revision", f"{row.deployment_id}/{number}")
        self._note(node, f"{name}/{number}", row.status + (f": {row.note}" if row.note else ""), row.created_at)
        self._known[node] = []
        if row.model is not None:
            version = self._note(Node("model_version", row.model.version_id), f"{row.model.name}/{row.model.number}")
            self._known[node].append(Source(version, "serves"))
        return node

    async def _tell_of_experiments(self, node: Node) -> None:
        """What experiments know of a node, and of all that it was made of."""
        self._known[node] = []
        with suppress(NotFound):  # a node that another context names need not be there any more
            found = await self._models.lineage_of(node.kind, node.id, direction="up", depth=100, at=self._at)
            for each in found.nodes:
                self._known.setdefault(Node(each.kind, each.id), [])
                self._note(Node(each.kind, each.id), each.label or each.id)
            for edge in found.edges:
                target = Node(edge.target_kind, edge.target)
                source = Source(Node(edge.source_kind, edge.source), edge.relation)
                self._known.setdefault(target, []).append(source)

    async def _of_run(self, node: Node) -> list[Source]:
        """The stage of a pipeline that has made a run of an experiment, if one has."""
        with suppress(NotFound):
            run = await self._runs.get(node.id, at=self._at)
            said = ", ".join(f"{key} {value:.4g}" for key, value in sorted(run.metrics.items())[:3])
            self._note(node, run.name or node.id, f"{run.status}{': ' if said else ''}{said}", run.started_at)
            if (
                run.job_id
                and run.started_at
                and (stage := await self._stage_at(run.job_id, run.started_at)) is not None
            ):
                return [Source(stage, "made in")]
        return []

    async def _stage_at(self, worker: str, time: datetime) -> Node | None:
        """What a worker of a pipeline did at a time: it does one stage after another."""
        from events.language.pipelines.pipeline import PIPELINE_LABEL

        with suppress(NotFound):
            pipeline = dict((await self._jobs.get(worker, at=self._at)).spec.metadata.labels).get(PIPELINE_LABEL, "")
            runs = await self._pipeline_runs.list(pipeline, at=self._at, limit=_RECENT_RUNS) if pipeline else []
            for run in runs:
                if run.started_at is None or not _amid(time, run.started_at, run.ended_at):
                    continue
                for row in await self._pipeline_runs.stages(pipeline, run.number, at=self._at):
                    began = row.started_at or row.dispatched_at
                    if row.worker == worker and began is not None and _amid(time, began, row.ended_at):
                        return await self._stage_with_inputs(run, row)
        return None

    async def _stage_with_inputs(self, run: Any, row: Any) -> Node:
        """A stage of a run, and what it takes by its description: stages before it, and sources."""
        node = self._stage(run, row)
        if node in self._known:
            return node
        sources = self._known[node] = []
        spec = (await self._pipelines.version(run.pipeline_id, run.pipeline_version, at=self._at)).spec
        stage = next((each for each in spec.stages if each.id == row.stage_id), None)
        rows = {
            each.stage_id: each for each in await self._pipeline_runs.stages(run.pipeline_id, run.number, at=self._at)
        }
        for given in [] if stage is None else stage.inputs.values():
            if given.stage and (before := rows.get(given.stage)) is not None:
                if before.dataset_version:
                    written = Node("data_version", f"{before.dataset_id}/{before.dataset_version}")
                    sources.append(Source(written, "reads"))
                else:
                    sources.append(Source(await self._stage_with_inputs(run, before), "takes"))
            elif (source := given.source) is not None:
                sources.append(Source(self._declared(source), "reads"))
        return node

    def _declared(self, source: Any) -> Node:
        """A source as a pipeline describes it."""
        if source.dataset:
            id = dataset_id(source.dataset, self._core.own_project)
            return Node("data_version", f"{id}/{source.version}") if source.version else Node("data", id)
        place = source.path or ", ".join(source.paths) or source.table or source.topic or source.query
        return self._note(Node("data", place), place, source.type)

    def _stage(self, run: Any, row: Any) -> Node:
        label = f"{run.pipeline_id}/{run.number} {row.stage_id}"
        said = row.status + (
            f", {counted(row.metrics.rows_written, 'row')} written" if row.metrics.rows_written else ""
        )
        return self._note(Node("stage_run", f"{row.run_id}/{row.stage_id}"), label, said, row.ended_at)

    async def _of_dataset(self, node: Node) -> list[Source]:
        """The version of a pipeline's dataset that a run has named as its input: by its name and its number."""
        name, _, digest = node.id.rpartition("@")
        if not digest.isdecimal() or len(digest) > 9:
            return []
        with suppress(NotFound, InvalidInput):  # the name of other data need be none of a pipeline's
            row = await self._data.version(name, int(digest), at=self._at)
            return [Source(Node("data_version", f"{row.dataset_id}/{row.version}"), "is")]
        return []

    async def _of_data(self, node: Node) -> list[Source]:
        """The stage that wrote a version of a dataset, or the jobs outside that write it."""
        id, number = node.id, 0
        if node.kind == "data_version":
            id, _, digits = node.id.rpartition("/")
            number = int(digits)
            await self._tell_of_version(node, id, number)
        found: list[Source] = []
        with suppress(NotFound):  # it is a place that nobody has told the platform of
            told = await self._data.lineage(id, version=number, direction="up", depth=1, at=self._at)
            labels = {each.dataset_id: each.label for each in told.nodes}
            if node not in self._told:
                self._note(node, labels.get(id, id))
            for edge in told.edges:
                source = await self._origin(edge, labels)
                if not edge.run_id:
                    found.append(Source(source, f"computed by {edge.job}"))
                    continue
                stage = Node("stage_run", f"{edge.run_id}/{edge.stage_id}")
                self._known.setdefault(stage, []).append(Source(source, "reads"))
                found.append(Source(stage, "written by"))
            if not told.edges and number:
                row = await self._data.version(id, number, at=self._at)
                found.append(Source(Node("stage_run", f"{row.run_id}/{row.stage_id}"), "written by"))
        return found

    async def _origin(self, edge: Any, labels: dict[str, str]) -> Node:
        if edge.source_version:
            return Node("data_version", f"{edge.source}/{edge.source_version}")
        return self._note(Node("data", edge.source), labels.get(edge.source) or edge.source)

    async def _tell_of_version(self, node: Node, id: str, number: int) -> None:
        with suppress(NotFound):
            row = await self._data.version(id, number, at=self._at)
            files = (await self._data.files(id, number, at=self._at)).manifest.files
            said = f"{counted(row.rows, 'row')} in {counted(len(files), 'file')}"
            said += f", {row.quarantined} set aside" if row.quarantined else ""
            self._note(node, f"{id}/{number}", f"{said}: {row.location}", row.published_at)

    async def _of_stage(self, node: Node) -> list[Source]:
        """What a stage has read is known already; here its run is told of."""
        if node not in self._told:
            run_id, _, stage_id = node.id.rpartition("/")
            with suppress(NotFound):
                pipeline, number = _pipeline_of(run_id)
                run = await self._pipeline_runs.get(pipeline, number, at=self._at)
                rows = await self._pipeline_runs.stages(pipeline, number, at=self._at)
                for row in rows:
                    if row.stage_id == stage_id:
                        self._stage(run, row)
        return []

    def _note(self, node: Node, label: str, detail: str = "", time: datetime | None = None) -> Node:
        if node not in self._told or detail:
            self._told[node] = {"label": label, "detail": detail, "time": time}
        return node


_OF_EXPERIMENTS = frozenset({"model_version", "run", "dataset", "experiment", "job", "checkpoint", "logged_model"})


def _amid(time: datetime, began: datetime, ended: datetime | None) -> bool:
    return began <= time and (ended is None or time <= ended)


def _pipeline_of(run_id: str) -> tuple[str, int]:
    """The pipeline's id, and the run's number: ``sales.7``, or ``sales.7.x2f4q`` in a project of its own."""
    parts = run_id.split(".")
    at = 1 if len(parts) > 1 and parts[1].isdecimal() else len(parts) - 1
    ending = "".join(f".{each}" for each in parts[at + 1 :])
    return parts[0] + ending, int(parts[at]) if parts[at].isdecimal() else 0


def _edge(source: Node, relation: str, target: Node) -> Answer:
    return Answer(
        source_kind=source.kind, source=source.id, relation=relation, target_kind=target.kind, target=target.id
    )


def _nothing(node: Node) -> dict[str, Any]:
    return {"label": node.id, "detail": "", "time": None}

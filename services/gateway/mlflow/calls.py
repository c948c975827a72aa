"""Commands and queries on behalf of one request: in its project, by its principal, each query seeing what was written.

Read your writes: a query waits for what this gateway last published for the project. (A client of MLflow knows no
positions, and may use another connection for each request.)
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, TypeVar

import grpc
import orjson
from google.protobuf.message import Message

from events.language.common import shown
from events.log.envelope import Position
from events.log.ids import id_ending
from events.log.outcomes import Outcome
from events.queries.expressions import Comparison, Name, write
from forgelog_pb.experiments.v1 import logged_models_pb2 as models_pb
from forgelog_pb.experiments.v1 import queries_pb2 as pb
from forgelog_pb.experiments.v1.points_pb2 import PointBatch
from forgelog_pb.query.v1.options_pb2 import ReadOptions
from services.gateway.catalog import Catalog, Method
from services.gateway.commands import DEFAULT_WAIT_SECONDS, Door, Parsed
from services.gateway.errors import DoorError
from services.gateway.forward import Forwarder
from services.gateway.mlflow.asked import Asked
from services.gateway.mlflow.manifests import Manifests
from services.gateway.mlflow.run_ids import inward
from services.gateway.object_bytes import ObjectBytes
from services.gateway.object_uploads import Uploads
from services.gateway.points import PointsDoor
from services.gateway.principal import Principal
from services.gateway.transcode import dumps

MOST_PROJECTS = 10_000
"""Projects whose last writes are remembered; those that wrote longest ago are forgotten first."""

MOST_PLACES = 20_000
"""Runs and logged models whose places are remembered, those that were asked for last."""

PACKAGE = "forgelog.experiments.v1."

M = TypeVar("M", bound=Message)


class Written:
    """The newest position of each partition that was written for a project."""

    def __init__(self) -> None:
        self._projects: OrderedDict[str, dict[tuple[str, int], Position]] = OrderedDict()

    def note(self, project: str, position: Position) -> None:
        places = self._projects.setdefault(project, {})
        self._projects.move_to_end(project)
        place = position.topic, position.partition
        if place not in places or places[place].offset < position.offset:
            places[place] = position
        while len(self._projects) > MOST_PROJECTS:
            self._projects.popitem(last=False)

    def of(self, project: str) -> list[str]:
        return [str(position) for position in self._projects.get(project, {}).values()]


class Places:
    """The project and the experiment of runs and logged models. Neither ever changes."""

    def __init__(self) -> None:
        self._places: OrderedDict[str, tuple[str, str]] = OrderedDict()

    def note(self, id: str, project: str, experiment: str) -> None:
        self._places[id] = project, experiment
        while len(self._places) > MOST_PLACES:
            self._places.popitem(last=False)

    def of(self, id: str) -> tuple[str, str] | None:
        if (place := self._places.get(id)) is not None:
            self._places.move_to_end(id)
        return place


class Backend:
    """What all requests share."""

    def __init__(
        self,
        door: Door,
        forwarder: Forwarder,
        catalog: Catalog,
        points: PointsDoor,
        carrying: ObjectBytes,
        uploads: Uploads,
    ) -> None:
        self.door = door
        self.forwarder = forwarder
        self.catalog = catalog
        self.queries = {each.name: each for each in catalog.methods.values() if each.service.startswith(PACKAGE)}
        """By their names, which no two services of the package share."""
        self.points = points
        self.carrying = carrying
        self.uploads = uploads
        self.manifests = Manifests(carrying)
        self.written = Written()
        self.places = Places()


class Calls:
    """What one request may do."""

    def __init__(self, backend: Backend, principal: Principal, project: str, traceparent: str, metadata: Any) -> None:
        self._backend = backend
        self._principal = principal
        self._traceparent = traceparent
        self._metadata = metadata
        self.project = project
        self.user = principal.name
        self.carrying = backend.carrying
        self.uploads = backend.uploads
        self.manifests = backend.manifests

    async def send(
        self, kind: str, /, *, id: str = "", conclude: bool = False, within: float = 0.0, **fields: Any
    ) -> Outcome:
        """Publish a command of experiments, and wait for its outcome, or its conclusion.

        `id`: the command's own, under which it takes effect once. `within`: seconds after which the outcome is enough
        where a conclusion was asked for. Raises DoorError, also when the command is refused.
        """
        if "LoggedModel" in kind:
            await self._check_own(fields.get("model_id", ""), of_model=True)
        await self._check_own(fields.get("run_id", ""))
        data = dumps(fields)
        envelope = {"type": f"forgelog.experiments.v1.{kind}", "project": self.project, "id": id}
        door = self._backend.door
        checked = await door.checked(
            self._principal, envelope, Parsed(orjson.loads(data), len(data)), self._traceparent, conclude=conclude
        )
        try:
            _, outcome = await door.publish_and_wait(checked, within or DEFAULT_WAIT_SECONDS)
        except DoorError as error:
            if not within or error.code is not grpc.StatusCode.DEADLINE_EXCEEDED:
                raise
            # A repeat under the same id: it changes nothing, and is told the outcome.
            _, outcome = await door.publish_and_wait(replace(checked, conclude=False), DEFAULT_WAIT_SECONDS)
        for record in (*outcome.events, *([outcome.conclusion] if outcome.conclusion else [])):
            self._backend.written.note(self.project, record.position)
        if (refused := outcome.refused) is not None:
            raise DoorError.of(refused)
        return outcome

    async def log(self, batch: PointBatch) -> None:
        """Write points. Raises DoorError or Relayed."""
        await self._check_own(batch.run_id)
        position, _ = await self._backend.points.log(self._principal, batch)
        self._backend.written.note(self.project, position)

    async def ask(self, name: str, answer: type[M], /, **fields: Any) -> M:
        """The answer to a query of the experiments context. Raises DoorError or Relayed."""
        method = self._backend.queries[name]
        options = ReadOptions(at_least=self._backend.written.of(self.project))
        return await self._answer(method, answer, method.request(**fields, options=options))

    async def ask_other(self, path: str, answer: type[M], /, **fields: Any) -> M:
        """The answer to a query of another context, by its gRPC path. Raises DoorError or Relayed."""
        method = self._backend.catalog.by_path(path)
        return await self._answer(method, answer, method.request(**fields))

    async def _answer(self, method: Method, answer: type[M], request: Message) -> M:
        found = await self._backend.forwarder.unary(
            self._principal, method, request.SerializeToString(), self._metadata, None
        )
        return answer.FromString(found)

    async def follow(self, name: str, answer: type[M], seconds: float, /, **fields: Any) -> AsyncGenerator[M]:
        """The answers to a query of the experiments context that goes on, as they come. Raises DoorError, also when
        `seconds` have passed, or Relayed."""
        method = self._backend.queries[name]
        request = method.request(**fields, options=ReadOptions(at_least=self._backend.written.of(self.project)))
        answers = self._backend.forwarder.stream(
            self._principal, method, request.SerializeToString(), self._metadata, seconds
        )
        async with aclosing(answers) as found:
            async for each in found:
                yield answer.FromString(each)

    async def experiment_of(self, id: str, of_model: bool = False) -> str:
        """The experiment of a run, or of a logged model, deleted or not. Raises DoorError if the project has none of
        that id, or Relayed."""
        place = self._backend.places.of(id)
        if place is None:
            place = await self._place(id, of_model)
            if place[1]:  # else it has not been admitted to one
                self._backend.places.note(id, *place)
        if place[0] != self.project:
            raise no_model(id, self.project) if of_model else no_run(id, self.project)
        return place[1]

    @staticmethod
    def check_kept(kind: str, id: str, found: Any) -> None:
        """Raises DoorError for what is purged: to MLflow's clients it is not there, as after `mlflow gc`."""
        if found.HasField("purged_at"):
            at = found.purged_at.ToJsonString()
            raise DoorError(grpc.StatusCode.NOT_FOUND, f"{kind} {id} was purged at {at}; it can't be restored")

    async def _check_own(self, id: str, of_model: bool = False) -> None:
        """Raises DoorError for the id of a run, or of a logged model, of another project; or Relayed. Elsewhere than in
        the default project the id's ending tells; there an id with a dot may be its own too, if a person chose it."""
        ending = id_ending(self.project)
        if id and not id.endswith(ending):
            raise no_model(id, self.project) if of_model else no_run(id, self.project)
        if "." in id and not ending:
            await self.experiment_of(id, of_model)

    async def _place(self, id: str, of_model: bool) -> tuple[str, str]:
        """Project and experiment; empty texts if there is no such run or model."""
        key, lifecycle = "model_id" if of_model else "run_id", pb.LIFECYCLE_ALL
        named = write(Comparison(Name("", key, 0), "=", id, 0))
        if not of_model:
            runs = await self.ask("ListRuns", pb.ListRunsResponse, filter=named, lifecycle=lifecycle)
            return (runs.runs[0].project, runs.runs[0].experiment_id) if runs.runs else ("", "")
        models = await self.ask(
            "SearchLoggedModels", models_pb.SearchLoggedModelsResponse, filter=named, lifecycle=lifecycle
        )
        return (models.models[0].model.project, models.models[0].model.experiment_id) if models.models else ("", "")


def run_id(asked: Asked, calls: Calls) -> str:
    """The run that is meant, as the platform calls it. Older clients have another name for the field. Raises DoorError
    for one of another project."""
    id = inward(asked.text("run_id", "run_uuid", required=True), calls.project)
    if not id.endswith(id_ending(calls.project)):
        raise no_run(id, calls.project)
    return id


def no_model(id: str, project: str) -> DoorError:
    return DoorError(grpc.StatusCode.NOT_FOUND, f"there is no logged model {shown(id)} in project {project}")


def no_run(id: str, project: str) -> DoorError:
    return DoorError(grpc.StatusCode.NOT_FOUND, f"there is no run {shown(id)} in project {project}")

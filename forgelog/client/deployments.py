"""Deployments through the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, cast

from forgelog.client import rollouts
from forgelog.client.bundles import upload_each
from forgelog.client.core import Namespace
from forgelog.client.deployment_ids import deployment_id
from forgelog.client.models import AsyncModels
from forgelog.client.plain import Answer, plain
from forgelog.client.predicting import PREDICT_SECONDS, Prediction
from forgelog.client.predicting import predict as predicted
from forgelog.client.rows import (
    DeploymentRevisionRow,
    DeploymentRow,
    DriftRow,
    InferenceRequestRow,
    ReasonsRow,
    ReplicaRow,
    RoutingRow,
    ServingMetricsRow,
)
from forgelog.client.words import enum_words, several
from forgelog.errors import NotFound, Timeout
from forgelog_pb.deployments.v1 import queries_pb2 as pb
from forgelog_pb.deployments.v1 import queries_pb2_grpc as rpc
from forgelog_pb.deployments.v1 import telemetry_queries_pb2 as tel
from forgelog_pb.deployments.v1 import telemetry_queries_pb2_grpc as tel_rpc
from forgelog_pb.deployments.v1 import types_pb2 as types

CONTEXT = "deployments"

WAIT_SECONDS = 900.0
"""Longest wait for a rollout, if no other is asked for."""


class Deployed(NamedTuple):
    """What was deployed."""

    deployment_id: str
    revision: int
    """The revision that was made of it, or the one that there is already."""


class AsyncDeployments(Namespace):
    """Deployments: `forgelog.deployments.v1.DeploymentQueries`, and the commands on them.

    A `name` is a deployment's name in the client's project, or its id.
    """

    @property
    def _stub(self) -> Any:
        return rpc.DeploymentQueriesStub(self._core.channel)

    @property
    def _telemetry(self) -> Any:
        return tel_rpc.TelemetryQueriesStub(self._core.channel)

    async def create(self, name: str, spec: Mapping[str, Any], *, note: str = "") -> str:
        """Make a deployment; its id. `spec` has the fields of `DeploymentSpec`. Raises `Refused`."""
        body = {"name": name, "spec": dict(spec), "note": note}
        return str((await self._core.publish((f"forgelog.{CONTEXT}.v1.CreateDeployment", body))).subject)

    async def update(
        self, name: str, spec: Mapping[str, Any], *, note: str = "", renew: bool = False, based_on: int = 0
    ) -> Answer:
        """Make it as `spec` says, all of it. `renew`: also where only what an alias means may have changed. `based_on`:
        the newest revision that is known; a newer one refuses it. Raises `Refused`."""
        return await self._send("UpdateDeployment", name, spec=dict(spec), note=note, renew=renew, based_on=based_on)

    async def apply(self, file: str | Path, *, note: str = "") -> list[Deployed]:
        """Create or update the deployments of a manifest (``kind: Deployment``). Raises `ManifestError`, `Refused`."""
        from forgelog.manifest.deployments import DEPLOYMENT
        from forgelog.manifest.kinds import load

        described = load(file, DEPLOYMENT)
        refs = await upload_each(self._core, [each.upload for each in described])
        found: list[Deployed] = []
        for each in described:
            spec = each.spec.model_dump(mode="json")
            if each.upload:
                spec["environment"]["bundle"] = refs[each.upload].model_dump(mode="json")
            found.append(await self.deploy(each.name, spec, note=note))
        return found

    async def deploy(self, name: str, spec: Mapping[str, Any], *, note: str = "") -> Deployed:
        """Create a deployment, or update the one that has the name. Raises `Refused`."""
        try:
            known = await self.get(name)
        except NotFound:
            return Deployed(await self.create(name, spec, note=note), 1)
        newest = int(known.newest_revision)
        if known.status == "terminated":
            return Deployed(await self.create(known.name, spec, note=note), newest + 1)
        renew = await self._means_another(spec, known)
        outcome = await self.update(known.deployment_id, spec, note=note, renew=renew, based_on=newest)
        made = any(str(event["type"]).endswith(".RevisionCreated") for event in outcome.events)
        there = known.rollout_revision or known.revision or newest
        return Deployed(str(known.deployment_id), newest + 1 if made else int(there))

    async def _means_another(self, spec: Mapping[str, Any], known: DeploymentRow) -> bool:
        """Whether an alias or an environment of the spec means another version than the one that is served."""
        choice = spec.get("model")
        if not choice or choice.get("number"):
            return False
        sign = "@" if choice.get("alias") else ":" if choice.get("environment") else ""
        ref = f"{choice['name']}{sign}{choice.get('alias') or choice.get('environment') or ''}"
        try:
            found = await AsyncModels(self._core).version(ref)
        except NotFound:
            return True  # the platform tells of it
        return known.model is None or bool(found.number != known.model["number"])

    async def scale(self, name: str, replicas: int, *, reason: str = "") -> Answer:
        """Change how many replicas there are to be. Raises `Refused`."""
        return await self._send("ScaleDeployment", name, replicas=replicas, reason=reason)

    async def set_scaling(self, name: str, policy: Mapping[str, Any] | None) -> Answer:
        """Let the number of replicas follow the load by a policy (the fields of `AutoScalingPolicy`); None: it stays as
        it is. Raises `Refused`."""
        return await self._send("SetAutoScaling", name, policy=None if policy is None else dict(policy))

    async def set_alerts(
        self, name: str, alerts: Iterable[Mapping[str, Any]], *, channels: Iterable[Mapping[str, Any]] = ()
    ) -> Answer:
        """Have these alerts (the fields of `DeploymentAlert`) and no others, and tell these channels (`AlertChannel`).
        Raises `Refused`."""
        settings = {"alerts": [dict(alert) for alert in alerts], "channels": [dict(each) for each in channels]}
        return await self._send("SetAlerts", name, settings=settings)

    async def terminate(self, name: str, *, reason: str = "") -> Answer:
        """Stop all its replicas; its history stays, its name is free then. Raises `Refused`."""
        return await self._send("TerminateDeployment", name, reason=reason)

    async def set_traffic(
        self, name: str, weights: Mapping[int, int] | None = None, *, rules: Mapping[str, Any] | None = None
    ) -> Answer:
        """Give revisions their shares of requests (revision → basis points of 10000) while a canary is under way, which
        is paused by that. `rules` (`rules` and `shadow`) replace those that there are. Raises `Refused`."""
        shares = [{"revision": revision, "weight": weight} for revision, weight in (weights or {}).items()]
        said = {} if rules is None else {"rules": dict(rules)}
        return await self._send("SetTraffic", name, weights=shares, **said)

    async def pause_rollout(self, name: str, *, reason: str = "") -> Answer:
        """Let the rollout under way take no further step. Raises `Refused`."""
        return await self._send("PauseRollout", name, reason=reason)

    async def resume_rollout(self, name: str) -> Answer:
        """Let it go on. Raises `Refused`."""
        return await self._send("ResumeRollout", name)

    async def promote_rollout(self, name: str, *, whole: bool = False) -> Answer:
        """Take its next step now; with `whole` all steps of a canary that are left. Raises `Refused`."""
        return await self._send("PromoteRollout", name, whole=whole)

    async def undo_rollout(self, name: str, *, to_revision: int = 0, reason: str = "") -> Answer:
        """Roll the rollout under way back, or roll an earlier revision out again. Raises `Refused`."""
        return await self._send("UndoRollout", name, to_revision=to_revision, reason=reason)

    async def get(self, name: str, *, at: datetime | None = None) -> DeploymentRow:
        """A deployment. Raises `NotFound`."""
        request = pb.GetDeploymentRequest(**self._about(name, at))
        answer = await self._core.ask(self._stub.GetDeployment, request, f"deployment {name}")
        return cast("DeploymentRow", plain(answer.deployment))

    async def revision(self, name: str, revision: int, *, at: datetime | None = None) -> DeploymentRevisionRow:
        """One of its revisions. Raises `NotFound`."""
        request = pb.GetRevisionRequest(revision=revision, **self._about(name, at))
        answer = await self._core.ask(self._stub.GetRevision, request, f"revision {name}/{revision}")
        return cast("DeploymentRevisionRow", plain(answer.revision))

    async def revisions(
        self, name: str, *, status: Iterable[str] = (), at: datetime | None = None, limit: int | None = None
    ) -> list[DeploymentRevisionRow]:
        """Its revisions, newest first. Raises `NotFound`."""
        request = pb.ListRevisionsRequest(
            deployment_id=self._id(name),
            statuses=enum_words(types.RevisionStatus.DESCRIPTOR, status, "status"),
            options=self._core.options(CONTEXT, at),
        )
        return await self._core.pages(self._stub.ListRevisions, request, "revisions", "revisions", limit)

    async def replicas(
        self,
        name: str,
        *,
        revision: int = 0,
        status: Iterable[str] = (),
        at: datetime | None = None,
        limit: int | None = None,
    ) -> list[ReplicaRow]:
        """Its replicas, by number; those that have ended too. Raises `NotFound`."""
        request = pb.ListReplicasRequest(
            deployment_id=self._id(name),
            revision=revision,
            statuses=enum_words(types.ReplicaStatus.DESCRIPTOR, status, "status"),
            options=self._core.options(CONTEXT, at),
        )
        return await self._core.pages(self._stub.ListReplicas, request, "replicas", "replicas", limit)

    async def requests(
        self,
        name: str,
        *,
        outcome: Iterable[str] = (),
        error: Iterable[str] = (),
        revision: Iterable[int] = (),
        endpoint: str = "",
        replica: str = "",
        request: str = "",
        batch: str = "",
        trace: str = "",
        slower_than: float = 0.0,
        since: datetime | None = None,
        until: datetime | None = None,
        at: datetime | None = None,
        limit: int | None = None,
    ) -> list[InferenceRequestRow]:
        """Requests to it, newest first. `error`: words of `InferenceErrorType`. `slower_than`: ms. `since` and
        `until`: when they began. Raises `NotFound`."""
        asked = tel.ListInferenceRequestsRequest(
            outcomes=enum_words(types.InferenceOutcome.DESCRIPTOR, outcome, "outcome"),
            error_types=enum_words(types.InferenceErrorType.DESCRIPTOR, error, "error"),
            revisions=revision,
            endpoint=endpoint,
            replica_id=replica,
            request_id=request,
            batch_id=batch,
            trace_id=trace,
            least_latency_ms=slower_than,
            since=since,
            until=until,
            **self._about(name, at),
        )
        method = self._telemetry.ListInferenceRequests
        return await self._core.pages(method, asked, "requests", f"requests of {name}", limit)

    async def metrics(
        self,
        name: str,
        *,
        window: int = 60,
        revision: Iterable[int] = (),
        by_revision: bool = False,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[ServingMetricsRow]:
        """Counts, latencies, use and costs by windows of so many seconds (whole minutes), newest first. `since`: left
        out, the last hour, or 60 windows if that is longer. Raises `NotFound`."""
        asked = tel.GetServingMetricsRequest(
            revisions=revision,
            by_revision=by_revision,
            window_seconds=window,
            since=since,
            until=until,
            **self._about(name, None),
        )
        answer = await self._core.ask(self._telemetry.GetServingMetrics, asked, f"metrics of {name}")
        return [cast("ServingMetricsRow", plain(each)) for each in answer.metrics]

    async def drift(
        self,
        name: str,
        *,
        revision: int = 0,
        since: datetime | None = None,
        until: datetime | None = None,
        at: datetime | None = None,
    ) -> DriftRow:
        """How far what its model was asked is from what it was trained on, by `columns`. `revision`: left out, the one
        in place. `since`: left out, an hour before `until`. Raises `NotFound`."""
        asked = tel.GetDriftRequest(revision=revision, since=since, until=until, **self._about(name, at))
        answer = await self._core.ask(self._telemetry.GetDrift, asked, f"drift of {name}")
        return cast("DriftRow", plain(answer.drift))

    async def routing(self, name: str, *, at: datetime | None = None) -> RoutingRow:
        """What routers do for it. Raises `NotFound`."""
        request = pb.GetRoutingRequest(**self._about(name, at))
        answer = await self._core.ask(self._stub.GetRouting, request, f"routing of {name}")
        return cast("RoutingRow", plain(answer.routing))

    async def why(self, name: str, *, at: datetime | None = None) -> ReasonsRow:
        """Why it has as many replicas as it has, why its last rollout went as it did, and which alerts fire: the last
        decisions with all numbers that they were made on, and in words. Raises `NotFound`."""
        request = pb.GetReasonsRequest(**self._about(name, at))
        answer = await self._core.ask(self._stub.GetReasons, request, f"deployment {name}")
        return cast("ReasonsRow", plain(answer.reasons))

    async def predict(
        self,
        name: str,
        inputs: Mapping[str, Any],
        *,
        outputs: Iterable[str] = (),
        parameters: Mapping[str, Any] | None = None,
        router: str | None = None,
        key: str | None = None,
        timeout: float = PREDICT_SECONDS,
    ) -> Prediction:
        """Ask a deployment, through a router, by the Open Inference Protocol v2.

        `inputs`: name → lists of lists, or an array of NumPy; a single row is taken for one. Or a request of the
        protocol, as it is sent. `outputs`: those that are wanted; all if left out. `router`: its URL; left out, that of
        ``FORGELOG_ROUTER``, else the platform's. `key`: of the endpoint; left out, that of ``FORGELOG_ENDPOINT_KEY``,
        else of the file that ``FORGELOG_ENDPOINT_KEY_FILE`` names. `timeout` is in seconds.

        Raises `InvalidInput`, `NotFound`, `Refused` (``unauthenticated`` without a good key, ``permission_denied`` with
        one that is revoked or for another endpoint, ``invalid_argument`` for inputs that the model does not take),
        `Busy` where a limit of requests is reached, `Unavailable` without a ready replica, `Timeout`.
        """
        return await predicted(
            name,
            inputs,
            project=self._core.own_project,
            outputs=several(outputs),
            parameters=parameters,
            router=router,
            key=key,
            timeout=timeout,
        )

    async def watch(self, names: Iterable[str] = (), *, project: str = "") -> AsyncIterator[DeploymentRow]:
        """Deployments as they are now, and each again whenever it has changed. Has no end."""
        asked: Any = {"deployment_ids": [self._id(name) for name in several(names)], "project": project}

        def request() -> Any:
            return pb.WatchDeploymentsRequest(**asked, options=self._core.options(CONTEXT, None))

        async for answer in self._core.connection.resumed(self._stub.WatchDeployments, request, what="watch"):
            yield cast("DeploymentRow", plain(answer.deployment))

    async def wait(self, name: str, *, revision: int = 0, timeout: float = WAIT_SECONDS) -> DeploymentRow:
        """Wait until a revision, the newest one without any, is in place and runs, or will not be; a canary until it
        gets its first requests. The deployment as it is then. Raises `NotFound`, `Timeout`."""
        wanted = revision or (await self.get(name)).newest_revision
        try:
            async with asyncio.timeout(timeout):
                async for row in self.watch([name]):
                    if settled := await self._settled(row, wanted):
                        return settled
        except TimeoutError:
            raise Timeout(f"revision {wanted} of {name} is still on its way after {timeout:g} seconds") from None
        raise AssertionError("a watch has no end")

    async def _settled(self, row: DeploymentRow, wanted: int) -> DeploymentRow | None:
        if rollouts.runs_or_cannot(row, wanted):
            return row
        if rollouts.is_part(row, wanted):
            called = rollouts.is_called_as_canary(row, wanted)
            ready = called and await self.replicas(row.deployment_id, revision=wanted, status=["ready"], limit=1)
            return row if ready else None
        if (await self.revision(row.deployment_id, wanted)).status not in ("rejected", "rolled_back", "retired"):
            return None
        row = await self.get(row.deployment_id)  # what was watched may be older than the revision's end
        return row if rollouts.says_its_end(row, wanted) else None

    def _id(self, name: str) -> str:
        return deployment_id(name, self._core.own_project)

    def _about(self, name: str, at: datetime | None) -> dict[str, Any]:
        return {"deployment_id": self._id(name), "options": self._core.options(CONTEXT, at)}

    async def _send(self, command: str, name: str, **fields: Any) -> Answer:
        body = {"deployment_id": self._id(name), **fields}
        return await self._core.publish((f"forgelog.{CONTEXT}.v1.{command}", body))

    # The last, for annotations below it would take its name for the builtin's.
    async def list(
        self,
        *,
        project: str = "",
        status: Iterable[str] = (),
        name: str = "",
        owner: str = "",
        model: str = "",
        labels: Mapping[str, str] | None = None,
        tag: str = "",
        at: datetime | None = None,
        limit: int | None = None,
    ) -> list[DeploymentRow]:
        """Deployments, newest first; terminated ones if `status` says so."""
        request = pb.ListDeploymentsRequest(
            project=project,
            statuses=enum_words(types.DeploymentStatus.DESCRIPTOR, status, "status"),
            name=name,
            owner=owner,
            model=model,
            labels=dict(labels or {}),
            tag=tag,
            options=self._core.options(CONTEXT, at),
        )
        return await self._core.pages(self._stub.ListDeployments, request, CONTEXT, CONTEXT, limit)

"""Keys of deployments' endpoints, through the client."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from forgelog.client.core import Namespace
from forgelog.client.deployment_ids import deployment_id
from forgelog.client.plain import Answer, plain
from forgelog.client.rows import EndpointKeyRow
from forgelog.client.words import several
from forgelog_pb.deployments.v1 import key_queries_pb2 as pb
from forgelog_pb.deployments.v1 import key_queries_pb2_grpc as rpc

CONTEXT = "deployments"


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key, and the token that is its secret part. Nothing gives the token once more."""

    key: EndpointKeyRow
    token: str = field(repr=False)


class AsyncEndpointKeys(Namespace):
    """Keys of deployments' endpoints: `forgelog.deployments.v1.KeyQueries`, and the commands on them.

    A `deployment` is its name in the client's project, or its id.
    """

    @property
    def _stub(self) -> Any:
        return rpc.KeyQueriesStub(self._core.channel)

    async def issue(
        self, deployment: str, name: str, *, ttl_seconds: int | None = None, endpoints: Iterable[str] = ()
    ) -> IssuedKey:
        """Make a key and get its token, which opens the deployment's endpoints until it expires or is revoked.

        `name`: whom or what it is for. `ttl_seconds`: from 60 on, at most 366 days; 30 days if left out. `endpoints`:
        names of those that it opens; all if left out. Raises `Refused`.
        """
        from events.log.ids import derived_id

        ttl = {} if ttl_seconds is None else {"ttl_seconds": ttl_seconds}
        outcome = await self._send("IssueEndpointKey", deployment, name=name, endpoints=several(endpoints), **ttl)
        request = pb.SignEndpointKeyRequest(
            deployment_id=outcome.subject,
            key_id=derived_id("key-", f"{outcome.subject}/{outcome.id}"),  # as the deployment derives it
            options=self._core.options(CONTEXT, None),
        )
        answer = await self._core.ask(self._stub.SignEndpointKey, request, f"the token of key {request.key_id}")
        return IssuedKey(cast("EndpointKeyRow", plain(answer.key)), answer.token)

    async def revoke(self, deployment: str, key_id: str, *, reason: str = "") -> Answer:
        """Let a key open nothing any more. Routers know of it at once. Raises `Refused`."""
        return await self._send("RevokeEndpointKey", deployment, key_id=key_id, reason=reason)

    def _id(self, deployment: str) -> str:
        return deployment_id(deployment, self._core.own_project)

    async def _send(self, command: str, deployment: str, **fields: Any) -> Answer:
        body = {"deployment_id": self._id(deployment), **fields}
        return await self._core.publish((f"forgelog.{CONTEXT}.v1.{command}", body))

    # The last, for annotations below it would take its name for the builtin's.
    async def list(
        self,
        deployment: str = "",
        *,
        project: str = "",
        name: str = "",
        issued_by: str = "",
        ended: bool = False,
        at: datetime | None = None,
        limit: int | None = None,
    ) -> list[EndpointKeyRow]:
        """Keys, newest first: of a deployment, or of all. `name`: a part of it. `ended`: those that are revoked or have
        expired, too. Raises `NotFound`."""
        request = pb.ListEndpointKeysRequest(
            deployment_id=self._id(deployment) if deployment else "",
            project=project,
            name=name,
            issued_by=issued_by,
            ended=ended,
            options=self._core.options(CONTEXT, at),
        )
        return await self._core.pages(self._stub.ListEndpointKeys, request, "keys", CONTEXT, limit)

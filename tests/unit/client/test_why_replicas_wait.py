"""Given replicas that are not ready, then `forgelog why` says what each one waits for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from forgelog.cli.scaling import reasons
from forgelog.client.aio import AsyncClient
from forgelog.errors import NotFound


def replica(number: int, status: str, reason: str = "") -> Any:
    return SimpleNamespace(replica=number, status=status, reason=reason, job_id=f"dep.app.1.{number}")


class Asked:
    """Answers as a platform does that has these replicas, and one job in its queue."""

    def __init__(self, *replicas: Any) -> None:
        self._replicas = replicas
        self.deployments = SimpleNamespace(why=self.why_deployment, replicas=self.replicas)
        self.jobs = SimpleNamespace(why=self.why_job)

    async def why_deployment(self, name: str, *, at: Any) -> dict[str, Any]:
        return {"deployment_id": name}

    async def replicas(self, name: str, *, status: Any, at: Any, limit: int) -> list[Any]:
        return [each for each in self._replicas if each.status in status]

    async def why_job(self, job: str, *, at: Any) -> Any:
        if job != "dep.app.1.1":
            raise NotFound(job)
        return SimpleNamespace(message="1 task waits: 1 node is too small: cpus")


async def test_each_says_what_is_known_of_it() -> None:
    client = Asked(
        replica(1, "requested"),
        replica(2, "requested"),
        replica(3, "started"),
        replica(4, "unready", "GET /ready: 503"),
        replica(5, "ready"),
        replica(6, "ended", "its replica is released"),
    )
    found = await reasons(cast(AsyncClient, client), "app", None)
    assert found["deployment_id"] == "app"
    assert [(each["replica"], each["why"]) for each in found["waiting"]] == [
        (1, "1 task waits: 1 node is too small: cpus"),
        (2, "its job is on its way"),
        (3, "it runs and says not that it is ready; 'forgelog logs dep.app.1.3' shows its output"),
        (4, "GET /ready: 503"),
    ]

"""A replica finds the key of its own deployment in its environment, and no other job finds any."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from events.language.common import DEFAULT_PROJECT
from events.language.jobs.spec import JobEnvironment, JobLaunch, JobResources
from events.language.resources import AllocationBound
from events.process.replica_keys import VARIABLE, replica_key
from events.process.settings import SettingsError
from services.resources.agent.attempts import Attempt, Task
from services.resources.agent.environment import COLLECTOR, Around

SECRET = b"what all keys follow from"


def told(folder: Path, job_id: str, key: Callable[[], bytes], project: str = DEFAULT_PROJECT) -> dict[str, Any]:
    """What the warden of a job is told, whose author says which deployment it is of."""
    around = Around("n1", folder, folder / "secrets", "", {COLLECTOR: "http://collector:4317"}, replicas_key=key)
    environment = JobEnvironment(variables={"FORGELOG_DEPLOYMENT": "digits"})
    launch = JobLaunch(name="a", command="sh", environment=environment, array_size=1, grace_seconds=1)
    bound = AllocationBound(
        pool="default", project=project, allocation_id="x", job_id=job_id, node_id="n1", tasks="0", attempt=1,
        resources=JobResources(), launch=launch,
    )  # fmt: skip
    return around.spec(Attempt(Task("x", job_id, 0, 1, project, "boot", 1.0, 1), bound=bound))


def test_a_replica_is_told_its_deployments_key(tmp_path: Path) -> None:
    found = told(tmp_path, "dep.letters.2.7", lambda: SECRET)
    assert found["env"][VARIABLE] == replica_key(SECRET, "letters")
    assert found["refused"] == ""
    assert replica_key(SECRET, "letters") not in str({**found, "env": {}})


def test_another_job_is_told_none_whatever_it_says_of_itself(tmp_path: Path) -> None:
    assert VARIABLE not in told(tmp_path, "digits.2.7", lambda: SECRET)["env"]


def test_replicas_alone_are_told_where_traces_go(tmp_path: Path) -> None:
    assert told(tmp_path, "dep.letters.2.7", lambda: SECRET)["env"][COLLECTOR] == "http://collector:4317"
    assert COLLECTOR not in told(tmp_path, "digits.2.7", lambda: SECRET)["env"]


def test_a_replica_does_not_start_without_a_key(tmp_path: Path) -> None:
    def unreadable() -> bytes:
        raise SettingsError("/keys/replicas.key can be read by other users")

    found = told(tmp_path, "dep.letters.2.7", unreadable)
    why = "node n1 can't tell its replicas of routers: /keys/replicas.key can be read by other users"
    assert found["refused"] == why

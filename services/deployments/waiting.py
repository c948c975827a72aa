"""Why replicas are not ready, as far as that is known, for reasons that people read. Pure."""

from __future__ import annotations

from events.language.deployments.enums import ReplicaStatus
from services.deployments.state import Deployment


def cause(state: Deployment, revision: int | None = None) -> str:
    """Why one of them is not ready: what is known of it, else where to look. Empty if each is ready. `revision`: only
    its replicas count."""
    waiting = [(number, each) for number, each in state.live(revision) if each.status is not ReplicaStatus.READY]
    for number, replica in waiting:
        if replica.problem:
            return f"replica {number}: {replica.problem}"
    for number, replica in waiting:
        if replica.status is ReplicaStatus.REQUESTED:
            return f"replica {number} has no process; 'forgelog why {replica.job_id}' says what it waits for"
        return f"replica {number} runs and says not that it is ready; 'forgelog logs {replica.job_id}' shows its output"
    return ""

"""How far a revision is, by the row of its deployment. Pure."""

from __future__ import annotations

from forgelog.client.rows import DeploymentRow

_WHOLE = 10_000


def runs_or_cannot(row: DeploymentRow, revision: int) -> bool:
    """Whether the deployment is over, or runs or failed with this revision in it."""
    if row.status in ("terminating", "terminated"):
        return True
    if not is_part(row, revision):
        return False
    return row.status == "running" or (row.status == "failed" and not row.rollout_revision)


def is_part(row: DeploymentRow, revision: int) -> bool:
    """Whether the deployment has this revision now, in place or on its way."""
    return revision in (row.revision, row.rollout_revision)


def is_called_as_canary(row: DeploymentRow, revision: int) -> bool:
    """Whether a part of the requests goes to this revision, on trial."""
    on_trial = row.rollout_revision == revision and row.rollout_strategy == "canary"
    return on_trial and 0 < row.rollout_weight < _WHOLE


def says_its_end(row: DeploymentRow, revision: int) -> bool:
    """Whether this row can be of after the end of a revision that never came into place: without any that is, the
    deployment has failed, or waits for a newer one."""
    return bool(row.revision) or row.status == "failed" or row.newest_revision > revision

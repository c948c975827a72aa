"""What follows from the failure of an attempt: another one, or the end of the stage. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from blake3 import blake3

from events.language.base import Event
from events.language.pipelines.enums import RetryOn, SkipReason
from events.language.pipelines.quality import RuleOutcome
from events.language.pipelines.run_events import StageFailed, StageRetrying, StageSkipped
from events.language.pipelines.stages import StageRetry
from events.language.pipelines.work import FailureKind, StageFailure, StageMetrics
from services.pipelines.pipeline.state import Pipeline, Run

FREE_LOSSES = 2
"""Losses of its worker, and other ends of its attempts, that are no fault of a stage."""
MOST_LOSSES = 5
"""Workers that a stage's tasks may cost."""
EXCUSED_SECONDS = 1.0
"""Before another attempt of a stage that was in no fault: what it did not know is in the tables then."""
PUBLISHING_RETRIES = 10
"""Retries of putting a version into its place: it is committed, so it has to get there."""

_RETRIED = {
    FailureKind.ERROR: RetryOn.ERROR,
    FailureKind.MEMORY: RetryOn.ERROR,
    FailureKind.CRASH: RetryOn.ERROR,
    FailureKind.COMMIT: RetryOn.ERROR,
    FailureKind.TIMEOUT: RetryOn.TIMEOUT,
    FailureKind.LOST: RetryOn.LOST,
}
"""What else fails would fail again."""


def failed(
    state: Pipeline,
    run: Run,
    names: dict[str, Any],
    failure: StageFailure,
    now: datetime,
    *,
    worker: str = "",
    metrics: StageMetrics | None = None,
    outcomes: Sequence[RuleOutcome] = (),
    retried: bool = True,
    excused: bool = False,
) -> Event:
    """What follows. `names`: run_id, pipeline_id and stage_id. `retried`: whether another attempt can help. `excused`:
    whether it is no fault of the stage, so that another attempt is free as after a loss."""
    stage_id = names["stage_id"]
    stage, spec = run.stages[stage_id], state.graph(run.version).stages[stage_id]
    metrics = metrics or stage.metrics
    about = {**names, "attempt": max(1, stage.attempt), "worker": worker}
    kind = _RETRIED.get(failure.kind) if retried else None
    retry = spec.retry
    if stage.dataset_version and kind is not None:
        kind, retry = RetryOn.ERROR, StageRetry(max=PUBLISHING_RETRIES)
    if kind is not None and (excused or not retry.on or kind in retry.on):
        free = (excused or kind is RetryOn.LOST) and stage.losses < FREE_LOSSES
        if free or stage.retries < retry.max:
            wait = pause(retry, stage.retries, f"{names['run_id']}.{stage_id}.{stage.attempt}")
            if free:
                wait = EXCUSED_SECONDS if excused else 0.0
            return StageRetrying(
                **about,
                failure=failure,
                retry_at=now + timedelta(seconds=wait),
                counted=not free,
                metrics=metrics,
                outcomes=tuple(outcomes),
            )
    if spec.skip_on_failure:
        reason = failure.problem[:1_000]
        return StageSkipped(**names, reason=SkipReason.FAILURE, message=reason, failure=failure, metrics=metrics)
    return StageFailed(**about, failure=failure, metrics=metrics, outcomes=tuple(outcomes))


def pause(retry: StageRetry, retries: int, attempt: str) -> float:
    """Seconds before the next attempt, after so many retries. The jitter follows from the attempt's name."""
    wait = min(retry.max_backoff_seconds, retry.backoff_seconds * retry.factor ** min(retries, 64))
    share = int.from_bytes(blake3(attempt.encode()).digest(4)) / (1 << 32)
    return wait * (1 + retry.jitter * share)

"""Which output becomes a dataset's next version. Pure.

1. At most one version of each run of a stage: a request of an attempt that is not the newest one, or of a stage that
   has its version, is refused as stale.
2. While a version is committed and not published, further requests wait. A newer attempt takes the place of an older
   one of the same stage.
3. Then the rules must be those that the dataset has, none of them may stop the stage, and the schema must keep the
   contract. The next number is the version's.
4. What its run withdraws waits no more, and others do not wait for it: nobody has begun to publish it.
"""

from __future__ import annotations

from collections.abc import Sequence

from events.language.pipelines.commits import CommitRequest
from events.language.pipelines.contracts import SchemaChangeKind
from events.language.pipelines.dataset_messages import (
    CommitHeld,
    CommitRefusal,
    CommitRefused,
    DatasetEvent,
    QualityEvaluated,
    SchemaChanged,
    SubscriberNotified,
    VersionAbandoned,
    VersionCommitted,
    VersionPublished,
    VolumeAnomaly,
)
from events.language.pipelines.run_events import CommitWithdrawn, StagePublished
from services.pipelines.dataset.schemas import breaking, changes, told
from services.pipelines.dataset.state import MAX_HELD, Dataset, stage_key
from services.pipelines.dataset.volume import anomaly

_MOST_TOLD = 3


def unnamed(request: CommitRequest, reason: str) -> DatasetEvent:
    """The answer to a request for a dataset that can't be."""
    return _refused(request, CommitRefusal.DATASET, reason)


def asked(state: Dataset, request: CommitRequest) -> Sequence[DatasetEvent]:
    """What a request leads to at once."""
    known = state.stages.get(stage_key(request.run_id, request.stage_id))
    if known is not None and known.version:
        has = f"the stage has version {known.version} already"
        return [_refused(request, CommitRefusal.STALE, has, version=known.version)]
    if known is not None and request.attempt < known.attempt:
        newer = f"attempt {known.attempt} of the stage has asked since"
        return [_refused(request, CommitRefusal.STALE, newer)]
    older = [each for each in state.held if _same_stage(each, request)]
    gone = [_refused(each, CommitRefusal.STALE, f"attempt {request.attempt} of the stage asks") for each in older]
    if state.pending is None and len(state.held) == len(older):
        return [*gone, *judged(state, request)]
    if len(state.held) - len(older) >= MAX_HELD:
        many = f"{MAX_HELD} wait already for version {state.committed}, which is not published"
        return [*gone, _refused(request, CommitRefusal.BUSY, many)]
    return [*gone, CommitHeld(request=request, **_of(request))]


def next_held(state: Dataset) -> Sequence[DatasetEvent]:
    """What becomes of the first that waits, once it need not."""
    return judged(state, state.held[0]) if state.pending is None and state.held else ()


def judged(state: Dataset, request: CommitRequest) -> Sequence[DatasetEvent]:
    """The one decision: this output is the next version, or it is not."""
    refusal = _stopped(request) or _of_other_rules(state, request) or _against_contract(state, request)
    number = 0 if refusal else state.committed + 1
    evaluated = [] if not request.outcomes else [_evaluated(request, number)]
    if refusal is not None:
        return [*evaluated, refusal]
    return [VersionCommitted(dataset_version=number, request=request, **_of(request)), *evaluated]


def published(state: Dataset, event: StagePublished) -> Sequence[DatasetEvent]:
    """What the publication of a version leads to. A run that is retried may publish one that is not pending any more:
    it is told what became of that, and nobody else is."""
    request, number, location = state.pending, event.dataset_version, event.location
    if request is None or number != state.committed:
        return _decided_before(state, event)
    if event.superseded:
        newer = (
            f"a newer version than {number} lies at {location}, which this dataset has not made: nothing was changed"
        )
        remedy = "something else writes there; give the sink a place of its own"
        return [VersionAbandoned(dataset_version=number, reason=f"{newer}. {remedy}"[:1_000], **_of(request))]
    id = request.dataset_id
    found: list[DatasetEvent] = [VersionPublished(dataset_version=number, location=location, **_of(request))]
    columns = request.manifest.columns
    if differing := changes(state.columns, columns):
        schema = state.schema_version + 1
        found.append(
            SchemaChanged(
                dataset_id=id, dataset_version=number, schema_version=schema, columns=columns, changes=differing
            )
        )
    policy, rows = state.contract.volume, request.manifest.rows
    if policy.enabled and (odd := anomaly(rows, state.counts, policy)) is not None:
        found.append(VolumeAnomaly(dataset_id=id, dataset_version=number, rows=rows, **odd._asdict()))
    told = (SubscriberNotified(dataset_id=id, pipeline_id=each, dataset_version=number) for each in state.subscribers)
    return [*found, *told]


def withdrawn(state: Dataset, event: CommitWithdrawn) -> Sequence[DatasetEvent]:
    """A stage is stopped, and nobody was told to publish its output: whether that waits, or is a version already."""
    mine = (event.run_id, event.stage_id)
    why = "its run was stopped"
    waiting = [each for each in state.held if (each.run_id, each.stage_id) == mine]
    found: list[DatasetEvent] = [_refused(each, CommitRefusal.WITHDRAWN, why) for each in waiting]
    if state.pending is not None and (state.pending.run_id, state.pending.stage_id) == mine:
        found.append(VersionAbandoned(dataset_version=state.committed, reason=why, **_of(state.pending)))
    return found


def _decided_before(state: Dataset, event: StagePublished) -> Sequence[DatasetEvent]:
    known, number = state.stages.get(stage_key(event.run_id, event.stage_id)), event.dataset_version
    if known is None or number > state.committed:
        return ()
    about = {"dataset_version": number, **_of(event)}
    if known.version == number:
        return [VersionPublished(location=event.location, **about)]
    if any(each.version == number for each in state.stages.values()):
        return ()  # it is another stage's
    return [VersionAbandoned(reason="it was abandoned before", **about)]


def _stopped(request: CommitRequest) -> CommitRefused | None:
    stopping = next((outcome for outcome in request.outcomes if outcome.stops), None)
    if stopping is None:
        return None
    what = f"rule {stopping.rule_id} is breached: {stopping.failed} of {stopping.rows} rows fail"
    return _refused(request, CommitRefusal.QUALITY, what)


def _of_other_rules(state: Dataset, request: CommitRequest) -> CommitRefused | None:
    evaluated = {(outcome.rule_id, outcome.revision) for outcome in request.outcomes}
    for id, rule in state.rules.items():
        if rule.rule.enabled and (id, rule.revision) not in evaluated:
            reason = f"the dataset's rule {id} has changed, or is new, since the attempt evaluated its rules"
            return _refused(request, CommitRefusal.RULES, reason)
    return None


def _against_contract(state: Dataset, request: CommitRequest) -> CommitRefused | None:
    contract = state.contract
    wanted = contract.columns or state.columns
    broken = breaking(contract.mode, changes(wanted, request.manifest.columns)) if wanted else ()
    if not broken:
        return None
    if all(change.kind is SchemaChangeKind.NULLABLE for change in broken):
        # whoever knows the contract counts missing values before it asks
        reason = f"the contract has changed since the attempt looked at it: column {broken[0].column!r} is not nullable"
        return _refused(request, CommitRefusal.RULES, reason, changes=broken[:100])
    more = f", and {len(broken) - _MOST_TOLD} more" if len(broken) > _MOST_TOLD else ""
    what = "; ".join(map(told, broken[:_MOST_TOLD])) + more
    reason = f"the schema breaks the contract ({contract.mode}): {what}"
    return _refused(request, CommitRefusal.CONTRACT, reason, changes=broken[:100])


def _evaluated(request: CommitRequest, version: int) -> QualityEvaluated:
    return QualityEvaluated(dataset_version=version, outcomes=request.outcomes, **_of(request))


def _refused(
    request: CommitRequest,
    cause: CommitRefusal,
    reason: str,
    *,
    version: int = 0,
    changes: Sequence[object] = (),
) -> CommitRefused:
    return CommitRefused(
        cause=cause, reason=reason[:1_000], dataset_version=version, changes=tuple(changes), **_of(request)
    )


def _of(request: CommitRequest | StagePublished) -> dict[str, object]:
    names = ("dataset_id", "pipeline_id", "run_id", "stage_id", "attempt")
    return {name: getattr(request, name) for name in names}


def _same_stage(one: CommitRequest, other: CommitRequest) -> bool:
    return (one.run_id, one.stage_id) == (other.run_id, other.stage_id)

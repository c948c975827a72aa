"""Which outputs become versions of a dataset, and what follows when they are published."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from events.language.base import Event
from events.language.common import Refused
from events.language.pipelines.columns import Column
from events.language.pipelines.contracts import (
    ContractMode,
    DatasetContract,
    FreshnessPolicy,
    SchemaChangeKind,
    VolumePolicy,
)
from events.language.pipelines.dataset_messages import (
    AbandonVersion,
    CommitHeld,
    CommitRefusal,
    CommitRefused,
    DatasetDefined,
    DatasetStale,
    DefineQualityRule,
    LineageRecorded,
    QualityEvaluated,
    QualityRuleDefined,
    RecordLineage,
    SchemaChanged,
    SetContract,
    SubscriberAdded,
    SubscriberNotified,
    SubscriberRemoved,
    VersionAbandoned,
    VersionCommitted,
    VersionPublished,
    VolumeAnomaly,
)
from events.language.pipelines.lineage import LineageInput
from tests.unit.pipelines.dataset.desk import COLUMNS, ID, Desk, outcome, request, rule


@pytest.fixture
def desk() -> Desk:
    return Desk()


def kinds(events: list[Event]) -> list[type]:
    return [type(event) for event in events]


def refusal(events: list[Event]) -> CommitRefused:
    (found,) = (event for event in events if isinstance(event, CommitRefused))
    return found


def test_an_output_is_committed_and_then_published(desk: Desk) -> None:
    assert kinds(desk.asked(request())) == [DatasetDefined, VersionCommitted]
    assert kinds(desk.published(1)) == [VersionPublished, SchemaChanged]
    assert [getattr(event, "dataset_version", 0) for event in desk.asked(request(run=2))] == [2]
    assert kinds(desk.published(2)) == [VersionPublished]
    assert desk.published(2) == [], "a second report of the same publication says nothing"


def test_a_stage_of_a_run_makes_one_version(desk: Desk) -> None:
    desk.asked(request())
    late = refusal(desk.asked(request(attempt=2)))
    assert (late.cause, late.dataset_version, late.attempt) == (CommitRefusal.STALE, 1, 2)
    assert "has version 1 already" in late.reason


def test_a_stale_attempt_is_refused(desk: Desk) -> None:
    desk.told(DefineQualityRule(dataset_id=ID, rule=rule()))
    assert refusal(desk.asked(request(attempt=2))).cause is CommitRefusal.RULES
    assert refusal(desk.asked(request(attempt=1, outcomes=(outcome(revision=1),)))).cause is CommitRefusal.STALE
    assert kinds(desk.asked(request(attempt=3, outcomes=(outcome(revision=1),)))) == [
        VersionCommitted,
        QualityEvaluated,
    ]


def test_what_asks_before_a_publication_waits_in_its_order(desk: Desk) -> None:
    desk.asked(request(run=1))
    assert kinds(desk.asked(request(run=2))) == [CommitHeld]
    assert kinds(desk.asked(request(run=3))) == [CommitHeld]
    assert kinds(desk.published(1)) == [VersionPublished, SchemaChanged, VersionCommitted]
    assert desk.state.pending is not None
    assert desk.state.pending.run_id == "daily.2"
    assert kinds(desk.published(2)) == [VersionPublished, VersionCommitted]


def test_a_newer_attempt_takes_the_place_of_one_that_waits(desk: Desk) -> None:
    desk.asked(request(run=1))
    desk.asked(request(run=2, attempt=1))
    assert kinds(desk.asked(request(run=2, attempt=2))) == [CommitRefused, CommitHeld]
    desk.published(1)
    assert desk.state.pending is not None
    assert (desk.state.pending.attempt, desk.state.held) == (2, [])


def test_no_more_than_twenty_wait(desk: Desk) -> None:
    for run in range(1, 22):
        desk.asked(request(run=run))
    busy = refusal(desk.asked(request(run=22)))
    assert (busy.cause, busy.reason) == (
        CommitRefusal.BUSY,
        "20 wait already for version 1, which is not published",
    )


def test_a_run_that_is_retried_is_told_what_became_of_its_version(desk: Desk) -> None:
    desk.subscribed("report")
    desk.asked(request())
    assert SubscriberNotified in kinds(desk.published(1))
    desk.asked(request(run=2))
    before = desk.state.published_at
    desk.now += timedelta(seconds=60)
    assert kinds(desk.published(1)) == [VersionPublished], "and nobody else is told of it"
    assert (desk.state.published_at, desk.state.pending is None) == (before, False)


def test_a_stage_whose_version_was_abandoned_may_make_another_one(desk: Desk) -> None:
    desk.asked(request())
    desk.told(AbandonVersion(dataset_id=ID, dataset_version=1))
    assert kinds(desk.published(1)) == [VersionAbandoned], "it can not be published any more"
    (again,) = desk.asked(request(attempt=2))
    assert isinstance(again, VersionCommitted)
    assert again.dataset_version == 2


def test_a_version_that_can_not_be_published_is_abandoned(desk: Desk) -> None:
    desk.asked(request(run=1))
    desk.asked(request(run=2))
    with pytest.raises(Refused, match="version 2 of dataset orders does not wait to be published; version 1 does"):
        desk.told(AbandonVersion(dataset_id=ID, dataset_version=2))
    assert kinds(desk.told(AbandonVersion(dataset_id=ID, dataset_version=1))) == [VersionAbandoned, VersionCommitted]
    assert kinds(desk.published(1)) == [VersionAbandoned], "its late publication is none"
    assert desk.state.columns == (), "its schema was never that of the dataset"
    with pytest.raises(Refused, match="there is no dataset 'orders'"):
        Desk().told(AbandonVersion(dataset_id=ID, dataset_version=1))


def test_a_version_in_whose_place_a_newer_one_lies_is_abandoned_and_the_next_one_can_be(desk: Desk) -> None:
    """Something else writes there, such as a platform before this one."""
    desk.asked(request(run=1))
    desk.asked(request(run=2))
    abandoned, next_one = desk.published(1, superseded=True)
    assert isinstance(abandoned, VersionAbandoned)
    assert abandoned.reason.startswith("a newer version than 1 lies at file:///data/orders")
    assert isinstance(next_one, VersionCommitted)


def widened(**types: str) -> tuple[Column, ...]:
    return tuple(Column(name=column.name, type=types.pop(column.name, column.type)) for column in COLUMNS) + tuple(
        Column(name=name, type=type) for name, type in types.items()
    )


@pytest.mark.parametrize(
    ("mode", "columns", "broken"),
    [
        (ContractMode.EXACT, COLUMNS, ""),
        (ContractMode.EXACT, widened(note="VARCHAR"), "column 'note' is new"),
        (ContractMode.EXACT, COLUMNS[::-1], "column 'price' stands elsewhere; column 'id' stands elsewhere"),
        (ContractMode.ADDITIVE, widened(note="VARCHAR")[::-1], ""),
        (ContractMode.ADDITIVE, COLUMNS[:1], "column 'price' is missing"),
        (ContractMode.ADDITIVE, widened(id="HUGEINT"), "column 'id' is HUGEINT and was BIGINT"),
        (ContractMode.WIDENING, widened(id="HUGEINT", price="DECIMAL(20,2)"), ""),
        (ContractMode.WIDENING, widened(id="INTEGER"), "column 'id' is INTEGER and was BIGINT"),
        (ContractMode.ANY, (Column(name="x", type="VARCHAR"),), ""),
    ],
)
def test_a_schema_is_held_to_the_contract(
    desk: Desk, mode: ContractMode, columns: tuple[Column, ...], broken: str
) -> None:
    desk.asked(request())
    desk.published(1)
    desk.told(SetContract(dataset_id=ID, contract=DatasetContract(mode=mode)))
    events = desk.asked(request(run=2, columns=columns))
    if not broken:
        assert kinds(events) == [VersionCommitted]
        return
    assert refusal(events).cause is CommitRefusal.CONTRACT
    assert refusal(events).reason == f"the schema breaks the contract ({mode}): {broken}"


def test_the_contract_s_own_columns_hold_for_the_first_version_too(desk: Desk) -> None:
    assert kinds(desk.told(SetContract(dataset_id=ID, contract=DatasetContract(columns=COLUMNS)))) == [
        DatasetDefined,
        *kinds(desk.events[1:]),
    ]
    assert refusal(desk.asked(request(columns=COLUMNS[:1]))).changes[0].kind is SchemaChangeKind.REMOVED


@pytest.mark.parametrize("mode", [ContractMode.EXACT, ContractMode.ADDITIVE])
def test_columns_that_must_have_values_are_counted_by_the_attempt(desk: Desk, mode: ContractMode) -> None:
    full = tuple(column.model_copy(update={"nullable": False}) for column in COLUMNS)
    contract = DatasetContract(mode=mode, columns=full)
    assert contract.required(()) == tuple(column.name for column in COLUMNS)
    desk.told(SetContract(dataset_id=ID, contract=contract))
    early = refusal(desk.asked(request()))
    assert early.cause is CommitRefusal.RULES, "it did not know the contract: another attempt counts"
    assert early.reason == "the contract has changed since the attempt looked at it: column 'id' is not nullable"
    assert kinds(desk.asked(request(attempt=2, columns=full)))[:1] == [VersionCommitted]
    desk.published(1)
    desk.told(SetContract(dataset_id=ID, contract=DatasetContract(mode=mode)))
    assert desk.state.contract.required(desk.state.columns) == contract.required(()), "those of the newest version"
    assert DatasetContract(mode=ContractMode.WIDENING, columns=full).required(full) == ()


def test_schemas_are_numbered_and_their_changes_kept(desk: Desk) -> None:
    desk.asked(request())
    desk.published(1)
    desk.asked(request(run=2, columns=widened(note="VARCHAR")))
    (_, changed) = desk.published(2)
    assert isinstance(changed, SchemaChanged)
    assert (changed.schema_version, [(c.kind, c.column) for c in changed.changes]) == (2, [("added", "note")])


def test_the_dataset_s_rules_must_be_those_that_were_evaluated(desk: Desk) -> None:
    assert kinds(desk.told(DefineQualityRule(dataset_id=ID, rule=rule()))) == [DatasetDefined, QualityRuleDefined]
    assert desk.told(DefineQualityRule(dataset_id=ID, rule=rule())) == []
    desk.told(DefineQualityRule(dataset_id=ID, rule=rule(threshold=0.9)))
    late = refusal(desk.asked(request(outcomes=(outcome(revision=1),))))
    assert (late.cause, "rule known has changed" in late.reason) == (CommitRefusal.RULES, True)
    assert kinds(desk.asked(request(attempt=2, outcomes=(outcome(revision=2),)))) == [
        VersionCommitted,
        QualityEvaluated,
    ]
    desk.published(1)
    desk.told(DefineQualityRule(dataset_id=ID, rule=rule(enabled=False)))
    assert kinds(desk.asked(request(run=2))) == [VersionCommitted]


def test_a_breach_that_stops_the_stage_is_evaluated_and_not_committed(desk: Desk) -> None:
    (_, evaluated, refused) = desk.asked(request(outcomes=(outcome(failed=7, stops=True),)))
    assert isinstance(evaluated, QualityEvaluated)
    assert evaluated.dataset_version == 0
    assert isinstance(refused, CommitRefused)
    assert (refused.cause, refused.reason) == (
        CommitRefusal.QUALITY,
        "rule known is breached: 7 of 100 rows fail",
    )


@pytest.mark.parametrize(
    ("before", "rows", "odd"),
    [
        ([100, 102, 98, 101], 900, False),  # too few to tell
        ([100, 102, 98, 101, 99], 106, True),
        ([100, 102, 98, 101, 99], 105, False),
        ([100] * 20, 105, False),  # within the floor of 1 % of the median
        ([100] * 20, 106, True),
        ([1_000_000] * 5 + [100] * 20, 106, True),  # only the newest twenty count
        ([0] * 5, 1, True),
    ],
)
def test_a_version_with_far_more_or_fewer_rows_is_told(desk: Desk, before: list[int], rows: int, odd: bool) -> None:
    for number, count in enumerate([*before, rows], start=1):
        desk.asked(request(run=number, rows=count))
        events = desk.published(number)
    assert (VolumeAnomaly in kinds(events)) is odd


def test_no_volume_is_told_where_rows_are_not_compared(desk: Desk) -> None:
    desk.told(SetContract(dataset_id=ID, contract=DatasetContract(volume=VolumePolicy(enabled=False))))
    for number, count in enumerate([100] * 6 + [1], start=1):
        desk.asked(request(run=number, rows=count))
        assert VolumeAnomaly not in kinds(desk.published(number))


def test_a_dataset_gets_stale_once_and_a_publication_makes_it_fresh(desk: Desk) -> None:
    desk.told(SetContract(dataset_id=ID, contract=DatasetContract(freshness=FreshnessPolicy(within_seconds=3_600))))
    assert desk.later(10_000) == [], "what was never published does not get old"
    desk.asked(request())
    desk.published(1)
    assert desk.later(3_599) == []
    assert not desk.decider.may_passivate(desk.state)
    (stale,) = desk.later(100_000)
    assert isinstance(stale, DatasetStale)
    assert stale.dataset_version == 1
    desk.asked(request(run=2))
    desk.published(2)
    assert kinds(desk.later(3_600)) == [DatasetStale]


def test_five_versions_are_told_to_each_subscriber_once_and_in_order(desk: Desk) -> None:
    assert kinds(desk.subscribed("report")) == [DatasetDefined, SubscriberAdded]
    desk.subscribed("features")
    assert desk.subscribed("report") == []
    for number in range(1, 6):
        desk.asked(request(run=number))
        desk.published(number)
        desk.published(number)
    assert kinds(desk.unsubscribed("features")) == [SubscriberRemoved]
    assert desk.unsubscribed("features") == []
    desk.asked(request(run=6))
    desk.published(6)
    told = [event for event in desk.events if isinstance(event, SubscriberNotified)]
    assert [event.dataset_version for event in told if event.pipeline_id == "report"] == [1, 2, 3, 4, 5, 6]
    assert [event.dataset_version for event in told if event.pipeline_id == "features"] == [1, 2, 3, 4, 5]


def recording(**given: Any) -> RecordLineage:
    said: dict[str, Any] = {
        "job": "airflow/load",
        "inputs": (LineageInput(name="raw", location="s3://b/raw"),),
        **given,
    }
    return RecordLineage(dataset_id=ID, **said)


def test_lineage_from_outside_is_recorded_when_it_says_something_new(desk: Desk) -> None:
    assert kinds(desk.told(recording(run="1"))) == [DatasetDefined, LineageRecorded]
    assert desk.told(recording(run="2")) == []
    assert kinds(desk.told(recording(inputs=(LineageInput(name="raw", location="s3://b/other"),)))) == [LineageRecorded]
    assert kinds(desk.told(recording(job="dbt/orders"))) == [LineageRecorded]


@pytest.mark.parametrize("id", ["orders.abcde", "a.b", "x" * 128])
def test_an_id_of_another_project_or_of_none_is_refused(desk: Desk, id: str) -> None:
    with pytest.raises(Refused, match="is the id of no dataset of local/default"):
        desk.told(SetContract(dataset_id=id, contract=DatasetContract()))


def test_what_a_stopped_run_withdraws_is_given_up_and_the_next_one_is_judged(desk: Desk) -> None:
    desk.asked(request(1))
    desk.asked(request(2))
    desk.asked(request(3))
    assert refusal(desk.withdrawn(2)).cause is CommitRefusal.WITHDRAWN
    assert kinds(desk.withdrawn(1)) == [VersionAbandoned, VersionCommitted]
    assert (desk.state.committed, desk.state.held) == (2, [])
    assert desk.withdrawn(1) == []


def test_a_stage_that_was_withdrawn_may_ask_again(desk: Desk) -> None:
    desk.asked(request(1))
    desk.withdrawn(1)
    assert VersionCommitted in kinds(desk.asked(request(1, attempt=2)))

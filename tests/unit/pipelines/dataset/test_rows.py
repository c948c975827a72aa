"""What the tables tell of datasets: newest versions, histories of quality and schemas, what is computed from what."""

from __future__ import annotations

from typing import Any

import pytest

from events.language.base import Event
from events.language.pipelines.columns import Column
from events.language.pipelines.contracts import DatasetContract, FreshnessPolicy
from events.language.pipelines.dataset_messages import AbandonVersion, DefineQualityRule, RecordLineage, SetContract
from events.language.pipelines.lineage import ColumnEdge, LineageEdges, LineageInput
from events.language.pipelines.run_events import RunStarted, StageFailed
from events.language.pipelines.work import FailureKind, StageFailure
from events.log.envelope import Meta, Position, Recorded
from events.projections.projection import Key, Row, Table
from services.pipelines.dataset import rows as folds
from services.pipelines.projections import PROJECTION
from tests.unit.pipelines.dataset.desk import COLUMNS, ID, NOON, PROJECT, Desk, outcome, request, rule


class Tables:
    """Rows in memory, by table and key; only those that the event declares may be used."""

    def __init__(self) -> None:
        self.held: dict[str, dict[Key, Row]] = {}
        self._declared: set[tuple[str, Key]] = set()

    def get(self, table: Table, key: Key) -> Row | None:
        assert (table.name, key) in self._declared, f"{table.name} {key} is not declared"
        return self.held.get(table.name, {}).get(key)

    def put(self, table: Table, row: Row) -> None:
        key = tuple(row[name] for name in table.key)
        assert (table.name, key) in self._declared, f"{table.name} {key} is not declared"
        assert row.keys() == table.columns.keys(), table.name
        self.held.setdefault(table.name, {})[key] = row

    def delete(self, table: Table, key: Key) -> None:
        self.held.get(table.name, {}).pop(key, None)

    def fold(self, events: list[Event]) -> None:
        for event in events:
            meta = Meta(
                id="e",
                type=type(event).type_name(),
                source="forgelog/pipelines",
                subject=event.subject(),
                time=NOON,
                project=PROJECT,
                actor="owner",
            )
            recorded = Recorded(event, meta, event.key(), Position("events.pipelines", 0, 0))
            self._declared = {(table.name, key) for table, key in PROJECTION.touches(recorded)}
            PROJECTION.project(recorded, self)

    def rows(self, table: Table) -> list[dict[str, Any]]:
        return [dict(row) for row in self.held.get(table.name, {}).values()]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def folded(desk: Desk, *more: Event) -> Tables:
    tables = Tables()
    tables.fold([*desk.events, *more])
    return tables


def test_a_dataset_is_as_its_newest_published_version(desk: Desk) -> None:
    desk.told(SetContract(dataset_id=ID, contract=DatasetContract(freshness=FreshnessPolicy(within_seconds=60))))
    desk.asked(request(rows=7, outcomes=(outcome(failed=10),)))
    desk.published(1)
    desk.later(60)
    (row,) = folded(desk).rows(folds.DATASETS)
    assert (row["version"], row["committed"], row["rows"], row["run_id"], row["stale"]) == (1, 1, 7, "daily.1", True)
    assert (row["quality_score"], row["schema_version"], row["location"]) == (0.9, 1, "file:///data/orders")
    desk.asked(request(run=2, rows=9))
    (row,) = folded(desk).rows(folds.DATASETS)
    assert (row["version"], row["committed"], row["rows"]) == (1, 2, 7), "what is not published is not the newest"
    desk.told(AbandonVersion(dataset_id=ID, dataset_version=2, reason="the disk is full"))
    versions = {row["version"]: (row["status"], row["reason"]) for row in folded(desk).rows(folds.DATA_VERSIONS)}
    assert versions == {1: ("published", ""), 2: ("abandoned", "the disk is full")}


def test_a_version_that_is_told_of_again_is_not_the_newest_one(desk: Desk) -> None:
    desk.asked(request(rows=7))
    desk.published(1)
    desk.asked(request(run=2, rows=9))
    desk.published(2)
    desk.published(1)
    (row,) = folded(desk).rows(folds.DATASETS)
    assert (row["version"], row["rows"]) == (2, 9)


def test_a_changed_rule_takes_the_place_of_the_old_one(desk: Desk) -> None:
    for made in (rule("a"), rule("b"), rule("a", threshold=0.5)):
        desk.told(DefineQualityRule(dataset_id=ID, rule=made))
    (row,) = folded(desk).rows(folds.DATASETS)
    assert [(each["rule"]["rule_id"], each["rule"]["threshold"], each["revision"]) for each in row["rules"]] == [
        ("a", 0.5, 3),
        ("b", 1.0, 2),
    ]


def test_the_history_of_a_rule_counts_its_breaches(desk: Desk) -> None:
    for run, failed in ((1, 0), (2, 4), (3, 6)):
        desk.asked(request(run=run, outcomes=(outcome(failed=failed),)))
        desk.published(run)
    (record,) = folded(desk).rows(folds.RULES)
    assert (record["evaluations"], record["breaches"], record["failed"], record["pass_rate"]) == (3, 2, 10, 0.94)
    checks = [(row["run_id"], row["version"], row["failed"]) for row in folded(desk).rows(folds.CHECKS)]
    assert checks == [("daily.1", 1, 0), ("daily.2", 2, 4), ("daily.3", 3, 6)]


def test_rules_of_a_stage_that_failed_are_in_the_history_too() -> None:
    failed = StageFailed(
        run_id="daily.9",
        pipeline_id="daily",
        stage_id="clean",
        attempt=1,
        failure=StageFailure(kind=FailureKind.RULE, problem="7 of 100 rows fail"),
        outcomes=(outcome(failed=7, stops=True),),
    )
    tables = Tables()
    tables._declared = {(table.name, key) for table, key in folds.of_stage(failed)}
    meta = Meta(id="e", type="t", source="s", subject="daily.9", time=NOON, project=PROJECT, actor="owner")
    folds.put_of_stage(Recorded(failed, meta, "daily", Position("events.pipelines", 0, 0)), failed, tables)
    (row,) = tables.rows(folds.CHECKS)
    assert (row["run_id"], row["dataset_id"], row["version"], row["stops"]) == ("daily.9", "", 0, True)


def test_an_event_of_a_run_that_is_about_no_stage_has_no_rules() -> None:
    started = RunStarted(run_id="daily.9", pipeline_id="daily")
    assert [*folds.of_stage(started)] == []
    meta = Meta(id="e", type="t", source="s", subject="daily.9", time=NOON, project=PROJECT, actor="owner")
    recorded = Recorded(started, meta, "daily", Position("events.pipelines", 0, 0))
    folds.put_of_stage(recorded, started, Tables())


def test_the_schemas_of_a_dataset_are_kept(desk: Desk) -> None:
    desk.asked(request())
    desk.published(1)
    desk.asked(request(run=2, columns=(*COLUMNS, Column(name="note", type="VARCHAR"))))
    desk.published(2)
    schemas = [(row["schema_version"], row["version"], len(row["columns"])) for row in folded(desk).rows(folds.SCHEMAS)]
    assert schemas == [(1, 1, 2), (2, 2, 3)]


def test_lineage_of_versions_and_of_jobs_outside_stand_side_by_side(desk: Desk) -> None:
    edges = LineageEdges(columns=(ColumnEdge(column="id", dataset="raw", source="key"),), tables=("raw",))
    read = LineageInput(name="raw", location="s3://b/raw/*.csv")
    desk.asked(request(inputs=(read,), lineage=edges))
    assert folded(desk).rows(folds.LINEAGE) == [], "what is not published is no source"
    desk.published(1)
    desk.told(RecordLineage(dataset_id=ID, job="airflow/load", inputs=(read,), lineage=edges))
    found = {row["origin"]: (row["version"], row["sources"]) for row in folded(desk).rows(folds.LINEAGE)}
    place = folds.source_id(read, PROJECT)
    assert found == {"": (1, [place]), "airflow/load": (0, [place])}

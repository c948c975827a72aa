"""A project's registry under any commands: what its tables tell is what its aggregate knows, and past answers stay.

The tables are folded in memory by the projection itself, so a row that it does not declare fails the test, too.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from events.language.base import Command
from events.language.common import PLATFORM_ACTOR, Refused
from events.language.experiments.registry import (
    ApprovalRule,
    ApprovePromotion,
    CheckModelVersion,
    CreateModelVersion,
    DeleteModel,
    DeleteModelVersion,
    ModelStage,
    ModelVersionCreated,
    ModelVersionSpec,
    RegisterModel,
    RejectPromotion,
    RemoveAlias,
    RenameModel,
    ReportVersionChecked,
    RequestPromotion,
    SetAlias,
    SetEnvironment,
    SetModelStage,
)
from events.language.objects import ObjectRef
from events.log.envelope import Meta, Position, Recorded
from events.projections.projection import Key, Row, Table
from services.experiments.projections import PROJECTION
from services.experiments.registry.state import Registry
from services.experiments.registry_rows import CHECKS, LIVE, MODEL_NAMES, MODEL_VERSIONS, MODELS, PROMOTIONS
from tests.unit.experiments.desk import PROJECT, Desk

SPEC = ModelVersionSpec(bundle=ObjectRef(digest="1" * 64, size=9))
NAMES = st.sampled_from(["digits", "numerals"])
NUMBERS = st.integers(1, 4)
PLACES = st.sampled_from(["staging", "production"])


class Tables:
    """Rows in memory, by table and key; only those that the event declares may be used."""

    def __init__(self) -> None:
        self.held: dict[str, dict[Key, Row]] = {}
        self.declared: set[tuple[str, Key]] = set()

    def get(self, table: Table, key: Key) -> Row | None:
        self._check(table, key)
        return self.held.get(table.name, {}).get(key)

    def put(self, table: Table, row: Row) -> None:
        key = table.key_of(row)
        key = key if isinstance(key, tuple) else (key,)
        self._check(table, key)
        assert row.keys() == table.columns.keys(), table.name
        self.held.setdefault(table.name, {})[key] = row

    def delete(self, table: Table, key: Key) -> None:
        self._check(table, key)
        self.held.get(table.name, {}).pop(key, None)

    def rows(self, table: Table) -> list[Row]:
        return list(self.held.get(table.name, {}).values())

    def _check(self, table: Table, key: Key) -> None:
        assert (table.name, key) in self.declared, f"{table.name} {key} is not declared"


class RegistryMachine(RuleBasedStateMachine):
    models = Bundle("models")
    versions = Bundle("versions")
    promotions = Bundle("promotions")

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk()
        self.tables = Tables()
        self.published: set[tuple[str, int]] = set()
        self.answers: dict[tuple[str, str, datetime], int | None] = {}
        """Model, slot and time → the version that was live then."""
        self.counted = 0

    def send(self, command: Command, actor: str = "owner") -> bool:
        """Whether it changed something."""
        try:
            events = self.desk.send(command, actor=actor)
        except Refused:
            return False
        for event in events:
            self.counted += 1
            meta = Meta(
                id=f"e{self.counted}",
                type=type(event).type_name(),
                source="forgelog/experiments",
                subject=event.subject(),
                time=self.desk._now(),
                project=PROJECT,
                actor=actor,
            )
            recorded = Recorded(event, meta, PROJECT, Position("events.experiments", 0, self.counted))
            self.tables.declared = {(table.name, key) for table, key in PROJECTION.touches(recorded)}
            PROJECTION.project(recorded, self.tables)
            if isinstance(event, ModelVersionCreated):
                named = self.state.models[event.model_id].name, event.number
                assert named not in self.published, f"{named} is given twice"
                self.published.add(named)
        return bool(events)

    @property
    def state(self) -> Registry:
        found: Registry = self.desk.states.get(("registry", PROJECT)) or Registry()
        return found

    @rule(target=models, name=NAMES, guarded=st.booleans())
    def register(self, name: str, guarded: bool) -> Any:
        id = f"md{len(self.state.models)}"
        rules = (ApprovalRule(environment="production"),) if guarded else ()
        return id if self.send(RegisterModel(model_id=id, name=name, approval_rules=rules)) else multiple()

    @rule(model=models, name=NAMES)
    def rename(self, model: str, name: str) -> None:
        self.send(RenameModel(model_id=model, name=name))

    @rule(model=models)
    def delete(self, model: str) -> None:
        self.send(DeleteModel(model_id=model))

    @rule(target=versions, model=models)
    def create(self, model: str) -> Any:
        id = f"mv{len(self.state.versions)}"
        return id if self.send(CreateModelVersion(version_id=id, model_id=model, spec=SPEC)) else multiple()

    @rule(version=versions, intact=st.sampled_from([True, True, True, False]))
    def check(self, version: str, intact: bool) -> None:
        check = self.state.versions[version].check
        reason = "" if intact else "gone"
        report = ReportVersionChecked(version_id=version, check=check, intact=intact, reason=reason)
        self.send(report, PLATFORM_ACTOR)

    @rule(version=versions)
    def check_again(self, version: str) -> None:
        self.send(CheckModelVersion(version_id=version))

    @rule(version=versions)
    def delete_version(self, version: str) -> None:
        self.send(DeleteModelVersion(version_id=version))

    @rule(version=versions, stage=st.sampled_from(ModelStage), archive=st.booleans())
    def stage(self, version: str, stage: ModelStage, archive: bool) -> None:
        self.send(SetModelStage(version_id=version, stage=stage, archive_existing=archive))

    @rule(model=models, number=NUMBERS)
    def alias(self, model: str, number: int) -> None:
        self.send(SetAlias(model_id=model, alias="champion", number=number))

    @rule(model=models)
    def remove_alias(self, model: str) -> None:
        self.send(RemoveAlias(model_id=model, alias="champion"))

    @rule(model=models, place=PLACES, number=st.none() | NUMBERS)
    def environment(self, model: str, place: str, number: int | None) -> None:
        self.send(SetEnvironment(model_id=model, environment=place, number=number))

    @rule(target=promotions, model=models, place=PLACES, number=NUMBERS)
    def promote(self, model: str, place: str, number: int) -> Any:
        id = f"mp{self.counted}"
        command = RequestPromotion(promotion_id=id, model_id=model, environment=place, number=number)
        return id if self.send(command) else multiple()

    @rule(promotion=promotions)
    def approve(self, promotion: str) -> None:
        self.send(ApprovePromotion(promotion_id=promotion))

    @rule(promotion=consumes(promotions))
    def reject(self, promotion: str) -> None:
        self.send(RejectPromotion(promotion_id=promotion, reason="no"))

    @invariant()
    def live_rows_are_what_the_aggregate_knows(self) -> None:
        known = set()
        for id, model in self.state.models.items():
            known |= {(id, f"alias:{name}", slot.number) for name, slot in model.aliases.items()}
            known |= {(id, f"environment:{name}", slot.number) for name, slot in model.environments.items()}
        for version in self.state.versions.values():
            if version.stage is not ModelStage.NONE and not version.deleted:
                known.add((version.model_id, f"stage:{version.stage.value}", version.number))
        told = {
            (row["model_id"], row["slot"], row["number"]) for row in self.tables.rows(LIVE) if row["ended_at"] is None
        }
        assert told == known

    @invariant()
    def a_past_answer_stays(self) -> None:
        for (model, slot, at), number in self.answers.items():
            assert self._live(model, slot, at) == number
        now = self.desk._now()
        for id in self.state.models:
            for slot in ("alias:champion", "environment:production"):
                self.answers[id, slot, now] = self._live(id, slot, now)
        self.desk._ids += 1

    def _live(self, model: str, slot: str, at: datetime) -> int | None:
        found = [
            row["number"]
            for row in self.tables.rows(LIVE)
            if (row["model_id"], row["slot"]) == (model, slot)
            and row["began_at"] <= at
            and (row["ended_at"] is None or row["ended_at"] > at)
        ]
        assert len(found) <= 1
        return found[0] if found else None

    @invariant()
    def rows_are_what_the_aggregate_knows(self) -> None:
        assert {row["model_id"]: (row["name"], row["latest"]) for row in self.tables.rows(MODELS)} == {
            id: (model.name, model.latest) for id, model in self.state.models.items()
        }
        names = {row["name"]: row["model_id"] for row in self.tables.rows(MODEL_NAMES) if row["ended_at"] is None}
        assert names == self.state.names
        assert {row["version_id"]: row["status"] for row in self.tables.rows(MODEL_VERSIONS)} == {
            id: version.status.value for id, version in self.state.versions.items()
        }
        asked = {row["promotion_id"] for row in self.tables.rows(PROMOTIONS) if row["ended_at"] is None}
        assert asked == self.state.promotions.keys()

    @invariant()
    def a_look_that_is_waited_for_is_asked_for(self) -> None:
        asked = {(row["subject_id"], row["number"]) for row in self.tables.rows(CHECKS)}
        for promotion in self.state.promotions.values():
            if promotion.check:
                assert (promotion.version_id, promotion.check) in asked


TestRegistryMachine = RegistryMachine.TestCase
TestRegistryMachine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)

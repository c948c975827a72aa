"""How the datasets that a run reads do by its experiment's practices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from events.language.common import shown
from events.language.experiments.practices import BestPractices, CheckResult, DataCheck, DataValue
from events.projections.tables import Db
from services.experiments.practices import within


async def registered_inputs(db: Db, run_id: str) -> Sequence[Any]:
    """What a run reads, with what is registered of it; `number` is null of what is not."""
    return await db.fetch(
        "select i.name, i.digest, i.role, d.number, d.samples, d.statistics from run_inputs i "
        "join runs r on r.run_id = i.run_id "
        "left join datasets d on d.project = r.project and d.name = i.name and d.digest = i.digest "
        "where i.run_id = $1 order by i.logged_at, i.name, i.digest, i.role",
        run_id,
    )


def data_results(practices: BestPractices, inputs: Sequence[Any]) -> list[CheckResult]:
    """One for each check of data. `inputs`: as `registered_inputs` gives them."""
    return [
        _checked(check, [each for each in inputs if check.role in ("", each["role"])])
        for check in practices.data_checks
    ]


def _checked(check: DataCheck, inputs: Sequence[Any]) -> CheckResult:
    """Each dataset must pass; the finding is that of the first that does not."""
    if not inputs:
        reads = f"the run reads no dataset for {shown(check.role)}" if check.role else "the run reads no dataset"
        return CheckResult(name=check.name, passed=False, finding=reads, column=check.column)
    findings = [_finding(check, each) for each in inputs]
    passed, finding = next((found for found in findings if not found[0]), findings[0])
    return CheckResult(name=check.name, passed=passed, finding=finding, column=check.column)


def _finding(check: DataCheck, data: Any) -> tuple[bool, str]:
    if data["number"] is None:
        return False, f"{data['name']}@{data['digest'][:12]} is not registered, so nothing is known of it"
    version = f"{data['name']}/{data['number']}"
    of = f"{check.value} of {check.column} in {version}" if check.column else f"{check.value} of {version}"
    value = _value(check, data)
    if value is None:
        return False, f"{of} is not known; register it with statistics"
    return within(check, of, value)


def _value(check: DataCheck, data: Any) -> float | None:
    value: float | None
    if check.value is DataValue.SAMPLES:
        value = data["samples"]
        return value
    known = (data["statistics"] or {}).get(check.column) or {}
    if check.value is not DataValue.MISSING:
        value = known.get(check.value.value)
        return value
    count, nulls = known.get("count"), known.get("nulls")
    return nulls / (count + nulls) if count is not None and nulls is not None and count + nulls else None

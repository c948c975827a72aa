"""What is said of stages that have failed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def told_failures(stages: Sequence[Any]) -> list[str]:
    """Of each failed stage: the field that is wrong, what is wrong, what to do, and where in the user's code."""
    lines = []
    for stage in stages:
        failure = stage["failure"]
        if stage["status"] != "failed" or not failure:
            continue
        lines += told_failure(failure, stage["stage_id"])
    return lines


def told_failure(failure: Mapping[str, Any], stage_id: str) -> list[str]:
    """Of one: `stage_id` is empty if the failure's field begins with it."""
    remedy = f"; {failure['remedy']}" if failure.get("remedy") else ""
    parts = [stage_id, failure.get("field", ""), f"{failure['problem']}{remedy}"]
    return [": ".join(part for part in parts if part), *failure.get("traceback", "").splitlines()]

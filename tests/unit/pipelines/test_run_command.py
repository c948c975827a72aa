"""`forgelog pipeline run`: what is said of stages that have failed."""

from __future__ import annotations

from forgelog.cli.pipeline_runs import told_failures


def test_a_failed_stage_is_told_with_its_field_its_remedy_and_its_place_in_the_code() -> None:
    failure = {"field": "inputs.raw.path", "problem": "no file fits", "remedy": "check it", "traceback": "  line 3\n"}
    stages = [
        {"stage_id": "load", "status": "failed", "failure": failure},
        {"stage_id": "tried-again", "status": "completed", "failure": failure},
        {"stage_id": "report", "status": "skipped", "failure": None},
    ]
    assert told_failures(stages) == ["load: inputs.raw.path: no file fits; check it", "  line 3"]

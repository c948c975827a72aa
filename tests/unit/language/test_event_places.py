"""The reference says truly in which files an event is decided, handled, projected and queried."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from events.language.jobs import JobCancelled, JobCompleted, JobEvent, JobFailed, JobStarted, JobSubmitted
from events.language.registry import event_types
from proto.event_places import ROOT, TARGET, documents, read
from proto.shapes import told_apart

_LINK = re.compile(r"\]\(\.\./\.\./([^)#]+)\)")


@cache
def document() -> str:
    return documents()[TARGET]


@cache
def rows() -> dict[str, list[list[str]]]:
    """Event → the files of each column."""
    lines = [line for line in document().splitlines() if line.startswith("| [`")]
    cells = [line.removeprefix("| ").removesuffix(" |").split(" | ") for line in lines]
    return {cell[0].split("`")[1]: [_LINK.findall(files) for files in cell[1:]] for cell in cells}


def test_every_event_has_a_row_whose_files_exist() -> None:
    assert {*rows()} == {told_apart(event) for event in event_types().values()}
    assert [file for file in _LINK.findall(document()) if not (ROOT / file).is_file()] == []


def test_every_event_is_decided_and_a_context_s_own_is_projected_and_queried() -> None:
    assert [name for name, (decided, *_) in rows().items() if not decided] == []
    assert [name for name, (_, _, *shown) in rows().items() if not all(shown)] == []


@pytest.mark.parametrize(
    ("event", "decided", "projected", "queried"),
    [
        ("JobCompleted", "jobs/ending", "jobs/projections", "jobs/queries"),
        ("JobOutputsKept", "jobs/outputs", "jobs/projections jobs/outputs_rows", "jobs/queries"),
        ("QueueConfigured", "scheduling/operating", "scheduling/projections", "scheduling/queries"),
        ("NodeLost", "resources/decide", "resources/projections", "resources/queries"),
        (
            "AllocationBound",
            "resources/placing",
            "resources/projections scheduling/projections",
            "resources/queries scheduling/queries",
        ),
    ],
)
def test_a_context_s_events(event: str, decided: str, projected: str, queried: str) -> None:
    row = [" ".join(file.removeprefix("services/").removesuffix(".py") for file in files) for files in rows()[event]]
    assert [row[0], *row[2:]] == [decided, projected, queried]


def test_a_decision_of_an_operator_is_decided_and_folded_in_the_log() -> None:
    assert rows()["RecordSkipped"] == [["events/log/repairing.py"], ["events/log/repairs.py"]]


def test_an_event_is_made_where_its_class_is_called_given_away_or_taken_and_handled_where_it_is_named(
    tmp_path: Path,
) -> None:
    source = tmp_path / "decide.py"
    source.write_text(
        """
from events.language.jobs import JobCancelled, JobCompleted, JobEvent, JobFailed, JobStarted, JobSubmitted

class Jobs:
    events = (JobEvent,)

def decide(state, event: JobSubmitted) -> JobEvent:
    kind: type[JobEvent] = JobCompleted
    kind, code = JobFailed, 1
    if isinstance(event, JobStarted) or event.type == JobEvent.type_name():
        return JobCancelled(job_id="j")
    return about(JobCompleted)
"""
    )
    found = read(source)
    assert found.made == {JobFailed, JobCancelled, JobCompleted}
    assert found.named == {JobSubmitted, JobStarted}
    assert JobEvent not in found.made | found.named

"""Histories that earlier versions recorded keep their meaning: they decode, their hash chains hold, and they fold to
what was recorded. `tests/golden/README.md` says what to do when one of these tests fails."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import pytest

from events.language.registry import upcast
from events.log.wire import MARKER
from tests.golden import folding, record
from tests.golden.changes import CHANGES, MOVED_TO_NODE_USES
from tests.golden.comparing import GONE, Change, Comparison
from tests.golden.history import FOLDER, History, recorded

HISTORIES = recorded()

REMEDY = (
    "What was recorded lies on people's disks and must keep its meaning. If this is not meant, mend the change; read "
    "what is old by an upcaster or a default. If it is meant, add a Change with its reason to tests/golden/changes.py "
    "and raise {version}. Never change the recording; see tests/golden/README.md."
)
VERSIONS = {
    "states": "the decider's `dump_version` (or the snapshots' FORMAT), so that stored snapshots are folded anew",
    "rows": "the projection's `version`, so that stored tables are rebuilt",
}

each = pytest.mark.parametrize("history", HISTORIES, ids=lambda history: history.name)


@cache
def compared(history: History, what: str) -> Comparison:
    """States or rows as they are folded now, held against the recorded ones."""
    comparison = Comparison(history.name, CHANGES)
    present = {"states": folding.states, "rows": folding.rows}[what](history)
    comparison.whole(what, getattr(history, what), present)
    return comparison


def test_there_are_recorded_histories() -> None:
    assert HISTORIES, f"{FOLDER} has none any more; take them back from the version control"


@each
def test_every_recorded_event_decodes_to_what_it_says(history: History) -> None:
    told = 0
    for context in history.about["contexts"]:
        for raw in folding.valid(history, context):
            recorded_event = raw.decode()
            _, value = upcast(raw.type, raw.value or b"")
            comparison = Comparison(history.name, ())
            comparison.value(str(raw.position), json.loads(value), json.loads(recorded_event.data.model_dump_json()))
            assert not comparison.differences, comparison.told("Add an upcaster: see `events.language.registry`.")
            assert recorded_event.meta.id == raw.text("ce_id")
            assert recorded_event.epoch == (-1 if raw.type.encode() == MARKER else int(raw.text("fl_epoch")))
            told += 1
    assert told > 100


@each
def test_every_recorded_command_that_decoded_still_does(history: History) -> None:
    """Commands are handled again after a crash: what was a command may not become a dead letter."""
    assert folding.undecodable(history) == history.about["undecodable"]


@each
def test_the_hash_chains_and_the_signed_heads_of_a_recorded_history_verify(history: History) -> None:
    """Also where a replaced writer went on writing, and where an operator had an event passed over."""
    found = folding.chains(history)
    assert {place: verified.problems for place, verified in found.items() if not verified.intact} == {}
    assert {place: folding.told(verified) for place, verified in found.items()} == history.about["chains"]


@each
@pytest.mark.parametrize("what", ["states", "rows"])
def test_a_recorded_history_folds_to_what_was_recorded(history: History, what: str) -> None:
    comparison = compared(history, what)
    assert not comparison.differences, comparison.told(REMEDY.format(version=VERSIONS[what]))


@each
def test_what_recorded_nodes_held_is_in_a_table_of_its_own(history: History) -> None:
    present, told = folding.rows(history)["resources/node_uses"], 0
    for key, node in history.rows["resources/nodes"].items():
        for name in node.keys() & MOVED_TO_NODE_USES:
            assert present[key][name] == node[name], (key, name)
            told += 1
    assert told or "resources/node_uses" in history.rows


@each
@pytest.mark.parametrize("what", ["states", "rows"])
def test_what_is_stored_in_another_form_than_the_recorded_one_has_another_version(history: History, what: str) -> None:
    """Else tables, or snapshots, of the one form would be taken for the other."""
    comparison, now, columns = compared(history, what), folding.versions()[what], folding.columns()
    changed = [change.place for change in CHANGES if change.name in comparison.used]
    for context, version in history.about["stored_as"][what].items():
        other = [place for place in comparison.additions if place.startswith(f"{what}/{context}/")]
        other += [place for place in changed if place.startswith((f"{what}/{context}/", f"{what}/*"))]
        if what == "rows":
            tables = history.about["columns"]
            other += [name for name in tables if name.startswith(f"{context}/") and tables[name] != columns.get(name)]
        if now[context] == version:
            assert not other, f"{what} of {context} are not as version {version} stored them; raise {VERSIONS[what]}"


@each
def test_a_recorded_snapshot_gives_what_the_whole_history_does(history: History) -> None:
    """Those that a writer of now would begin with; others it passes over, and folds from the beginning."""
    whole = folding.states(history)
    for place, known in folding.stored_snapshots(history):
        comparison = Comparison(history.name, ())
        comparison.whole(place, folding.in_records(known, whole), whole)
        assert not comparison.differences, comparison.told(f"Mend `load`, or raise {VERSIONS['states']}.")


@each
def test_a_recording_tells_nothing_of_who_made_it(history: History) -> None:
    private = re.compile(r"/tmp/|/home/|/root/|/Users/|PRIVATE KEY|SCRAM|Bearer |passw|127\.0\.0\.1", re.IGNORECASE)
    texts = [history.sql, *(str((raw.key, raw.value, raw.headers)) for raw in history.records)]
    texts += [json.dumps(part) for part in (history.about, history.states, history.rows, history.answers)]
    assert [found[0] for text in texts if (found := private.search(text))] == []


@each
async def test_a_recording_is_never_written_again(history: History) -> None:
    with pytest.raises(FileExistsError, match="never changed"):
        await record.record(history.name)


def test_every_change_says_why_and_is_used() -> None:
    names = {history.name for history in HISTORIES}
    for change in CHANGES:
        assert change.why, change.name
        assert set(change.recordings) <= names, f"{change.name} names a recording that there is not"
    used = {name for history in HISTORIES for what in VERSIONS for name in compared(history, what).used}
    idle = [change.name for change in CHANGES if change.name not in used and not change.place.startswith("answers/")]
    assert idle == [], "nothing recorded is concerned by these changes; take them out of tests/golden/changes.py"


# How a recording is compared

RECORDED = {"jobs/tasks": {"a 0": {"status": "queued", "tries": [1, 2]}, "a 1": {"status": "running", "tries": []}}}


def differences(present: Any, *changes: Change) -> list[str]:
    comparison = Comparison("then", changes)
    comparison.whole("rows", RECORDED, present)
    return comparison.differences


def changed(**parts: Any) -> dict[str, Any]:
    """The recorded rows, of the first one other fields."""
    return {"jobs/tasks": {**RECORDED["jobs/tasks"], "a 0": {**RECORDED["jobs/tasks"]["a 0"], **parts}}}


def test_further_fields_and_kinds_are_no_difference() -> None:
    assert differences({**changed(place="n0"), "jobs/runs": {"r": {}}}) == []


@pytest.mark.parametrize(
    ("present", "told"),
    [
        (changed(status="ended"), "rows/jobs/tasks/a 0/status: recorded was 'queued', now it is 'ended'"),
        (changed(tries=[1]), "rows/jobs/tasks/a 0/tries: recorded was [1, 2], now it is [1]"),
        ({}, "rows/jobs/tasks: there is none any more"),
        ({"jobs/tasks": {"a 0": RECORDED["jobs/tasks"]["a 0"]}}, "rows/jobs/tasks/a 1: is lost; recorded was"),
        ({"jobs/tasks": {**RECORDED["jobs/tasks"], "b": 1}}, "rows/jobs/tasks/b: was not there; now it is 1"),
    ],
)
def test_a_difference_names_its_place(present: Any, told: str) -> None:
    (found,) = differences(present)
    assert found.startswith(told)


def test_a_named_change_says_what_is_expected_instead() -> None:
    ended = Change("ends", "because", "rows/jobs/tasks/a 0/status", lambda _: "ended", ("then",))
    gone = Change("gone", "because", "rows/jobs/tasks/*/tries", lambda _: GONE, ("then",))
    elsewhere = Change("elsewhere", "because", "rows/*", lambda _: GONE, ("another",))
    without = {"jobs/tasks": {"a 0": {"status": "ended"}, "a 1": {"status": "running"}}}
    assert differences(without, ended, gone, elsewhere) == []
    assert len(differences(without, elsewhere)) == 3


def test_states_of_a_context_that_has_got_further_kinds_of_aggregate_are_those_of_its_first() -> None:
    recorded = {"library/0/states": {"a": {"shelf": 1}}}
    for now, found in ((1, []), (2, ["states/library/0/states/shelf/a/shelf: recorded was 1, now it is 2"])):
        comparison = Comparison("then", ())
        present = {"library/0/states/shelf": {"a": {"shelf": now}}, "library/0/states/reader": {"a": {"name": "x"}}}
        comparison.whole("states", recorded, present)
        assert comparison.differences == found

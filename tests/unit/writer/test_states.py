"""Packed states are found again unchanged, after any other operations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.writer import states as states_module
from events.writer.partition import Partition
from events.writer.provenance import Provenance
from events.writer.snapshots import dump, load
from events.writer.states import Index, States, joined, split
from tests.unit.writer.sample import Sample, SampleDecider


class Ending(SampleDecider):
    """A sample that is cancelled is at rest."""

    def may_passivate(self, state: Sample) -> bool:
        return state.cancelled > 0


@pytest.fixture(autouse=True)
def _small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states_module, "PACK", 3)


STEPS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2)), max_size=200)


@given(STEPS)
def test_states_are_as_a_dict_has_them(steps: list[tuple[int, int]]) -> None:
    decider = Ending()
    states: States[Sample] = States(decider)
    plain: dict[str, Sample] = {}
    for number, cancelled in steps:
        key = f"job{number}"
        told = (states.get(key) or Sample()).told + 1
        states[key] = Sample(True, cancelled, told)
        states.passivate(key, decider.may_passivate(states[key]))
        plain[key] = Sample(True, cancelled, told)
    assert {key: states.get(key) for key in plain} == plain
    assert states.get("never") is None
    assert all(state == plain[key] for key, state in states.items())
    assert {key for key, state in plain.items() if not state.cancelled} <= {key for key, _ in states.items()}


@given(STEPS)
def test_a_snapshot_keeps_what_is_packed(steps: list[tuple[int, int]]) -> None:
    decider = Ending()
    partition: Partition = Partition(decider, 0, 1)
    for number, cancelled in steps:
        partition.kinds["job"].states[f"job{number}"] = Sample(True, cancelled, number)
        partition.kinds["job"].states.passivate(f"job{number}", cancelled > 0)
    again = load(decider, 0, 1, dump(partition))
    keys = [f"job{number}" for number in range(31)]
    assert [again.kinds["job"].states.get(key) for key in keys] == [
        partition.kinds["job"].states.get(key) for key in keys
    ]
    assert again.kinds["job"].states.packed >= partition.kinds["job"].states.packed


def test_a_packed_state_changes_only_when_it_is_set() -> None:
    states = States(Ending())
    for number in range(9):
        states[f"job{number}"] = Sample(True, 1, number)
        states.passivate(f"job{number}", True)
    assert states.packs
    taken = states["job0"]
    taken.told = 99
    assert states["job0"].told == 0
    states["job0"] = taken
    assert states["job0"].told == 99


@given(st.lists(st.text(max_size=8), unique=True, max_size=3_000))
def test_the_index_finds_every_key(keys: list[str]) -> None:
    index = Index()
    for number, key in enumerate(keys):
        index.add([key], number)
    assert all(number in index.find(key) for number, key in enumerate(keys))


def test_the_index_names_the_newest_pack_first() -> None:
    index = Index()
    for pack in (4, 9, 7):
        index.add(["a"], pack)
    assert index.find("a") == [9, 7, 4]
    assert index.find("b") == []


@given(st.lists(st.tuples(st.binary(max_size=50), st.binary(max_size=50))))
def test_packs_survive_being_joined(packs: list[tuple[bytes, bytes]]) -> None:
    assert list(split(memoryview(b"".join(joined(packs))))) == packs


def of(number: int) -> Provenance:
    return Provenance("lab/vision", "owner", f"c{number}", "trace")


LOAN = ("loan", "x")


def test_provenance_is_packed_with_its_state_and_comes_back_with_it() -> None:
    states = States(Ending())

    def put(number: int) -> None:
        states[f"job{number}"] = Sample(True, 1, number)
        states.passivate(f"job{number}", True)

    for number in range(9):
        states.note(f"job{number}", None, of(number))
        states.note(f"job{number}", LOAN, of(100 + number))
        put(number)
    assert len(states.packs) > 1
    for _ in range(3):
        for number in range(9):
            key = f"job{number}"
            assert (states.provenance(key), states.provenance(key, LOAN)) == (of(number), of(100 + number))
            assert states.provenance(key, ("loan", "another")) is None
            assert states.take(key) == Sample(True, 1, number)
            assert (states.own[key], states.others[key]) == (of(number), {LOAN: of(100 + number)})
            put(number)
    assert len(states.own) < 9, "what is packed is nowhere else"
    assert states.provenance("never") is None


def test_a_key_that_was_asked_for_in_vain_is_found_once_it_is_packed() -> None:
    states = States(Ending())
    for number in range(9):
        states[f"job{number}"] = Sample(True, 1, number)
        states.passivate(f"job{number}", True)
    assert states.get("late") is None
    states["late"] = Sample(True, 1, 7)
    for key in ("late", *(f"more{number}" for number in range(6))):
        states[key] = Sample(True, 1, 7)
        states.passivate(key, True)
    assert "late" not in dict(states.items()), "it is packed"
    assert states.get("late") == Sample(True, 1, 7)

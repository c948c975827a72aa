"""A context with several kinds of aggregate: each has its decider, its states and its timers; ids may be the same."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events.language.contexts import contexts
from events.language.jobs import JobSubmitted, SubmitJob
from events.language.registry import command_types, event_types
from events.language.scheduling import JobEnqueued, QueueConfigured
from events.writer import states
from events.writer.deciders import Concerned, DeciderError, Deciders, gathered
from events.writer.partition import Partition
from events.writer.snapshots import dump, load, take
from services.jobs.decide import Jobs
from services.scheduling.decide import Scheduling
from tests.golden.folding import deciders_of
from tests.unit.writer.library import Book, Books, Desk, Lend, Put, Shelf, Shelves, deciders, library
from tests.unit.writer.sample import SampleDecider

__all__ = ["library"]

VISION, SOUND = "lab/vision", "lab/sound"


# Deciders


@pytest.mark.parametrize("context", list(contexts()))
def test_every_message_of_a_context_has_a_decider_that_lists_it(context: str) -> None:
    """Else its records would not fold, or its commands would be dead letters."""
    found = deciders_of(context)
    for message in (*command_types().values(), *event_types().values()):
        if message.context == context:
            decider = found.of(message)
            assert message in (*decider.commands, *decider.events), message.type_name()


def test_a_message_is_decided_by_the_kind_that_it_names() -> None:
    two = deciders()
    assert [type(two.of(message)) for message in (Put, Lend)] == [Shelves, Books]
    assert two.commands == {Put, Lend}
    assert two.version == "shelf=1.book=1"


def test_of_another_context_nothing_is_decided() -> None:
    with pytest.raises(DeciderError, match="JobSubmitted: scheduling has no decider of job"):
        Deciders(Scheduling()).of(JobSubmitted)


class Listing(SampleDecider):
    """Lists what queues decide."""

    events: ClassVar[Any] = (JobSubmitted, JobEnqueued)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ((), "deciders of one context are needed, these are of: none"),
        ((Jobs(), Scheduling()), "these are of: jobs, scheduling"),
        ((Jobs(), SampleDecider()), "Jobs and SampleDecider both decide job of jobs"),
        ((Listing(),), "Listing decides job of jobs, but lists forgelog.scheduling.v1.JobEnqueued, which queue"),
    ],
)
def test_deciders_that_do_not_fit_together_are_refused_by_name(made: tuple[Any, ...], told: str) -> None:
    with pytest.raises(DeciderError, match=told):
        Deciders(*made)


def test_a_context_of_one_kind_may_give_its_decider() -> None:
    jobs = Jobs()
    assert list(gathered(jobs)) == [jobs]
    assert gathered(both := deciders()) is both


def test_routes_name_kind_and_key() -> None:
    two = Deciders(Scheduling())
    assert two.foreign == {"jobs", "resources"}
    assert two.routes(JobSubmitted) is False
    assert two.concerned(QueueConfigured.model_construct(queue="q")) == []
    spec = {"metadata": {"name": "a"}, "command": "true", "depends_on": [{"job_id": "b"}]}
    event = JobSubmitted(job_id="a", project="local/default", owner="o", spec=spec)
    assert Deciders(SampleDecider()).concerned(event) == [Concerned("job", "b")]


def test_a_command_that_no_decider_takes_is_refused() -> None:
    assert SubmitJob not in Deciders(Scheduling()).commands


# States


def states_of(partition: Partition) -> dict[str, dict[str, Any]]:
    return {
        "shelf": {key: partition.kinds["shelf"].states.get(key) for key in ("a", "b", "c")},
        "book": {key: partition.kinds["book"].states.get(key) for key in ("a", "b", "c")},
    }


@pytest.mark.usefixtures("library")
def test_two_kinds_with_one_id_share_nothing() -> None:
    desk = Desk()
    desk.send(Put(shelf="a"), "1", VISION)
    lent = desk.send(Lend(book="a", loan="x"), "2", SOUND)
    desk.send(Put(shelf="a"), "3", VISION)
    assert states_of(desk.partition)["shelf"]["a"] == Shelf(2)
    assert desk.partition.kinds["book"].states["a"].returned == 0
    assert lent[0].meta.project == SOUND, "the shelf of that id is another project's"
    returned = desk.after(31)
    assert [(type(each.data).__name__, each.key, each.meta.subject) for each in returned] == [
        ("BookReturned", "a", "x")
    ]
    assert (returned[0].meta.project, returned[0].meta.correlation) == (SOUND, "2")


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abc"), st.sampled_from([VISION, SOUND])),
        st.tuples(st.just("lend"), st.sampled_from("abc"), st.sampled_from([VISION, SOUND])),
        st.tuples(st.just("after"), st.sampled_from([1, 20, 40]), st.just("")),
        st.tuples(st.sampled_from(["fold", "snapshot"]), st.just(""), st.just("")),
    ),
    max_size=40,
)


@pytest.mark.usefixtures("library")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_whatever_happens_log_and_snapshot_give_the_states_and_provenances_that_the_writer_has(
    steps: list[tuple[str, Any, str]],
) -> None:
    """And every event carries its aggregate's project, as its first one did, whoever goes on with it."""
    desk, plain = Desk(), Desk()
    first: dict[tuple[str, str], str] = {}
    pack, states.PACK = states.PACK, 2
    try:
        for number, (what, name, project) in enumerate(steps):
            said = []
            for each in (desk, plain):
                if what == "put":
                    said += [each.send(Put(shelf=name), f"c{number}", project)]
                elif what == "lend":
                    said += [each.send(Lend(book=name, loan=f"l{number}"), f"c{number}", project)]
                elif what == "after":
                    said += [each.after(name)]
            if what == "fold":
                desk.partition = desk.folded()
            elif what == "snapshot":
                desk.partition = load(deciders(), 0, 1, dump(desk.partition))
            if not said:
                desk.partition.on_resume(desk.now)
                assert desk.partition.after_batch(desk.now) == []
            else:
                ours, theirs = ([(each.data, each.meta._replace(id="")) for each in one] for one in said)
                assert sorted(map(str, ours)) == sorted(map(str, theirs)), "who took over says the same"
                for each in said[1]:
                    about = each.data.aggregate, each.meta.subject
                    assert each.meta.project == first.setdefault(about, each.meta.project)
        assert states_of(desk.folded()) == states_of(plain.partition)
        assert known(desk.folded()) == known(plain.partition)
    finally:
        states.PACK = pack


def known(partition: Partition) -> dict[str, Any]:
    """The provenance of what is not at rest."""
    kinds = take(partition).content["kinds"]
    return {
        name: {key: sorted(map(str, each)) for key, each in kind["provenance"].items()} for name, kind in kinds.items()
    }


@pytest.mark.usefixtures("library")
def test_what_a_state_does_not_speak_of_any_more_is_forgotten() -> None:
    desk = Desk()
    for number in range(3 * states.LEAST_OTHERS):
        desk.send(Lend(book="a", loan=f"l{number}"), f"c{number}", VISION)
        desk.after(40)
    held = desk.partition.kinds["book"].states
    assert len(held.provenances("a")) <= states.LEAST_OTHERS + 2
    desk.send(Lend(book="a", loan="last"), "last", SOUND)
    content = take(desk.partition).content["kinds"]["book"]
    assert content["provenance"]["a"] == [None, ["loan", "last", SOUND, "owner", "last", ""]]
    assert isinstance(held["a"], Book)

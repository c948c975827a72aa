"""Every message says what kind of aggregate it is about, and which one decides it."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from events.language.aggregates import LanguageError, check_aggregates
from events.language.base import Command, Event
from events.language.common import CommandNoted, CommandRejected, ErrorCode, WriterStarted
from events.language.jobs import CancelJob, JobSubmitted
from events.language.registry import aggregate_of, command_types, event_types
from events.language.resources import AllocationBound, DrainNode, NodeLost
from events.language.scheduling import ConfigureQueue, JobEnqueued, QueueConfigured


class Good(Event):
    context: ClassVar[str] = "trials"
    aggregate: ClassVar[str] = "run"
    subject_from: ClassVar[str] = "run_id"
    key_from: ClassVar[str] = "run_id"

    run_id: str
    catalogue: str = ""


def variant(**variables: str) -> type[Event]:
    """`Good` with other class variables."""
    return type("Bad", (Good,), {"__module__": __name__, **variables})


@pytest.mark.parametrize(
    ("message", "about", "decides"),
    [
        (CancelJob, "job", "job"),
        (JobSubmitted, "job", "job"),
        (ConfigureQueue, "queue", "queue"),
        (QueueConfigured, "queue", "queue"),
        (JobEnqueued, "job", "queue"),
        (DrainNode, "node", "pool"),
        (NodeLost, "node", "pool"),
        (AllocationBound, "allocation", "pool"),
    ],
)
def test_a_message_is_about_one_aggregate_and_decided_by_one(message: type[Event], about: str, decides: str) -> None:
    assert (message.aggregate, message.decider_kind()) == (about, decides)


def test_the_whole_language_follows_the_rules() -> None:
    check_aggregates((*command_types().values(), *event_types().values()))


def test_one_aggregate_may_decide_for_another() -> None:
    check_aggregates([Good, variant(decided_by="catalogue", key_from="catalogue")])


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"aggregate": ""}, "aggregate is not set"),
        ({"aggregate": "Run"}, "aggregate is 'Run'; use lower-case words"),
        ({"decided_by": "the catalogue"}, "decided_by is 'the catalogue'; use lower-case words"),
        ({"subject_from": "id"}, "subject_from is 'id', which is no field of it"),
        ({"key_from": "key"}, "key_from is 'key', which is no field of it"),
        ({"key_from": "catalogue"}, "subject_from and key_from must be the same field; or set decided_by"),
        ({"context": "pipelines"}, "run decides in trials already"),
    ],
)
def test_a_message_that_breaks_a_rule_is_refused_by_name(variables: dict[str, str], told: str) -> None:
    with pytest.raises(LanguageError, match=f"Bad: .*{told}"):
        check_aggregates([Good, variant(**variables)])


class Create(Command):
    context: ClassVar[str] = "trials"
    aggregate: ClassVar[str] = "run"
    subject_from: ClassVar[str] = "run_id"
    key_from: ClassVar[str] = "run_id"
    assigns_id: ClassVar[bool] = True
    id_prefix: ClassVar[str] = "r"
    concluded_by: ClassVar[tuple[type[Event], ...]] = (Good,)

    run_id: str = ""


class Settled(Good):
    """Of one step more; its base counts as no type by itself then."""


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"assigns_id": False}, "concluded_by is for commands that create"),
        ({"concluded_by": (JobSubmitted,)}, "concluded_by has JobSubmitted, which is no event about run"),
        ({"concluded_by": (Create,)}, "concluded_by has Create, which is no event about run"),
        ({"concluded_by": (Good,)}, "concluded_by has Good, which is no type by itself; name its types"),
    ],
)
def test_only_events_about_what_a_command_creates_conclude_it(variables: dict[str, Any], told: str) -> None:
    with pytest.raises(LanguageError, match=f"Bad: {told}"):
        check_aggregates([type("Bad", (Create,), {"__module__": __name__, **variables})])
    check_aggregates([type("Fine", (Create,), {"__module__": __name__, "concluded_by": (Settled,)})])


def test_an_answer_is_about_what_its_command_was_about() -> None:
    def rejected(type_name: str) -> CommandRejected:
        code = ErrorCode.NOT_FOUND
        return CommandRejected(subject_id="a", command_id="c", command_type=type_name, code=code, message="no")

    noted = CommandNoted(subject_id="n0", command_id="c", command_type=DrainNode.type_name(), repeat=False)
    assert aggregate_of(rejected(CancelJob.type_name())) == "job"
    assert aggregate_of(noted) == "node"
    assert aggregate_of(rejected("forgelog.jobs.v1.NoSuchCommand")) == ""
    assert aggregate_of(WriterStarted(subject_id="jobs/0", writer="w")) == ""
    assert aggregate_of(JobEnqueued.model_construct()) == "job"

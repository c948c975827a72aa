"""Models and protobuf messages are the same thing in two writings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from importlib import import_module
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from events.language.base import Message
from events.language.convert import from_message, to_bytes, to_dict, to_message
from events.language.jobs import JobStarted, SubmitJob, TaskStart
from events.language.jobs.spec import JobMetadata, JobPriority, JobSpec, JobStatus, RestartPolicy
from events.language.proto_names import message_name, proto_enum, proto_enum_of, word_of
from events.language.registry import command_types, event_types
from events.language.resources import LabelNode
from events.language.scheduling import SchedulingDecision
from forgelog.client.plain import plain
from forgelog_pb.jobs.v1 import types_pb2 as jobs_pb
from forgelog_pb.resources.v1 import types_pb2 as resources_pb
from proto.generate import generate
from proto.samples import full
from tests.unit.language.strategies import models

ALL = {**command_types(), **event_types()}


@pytest.fixture(scope="module", autouse=True)
def _generated_code_is_fresh() -> None:
    generate()


def message_class(kind: type[Message]) -> Any:
    return getattr(import_module(f"forgelog_pb.{kind.context}.v1.types_pb2"), message_name(kind))


@pytest.mark.parametrize("name", ALL)
def test_a_full_sample_survives_the_way_to_protobuf_and_back(name: str) -> None:
    kind = ALL[name]
    sample = full(kind)
    message = message_class(kind).FromString(to_message(sample, message_class(kind)).SerializeToString())
    assert from_message(message, kind) == sample


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_command_or_event_survives_the_way_to_protobuf_and_back(data: st.DataObject) -> None:
    kind = ALL[data.draw(st.sampled_from(sorted(ALL)))]
    value = data.draw(models(kind))
    message = message_class(kind).FromString(to_message(value, message_class(kind)).SerializeToString())
    assert from_message(message, kind) == value


def test_null_is_said_by_a_number_where_what_is_left_out_means_another_one() -> None:
    message = to_message(RestartPolicy(max_restarts=None), jobs_pb.RestartPolicy)
    assert message.max_restarts == -1
    assert from_message(message, RestartPolicy).max_restarts is None
    assert to_dict(message)["max_restarts"] is None
    assert plain(message).max_restarts is None
    assert from_message(jobs_pb.RestartPolicy(), RestartPolicy).max_restarts == 3
    assert to_message({}, jobs_pb.RestartPolicy) == jobs_pb.RestartPolicy()
    with pytest.raises(ValidationError, match="max_restarts"):
        from_message(jobs_pb.RestartPolicy(max_restarts=-2), RestartPolicy)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_bytes_made_of_what_was_given_are_the_whole_message(data: st.DataObject) -> None:
    kind = ALL[data.draw(st.sampled_from(sorted(ALL)))]
    value = kind.model_validate_json(data.draw(models(kind)).model_dump_json(exclude_defaults=data.draw(st.booleans())))
    made = message_class(kind).FromString(to_bytes(value, message_class(kind)))
    assert made == to_message(value, message_class(kind))


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_command_or_event_survives_the_way_to_json_and_back(data: st.DataObject) -> None:
    kind = ALL[data.draw(st.sampled_from(sorted(ALL)))]
    value = data.draw(models(kind))
    assert kind.model_validate_json(value.model_dump_json()) == value


def test_what_a_grpc_client_leaves_out_means_the_models_default() -> None:
    message = jobs_pb.SubmitJob(spec={"metadata": {"name": "a"}, "command": "true"})
    assert from_message(message, SubmitJob) == SubmitJob(spec=JobSpec(metadata=JobMetadata(name="a"), command="true"))


def test_an_explicit_zero_is_not_taken_for_a_default() -> None:
    restart = RestartPolicy(max_restarts=0, restart_lost=False, backoff_seconds=0)
    message = to_message(restart, jobs_pb.RestartPolicy)
    assert from_message(message, RestartPolicy) == restart


def test_enum_words_become_prefixed_names_and_back() -> None:
    spec = JobSpec(metadata=JobMetadata(name="a"), command="true", priority=JobPriority.BEST_EFFORT)
    message = to_message(spec, jobs_pb.JobSpec)
    assert message.priority == jobs_pb.JOB_PRIORITY_BEST_EFFORT
    assert to_dict(message)["priority"] == "best_effort"
    assert proto_enum(SchedulingDecision.SCHEDULED) == "SCHEDULING_DECISION_SCHEDULED"
    assert proto_enum_of(JobPriority, "best_effort") == "JOB_PRIORITY_BEST_EFFORT"
    assert word_of(JobPriority, "JOB_PRIORITY_BEST_EFFORT") == "best_effort"
    assert word_of(JobPriority, "JOB_PRIORITY_UNSPECIFIED") is None


def test_members_of_two_enums_with_the_same_word_keep_their_own_names() -> None:
    names = [proto_enum(member) for member in (SchedulingDecision.QUEUED, JobStatus.QUEUED)]
    assert names == ["SCHEDULING_DECISION_QUEUED", "JOB_STATUS_QUEUED"]


@pytest.mark.parametrize("word", ["urgent", "JOB_PRIORITY_URGENT", jobs_pb.JOB_PRIORITY_URGENT, JobPriority.URGENT])
def test_a_row_may_hold_an_enums_word_name_or_number(word: Any) -> None:
    row = {"command": "true", "priority": word, "a column the message has not": 1, "queue": None}
    assert to_message(row, jobs_pb.JobSpec) == jobs_pb.JobSpec(command="true", priority=jobs_pb.JOB_PRIORITY_URGENT)


def test_an_unknown_enum_word_is_refused_with_the_words_there_are() -> None:
    with pytest.raises(ValueError, match="JobPriority: 'hihg' is none of scavenger, best_effort"):
        to_message({"priority": "hihg"}, jobs_pb.JobSpec)


def test_a_number_from_the_future_is_refused_by_the_model_with_the_fields_name() -> None:
    message = jobs_pb.JobSpec(metadata={"name": "a"}, command="true", priority=99)
    with pytest.raises(ValidationError, match="priority"):
        from_message(message, JobSpec)


def test_times_keep_their_microseconds_and_come_back_in_utc() -> None:
    time = datetime(2026, 3, 29, 1, 2, 3, 456789, timezone(timedelta(hours=2)))
    start = TaskStart(task=0, attempt=1, allocation_id="a", pid=1, started_at=time)
    back = from_message(to_message(JobStarted(job_id="j", node_id="n", tasks=(start,)), jobs_pb.JobStarted), JobStarted)
    assert back.tasks[0].started_at == time
    assert back.tasks[0].started_at.tzinfo is UTC


def test_times_in_json_columns_are_text() -> None:
    row = {"job_id": "j", "tasks": [{"task": 0, "started_at": "2026-03-29T01:02:03.456789Z"}]}
    started = to_dict(to_message(row, jobs_pb.JobStarted))["tasks"][0]["started_at"]
    assert started == datetime(2026, 3, 29, 1, 2, 3, 456789, UTC)


def test_a_removed_label_stays_different_from_an_empty_one() -> None:
    command = LabelNode(pool="p", node_id="n", labels={"gone": None, "empty": "", "set": "x"})
    message = to_message(command, resources_pb.LabelNode)
    assert from_message(resources_pb.LabelNode.FromString(message.SerializeToString()), LabelNode) == command

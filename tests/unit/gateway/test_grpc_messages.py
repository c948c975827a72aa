"""What the gateway's own gRPC messages may say, and in which words Optuna's clients are refused."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from forgelog_pb.gateway.v1 import commands_pb2 as pb
from forgelog_pb.optuna.v1 import storage_pb2 as optuna_pb
from services.gateway import optuna, servicer
from services.gateway.errors import DoorError

FLOAT = '{"name": "FloatDistribution", "attributes": {"low": 0, "high": 1}}'


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(Duration(), 0.0), (Duration(seconds=3, nanos=500_000_000), 3.5), (Duration(seconds=2**62), float(2**62))],
)
def test_a_timeout_is_read_as_it_is_however_long(given: Duration, seconds: float) -> None:
    assert servicer._seconds(pb.PublishAndWaitRequest(timeout=given)) == seconds


@pytest.mark.parametrize(
    "given", [Duration(nanos=1_000_000_000), Duration(nanos=-(2**31)), Duration(seconds=1, nanos=-5)]
)
def test_a_timeout_whose_parts_do_not_go_together_is_refused(given: Duration) -> None:
    with pytest.raises(DoorError, match=r"timeout\.nanos: is ") as refused:
        servicer._seconds(pb.PublishAndWaitRequest(timeout=given))
    assert [each.field for each in refused.value.errors] == ["timeout.nanos"]


def test_what_is_waited_for_is_one_of_what_there_is() -> None:
    assert servicer._concludes(pb.PublishManyRequest(until=pb.UNTIL_CONCLUSION))
    assert not servicer._concludes(pb.PublishManyRequest())
    with pytest.raises(DoorError, match="until: 99 is no Until; take one of UNTIL_UNSPECIFIED, UNTIL_OUTCOME"):
        servicer._concludes(pb.PublishManyRequest.FromString(b"\x20\x63"))


@pytest.mark.parametrize(
    ("field", "entry"),
    [
        ("params", optuna_pb.Number(key="x", value=1)),
        ("distributions", optuna_pb.Text(key="x", value=FLOAT)),
        ("intermediate_values", optuna_pb.StepValue(key=0, value=1)),
        ("user_attributes", optuna_pb.Text(key="x", value="1")),
        ("system_attributes", optuna_pb.Text(key="x", value="1")),
    ],
)
def test_a_trial_that_says_something_twice_is_refused(field: str, entry: Any) -> None:
    trial: dict[str, Any] = {"state": 1, "distributions": [optuna_pb.Text(key="x", value=FLOAT)], field: [entry]}
    assert optuna._template(optuna_pb.Trial(**trial))
    trial[field] = [entry, entry]
    with pytest.raises(DoorError, match=f"template_trial.{field}: has {entry.key!r} twice"):
        optuna._template(optuna_pb.Trial(**trial))


def test_what_optunas_clients_show_says_what_to_do() -> None:
    said = optuna._in_words(DoorError.about("state", "is 5", "there are 0 to 4"))
    assert said.message == "state: is 5; there are 0 to 4"
    assert [each.problem for each in said.errors] == ["is 5"]
    assert optuna._in_words(said).message == said.message
    plain = DoorError(grpc.StatusCode.NOT_FOUND, "there is no study 7")
    assert optuna._in_words(plain) is plain


def test_a_call_names_its_project_once() -> None:
    optuna._refuse_repeats(["authorization", optuna.PROJECT, optuna.COMMAND_ID, "x", "x"])
    with pytest.raises(DoorError, match="forgelog-project: is given 2 times"):
        optuna._refuse_repeats([optuna.PROJECT, optuna.PROJECT])

"""Given descriptions that are large, or things that are many, when a context orders jobs of them, then an append is not
too large. An order that is too large is refused where it goes, and the aggregate that ordered goes on."""

from __future__ import annotations

import json

from events.language.common import CommandRejected, utc
from events.language.deployments.commands import CreateDeployment
from events.language.deployments.events import ReplicaRequested
from events.language.experiments import CreateTuning, ProposeTrial, TrialEnded
from events.log.publish import Outgoing
from tests.unit.deployments.desk import command_spec
from tests.unit.writer.odd_plays import launched_trials
from tests.unit.writer.whole import Whole

CHOICE = "c" * 900


def test_an_order_that_is_larger_than_a_command_is_refused_where_it_goes() -> None:
    platform = Whole(utc(1_760_000_000))
    for number, command in enumerate(launched_trials()[:2]):
        if isinstance(command, CreateTuning):
            command = _large(command)
        elif isinstance(command, ProposeTrial):
            command = _with_long_choice(command)
        platform.publish(Outgoing(command, f"c{number}"))
    (refused,) = (each.data for each in platform.recorded("jobs"))
    assert isinstance(refused, CommandRejected)
    assert refused.message.startswith("the value has 100")
    ends = [each.data for each in platform.recorded("experiments") if isinstance(each.data, TrialEnded)]
    assert [end.reason for end in ends] == [f"its job was refused: {refused.message}"]


def test_replicas_that_are_too_much_for_one_append_follow_in_others() -> None:
    platform = Whole(utc(1_760_000_000))
    spec = command_spec(replicas=1_000, args=("x" * 5_000,))
    platform.publish(Outgoing(CreateDeployment(deployment_id="many", name="many", spec=spec), "c1"))
    asked = [each.data for each in platform.recorded("deployments") if isinstance(each.data, ReplicaRequested)]
    assert len(asked) == 1_000


def _large(command: CreateTuning) -> CreateTuning:
    """Of 999 kB or so."""
    assert command.plan is not None
    assert command.job is not None
    space = tuple(
        each.model_copy(update={"choices": (json.dumps(CHOICE),)}) if each.choices else each
        for each in command.plan.space
    )
    plan = command.plan.model_copy(update={"space": space})
    job = command.job.model_copy(update={"args": ("x" * 100_000,) * 9 + ("y" * 98_000,)})
    return command.model_copy(update={"plan": plan, "job": job})


def _with_long_choice(command: ProposeTrial) -> ProposeTrial:
    distribution = json.dumps({"name": "CategoricalDistribution", "attributes": {"choices": [CHOICE]}})
    parameters = tuple(
        each.model_copy(update={"distribution": distribution}) if each.name == "optimizer" else each
        for each in command.parameters
    )
    return command.model_copy(update={"parameters": parameters})
